//! A cluster: two nodes say that it serves every slot, and every master answers.
//!
//! A cluster whose nodes do not say `cluster_state:ok` refuses its clients. One that says so while a master does not answer
//! *us* serves a part of its keys to nobody at our site: that is a failure too, with the master's name. The cluster replaces
//! a lost master by itself within its node timeout; the monitor timeout decides who is faster.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, future::try_join_all, stream::FuturesUnordered};
use quorate_machine::FindingClass;
use tokio::time::Instant;

use super::{
    node, reachability,
    sentinel::of_master,
    session::{self, Session, fields},
    target::RedisTarget,
};
use crate::{
    address::Address,
    endpoint::Endpoint,
    failure::Failure,
    kept::{Answer, Dialect},
    observation::{RoleInfo, Stage},
};

/// Slots of a cluster (cluster specification, "Key distribution model").
const SLOTS: &str = "16384";
/// Masters that are asked; a cluster is advised to have no more than a thousand nodes, and a side has a few.
const MAX_MASTERS: usize = 64;
/// Share of the time that the first two nodes have (1/2); the rest is the masters'.
const NODES_DIVISOR: u32 = 2;

/// Prober of a cluster.
#[derive(Debug)]
pub(super) struct ClusterDialect {
    target: RedisTarget,
    version: String,
}

/// Connections to the configured nodes that answered, and to the masters.
#[derive(Debug)]
pub(super) struct ClusterSession {
    /// Two, where two are configured.
    witnesses: Vec<(Endpoint, Session)>,
    masters: BTreeMap<String, Session>,
}

impl ClusterDialect {
    pub(super) fn new(target: RedisTarget) -> Self {
        Self {
            target,
            version: String::new(),
        }
    }
}

impl Dialect for ClusterDialect {
    type Session = ClusterSession;

    fn access_timeout(&self) -> Duration {
        self.target.access_timeout
    }

    fn place(&self) -> String {
        format!("{:?}", self.target)
    }

    async fn open(&mut self, deadline: Instant) -> Result<ClusterSession, Failure> {
        let now = Instant::now();
        let within = now + deadline.saturating_duration_since(now) / NODES_DIVISOR;
        let connect = async |endpoint: &Endpoint| {
            let session = session::connect(&self.target, endpoint, &self.target.account, within).await?;
            Ok((endpoint.clone(), session))
        };
        let mut opened: FuturesUnordered<_> = self.target.endpoints.iter().map(connect).collect();
        let (mut witnesses, mut failures) = (Vec::new(), Vec::<Failure>::new());
        while let Some(result) = opened.next().await {
            match result {
                Ok(found) => witnesses.push(found),
                Err(failure) => failures.push(failure),
            }
            if witnesses.len() >= self.target.witnesses() {
                let masters = BTreeMap::new();
                return Ok(ClusterSession { witnesses, masters });
            }
        }
        let auth = failures.iter().position(|failure| failure.class == FindingClass::Auth);
        let shown = &failures[auth.unwrap_or(0)];
        let text = format!(
            "{} of the cluster's nodes do not answer: {}",
            failures.len(),
            shown.text
        );
        Err(Failure::new(shown.stage, shown.class, &text))
    }

    async fn ask(&mut self, session: &mut ClusterSession, fresh: bool, deadline: Instant) -> Result<Answer, Failure> {
        let ClusterSession { witnesses, masters } = session;
        try_join_all(
            witnesses
                .iter_mut()
                .map(|(endpoint, session)| state(endpoint, session, deadline)),
        )
        .await?;
        let (endpoint, first) = &mut witnesses[0];
        if fresh {
            self.version = node::version(first, deadline).await?;
        }
        let command = redis::cmd("CLUSTER").arg("NODES").to_owned();
        let text: String = first.ask(&command, Stage::Role, deadline).await?;
        let wanted = masters_of(&text, &endpoint.address)?;
        masters.retain(|address, _| wanted.contains_key(address));
        let mut asked = Vec::new();
        for (key, address) in wanted {
            let (kept, target) = (masters.remove(&key), &self.target);
            asked.push(async move {
                let words = |failure| of_master(failure, &address);
                let mut session = match kept {
                    Some(session) => session,
                    None => {
                        let endpoint = target.discovered(address.clone()).await?;
                        let opened = session::connect(target, &endpoint, &target.account, deadline).await;
                        opened.map_err(words)?
                    }
                };
                let ailment = node::ping(&mut session, deadline).await.map_err(words)?;
                Ok((key, ailment, session))
            });
        }
        let mut ailment = None;
        for (key, found, session) in try_join_all(asked).await? {
            ailment = ailment.or(found.map(|text| format!("master {key}: {text}")));
            masters.insert(key, session);
        }
        Ok(Answer {
            role: RoleInfo {
                read_only: ailment.is_some(),
                replication_lag_seconds: None,
                server_version: self.version.clone(),
                ..RoleInfo::default()
            },
            ailment: ailment.map(|text| (FindingClass::ReadOnly, text)),
            reusable: true,
        })
    }

