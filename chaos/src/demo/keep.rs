//! `--keep`: everything stays up, with what one needs to look around, until the user ends it.

use anyhow::{Context, Result};
use quorate_real_parts::mariadb::{APPLICATION, MariaDb};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use super::report::Report;
use crate::cluster::DevCluster;
use crate::scenario::Stage;

/// Prints addresses, credentials and what to try next, waits for Ctrl-C, then stops what was started.
pub(super) async fn until_told(cluster: DevCluster, stage: Stage, directory: TempDir, report: &Report) -> Result<()> {
    for line in addresses(&cluster, &stage)? {
        report.line(&line);
    }
    for line in proposals(&cluster, &stage)? {
        report.line(&line);
    }
    report.line("Press Ctrl-C to stop everything.");
    interrupted().await?;
    report.line("\nStopping ...");
    drop(stage);
    cluster.stop().await?;
    directory.close().context("removing the files")?;
    report.line("Everything is stopped and removed.");
    Ok(())
}

fn addresses(cluster: &DevCluster, stage: &Stage) -> Result<Vec<String>> {
    let mut lines = vec!["\nEverything keeps running. Addresses and credentials:".to_owned()];
    for node in &cluster.info.nodes {
        // Not the pid of `dev.json`: a node that was killed runs as another process now.
        let pid = cluster.pid(node.id)?;
        lines.push(format!(
            "  {}: API {}/api/v1  KV {}  pid {pid}",
            node.name, node.console, node.kv
        ));
    }
    let (console, kv) = (&cluster.info.console, &cluster.info.kv);
    lines.push(format!(
        "  API user {} / {}   (CA: {})",
        console.user,
        console.password,
        console.ca.display()
    ));
    lines.push(format!(
        "  KV user {} / {}   SDK user {} / {}   (CA: {})",
        kv.root.user,
        kv.root.password,
        kv.sdk.user,
        kv.sdk.password,
        kv.ca.display()
    ));
    let server = |server: &MariaDb| {
        let pid = server.pid().map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        format!("{} pid {pid}", server.address())
    };
    lines.push(format!(
        "  databases: dc1 {}  dc2 {}   application's account {} / {}",
        server(&stage.pair.dc1),
        server(&stage.pair.dc2),
        APPLICATION.user,
        APPLICATION.password
    ));
    Ok(lines)
}

/// Lines to paste, from looking to breaking.
fn proposals(cluster: &DevCluster, stage: &Stage) -> Result<Vec<String>> {
    let node = cluster.info.nodes.first().context("dev.json names no node")?;
    let quorate = node.argv.first().context("dev.json names no program")?;
    let cli = format!(
        "  {quorate} --cluster {}",
        cluster.directory().join("dev.json").display()
    );
    let Stage { monitor, .. } = stage;
    let database = stage.pair.dc1.pid().context("dc1's server does not run")?;
    Ok(vec![
        "\nTry next:".to_owned(),
        format!("{cli} monitor list"),
        format!("{cli} kv get --prefix /mas-monitor/"),
        format!(
            "  mariadb -h 127.0.0.1 -P {} -u {} -p{} orders -e 'SELECT COUNT(*) FROM orders'",
            stage.pair.dc1.port(),
            APPLICATION.user,
            APPLICATION.password
        ),
        format!("{cli} switch monitor {monitor} --to dc2"),
        format!("{cli} switch monitor {monitor} --to dc1"),
        format!("  kill -9 {database}     # dc1's database; a second later dc2 is active:"),
        format!("{cli} event list"),
    ])
}

/// Ctrl-C, the end of the terminal, or `kill`.
async fn interrupted() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed?,
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    Ok(())
}
