//! The connection test before a monitor is saved (C6).

use tokio::time::Instant;

use super::{
    node, session,
    target::{Account, Arrangement, RedisTarget},
};
use crate::{
    endpoint::{Endpoint, dial},
    failure::Failure,
    observation::{Stage, StageResult},
    steps::{Steps, Stopped},
};

/// Tests the address at `index` by itself, with one login. The results stand in the order of the steps; the last one is the
/// failed one, or [`Stage::Role`] when all passed. The access timeout bounds each step.
pub async fn test_connection(target: &RedisTarget, index: usize) -> Vec<StageResult> {
    let mut steps = Steps::default();
    if let Some(endpoint) = target.endpoints.get(index) {
        // The failed step has told its reason already.
        let _ = run(target, endpoint, &mut steps).await;
    }
    steps.into_results()
}

async fn run(target: &RedisTarget, endpoint: &Endpoint, steps: &mut Steps) -> Result<(), Stopped> {
    let begin = || {
        let now = Instant::now();
        (now, now + target.access_timeout)
    };
    let account: &Account = match &target.arrangement {
        Arrangement::Sentinel { account, .. } => account,
        Arrangement::Normal | Arrangement::Cluster => &target.account,
    };

    let (started, deadline) = begin();
    let resolved = endpoint.resolve(deadline).await;
    let shown = resolved.map(|found| (found.text, found.sockets));
    let sockets = steps.record(Stage::Dns, started, shown)?;

    let (started, deadline) = begin();
    let connected = dial(&sockets, deadline).await;
    let shown = connected.map(|stream| (endpoint.address.to_string(), stream));
    let stream = steps.record(Stage::Tcp, started, shown)?;

    let (started, deadline) = begin();
    let opened = session::login(target, endpoint, account, stream, deadline).await;
    let shown = opened.map(|session| (format!("{}{}", account.shown(), target.tls.shown()), session));
    let mut session = steps.record(Stage::Login, started, shown)?;

    let (started, deadline) = begin();
    let version = node::version(&mut session, deadline).await;
    let shown = version.map(|version| (format!("Redis {version}"), ()));
    steps.record(Stage::Query, started, shown)?;

    let (started, deadline) = begin();
    let role = role(target, endpoint, &mut session, deadline).await;
    steps.record(Stage::Role, started, role.map(|text| (text, ())))
}

/// What this address is in its arrangement.
async fn role(
    target: &RedisTarget,
    endpoint: &Endpoint,
    session: &mut session::Session,
    deadline: Instant,
) -> Result<String, Failure> {
    match &target.arrangement {
        Arrangement::Normal => {
            let mut facts = node::Facts::default();
            let answer = node::ask(session, &mut facts, true, deadline).await?;
            Ok(node::shown(&answer))
        }
        Arrangement::Sentinel { master, .. } => {
            let address = super::sentinel::master_of(session, master, deadline).await?;
            let found = target.discovered(address.clone()).await?;
            let words = |failure| super::sentinel::of_master(failure, &address);
            let opened = session::connect(target, &found, &target.account, deadline).await;
            let mut master = opened.map_err(words)?;
            let mut facts = node::Facts::default();
            let answer = node::ask(&mut master, &mut facts, true, deadline)
                .await
                .map_err(words)?;
            Ok(format!("{address}: {}", node::shown(&answer)))
        }
        Arrangement::Cluster => {
            super::cluster::state(endpoint, session, deadline).await?;
            Ok("cluster_state:ok, every slot served".to_owned())
        }
    }
}