    async fn check_reachability(&self, deadline: Instant) -> Result<(), Failure> {
        reachability::check_some(&self.target, deadline).await
    }

    fn close(session: ClusterSession) {
        drop(session);
    }
}

/// One node's word that the cluster serves.
pub(super) async fn state(endpoint: &Endpoint, session: &mut Session, deadline: Instant) -> Result<(), Failure> {
    let command = redis::cmd("CLUSTER").arg("INFO").to_owned();
    let text: String = session.ask(&command, Stage::Query, deadline).await?;
    let told = fields(&text);
    let field = |name: &str| told.get(name).map_or("unknown", String::as_str);
    let (state, slots) = (field("cluster_state"), field("cluster_slots_ok"));
    if state == "ok" && slots == SLOTS {
        return Ok(());
    }
    let text = format!(
        "{}: cluster_state:{state}, {slots} of {SLOTS} slots served",
        endpoint.address
    );
    Err(Failure::new(Stage::Query, FindingClass::WrongAnswer, &text))
}

/// The masters that hold slots, out of `CLUSTER NODES`: `id host:port@bus[,name] flags master ping pong epoch link slots…`.
/// A node that has met nobody knows no address of its own: it is the one `asked`.
fn masters_of(text: &str, asked: &Address) -> Result<BTreeMap<String, Address>, Failure> {
    let wrong = |line: &str| {
        let text = format!("CLUSTER NODES cannot be read: {line}");
        Failure::new(Stage::Role, FindingClass::WrongAnswer, &text)
    };
    let mut masters = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, address, flags, _, _, _, _, _, _slots @ ..] = words.as_slice() else {
            return Err(wrong(line));
        };
        // Without slots nobody asks it for a key.
        if words.len() < 9 || !flags.split(',').any(|flag| flag == "master") {
            continue;
        }
        let written = address.split('@').next().unwrap_or_default();
        let (host, port) = written.rsplit_once(':').ok_or_else(|| wrong(line))?;
        let found = Address {
            host: if host.is_empty() {
                asked.host.clone()
            } else {
                host.to_owned()
            },
            port: port.parse().map_err(|_| wrong(line))?,
        };
        masters.insert(found.to_string(), found);
    }
    if masters.is_empty() || masters.len() > MAX_MASTERS {
        let text = format!(
            "the cluster has {} masters with slots; at most {MAX_MASTERS} are probed",
            masters.len()
        );
        return Err(Failure::new(Stage::Role, FindingClass::WrongAnswer, &text));
    }
    Ok(masters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masters_are_those_that_hold_slots() {
        let asked = Address::parse("10.0.0.9:7000").expect("an address");
        let text = "07c3 127.0.0.1:30004@31004,host4 slave e7d1 0 1426238317239 4 connected\n\
            67ed 127.0.0.1:30002@31002 master - 0 1426238316232 2 connected 5461-10922\n\
            6ec2 127.0.0.1:30005@31005 master - 0 1426238316232 5 connected\n\
            e7d1 :30001@31001 myself,master - 0 0 1 connected 0-5460\n\
            f9ab 2001:db8::1:30006@31006 master,fail - 0 0 1 connected 10923-16383";
        let found: Vec<String> = masters_of(text, &asked).expect("masters").into_keys().collect();
        assert_eq!(found, ["10.0.0.9:30001", "127.0.0.1:30002", "[2001:db8::1]:30006"]);
        for bad in [
            "",
            "one two",
            "a b:c@d master - 0 0 1 connected 0-5",
            "a noport master - 0 0 1 connected 0-5",
        ] {
            assert!(masters_of(bad, &asked).is_err(), "{bad}");
        }
    }
}
