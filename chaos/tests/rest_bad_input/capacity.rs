//! The hundred-and-first monitor, and a password of every printable character on its way to a real login.

use anyhow::{Context, Result, ensure};
use quorate_chaos::harness::eventually;
use quorate_chaos::scenario::{INSTANCE, Timing, create_monitor, monitor_body};
use quorate_real_parts::ServerDirectory;
use quorate_real_parts::mariadb::{MariaDbPair, PairOptions};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{Scene, expect};

/// Monitors of an instance as it comes.
const QUOTA: usize = 100;
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

/// Fills the instance to its quota; one more is refused, and there is room again once one is gone.
pub(crate) async fn monitors(scene: &Scene<'_>) -> Result<()> {
    let rest = &scene.cluster.rest;
    let mut ids = Vec::new();
    // One is there already.
    for number in 1..QUOTA {
        ids.push(create_monitor(rest, unprobed(scene, &format!("crowd-{number}"))).await?);
    }
    let path = format!("{INSTANCE}/monitors");
    let over = unprobed(scene, "one-too-many");
    let answer = rest.try_post(&path, over.clone()).await?;
    expect("the monitor beyond the quota", &answer, 409, "quota-exceeded", &[])?;
    let last = ids.pop().context("a monitor")?;
    delete(scene, &last).await?;
    ids.push(create_monitor(rest, over).await?);
    for id in ids {
        delete(scene, &id).await?;
    }
    Ok(())
}

fn unprobed(scene: &Scene<'_>, name: &str) -> Value {
    let mut body = scene.good_monitor();
    body["name"] = json!(name);
    body["probing"] = json!(false);
    body
}

async fn delete(scene: &Scene<'_>, id: &str) -> Result<()> {
    let (rest, path) = (&scene.cluster.rest, format!("{INSTANCE}/monitors/{id}"));
    let etag = rest.request(Method::GET, &path, None, None).await?.etag;
    rest.request(Method::DELETE, &path, None, etag)
        .await?
        .success()
        .map(drop)
}

/// Both servers know the password, every node logs in with it, and no answer shows it.
pub(crate) async fn password(scene: &Scene<'_>) -> Result<()> {
    let directory = ServerDirectory::new()?;
    let pair = MariaDbPair::start(directory.path(), PairOptions::default()).await?;
    let printable: String = (' '..='~').collect();
    let quoted = printable.replace('\\', "\\\\").replace('\'', "\\'");
    let user = "用户-mon";
    let create = format!("CREATE USER '{user}'@'%' IDENTIFIED BY '{quoted}'");
    let grants = [
        format!("GRANT SLAVE MONITOR ON *.* TO '{user}'@'%'"),
        format!("GRANT SELECT ON orders.* TO '{user}'@'%'"),
    ];
    let connection = ["SET NAMES utf8mb4", &create, &grants[0], &grants[1]];
    pair.dc1.exec(&connection).await?;
    pair.wait_caught_up(&pair.dc1, &pair.dc2, TIMEOUT).await?;
    let (dc1, dc2) = (pair.dc1.address(), pair.dc2.address());
    let mut body = monitor_body(&scene.application, "printable", Timing::FAST, &dc1, &dc2);
    body["mysql"]["user"] = json!(user);
    body["mysql"]["password"] = json!(printable);
    body["mysql"]["dc1"]["cloud"] = json!("华为云");
    body["mysql"]["dc1"]["region"] = json!("北京四");
    let rest = &scene.cluster.rest;
    let id = create_monitor(rest, body).await?;
    let path = format!("{INSTANCE}/monitors/{id}");
    let view = eventually("every node logs in", TIMEOUT, async || {
        let view = rest.get(&path).await?;
        let steady = |side: &str| {
            let votes = view[side]["votes"].as_array();
            votes.is_some_and(|votes| votes.len() == 3 && votes.iter().all(|vote| vote["vote"] == "up-steady"))
        };
        ensure!(steady("dc1") && steady("dc2"), "{view}");
        Ok(Some(view))
    })
    .await?;
    ensure!(
        view["mysql"]["dc1"]["cloud"] == "华为云" && view["mysql"]["user"] == user,
        "{view}"
    );
    ensure!(
        !view.to_string().contains("uvwxyz{|}~"),
        "the password is shown: {view}"
    );
    delete(scene, &id).await
}
