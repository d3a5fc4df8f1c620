//! Patroni in `etcd3` mode with two real PostgreSQL servers on three members of ours: it elects a primary, keeps it while our
//! leader dies, fails over when the primary is killed (alone, and together with our leader), and takes the killed one back.

mod node;
mod settings;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use quorate_real_parts::ServerDirectory;

use super::cache::Cache;
use super::members::{Members, Program};
use node::Node;

/// The version that is installed.
const VERSION: &str = "4.1.5";
/// Its driver for PostgreSQL.
const DRIVER: &str = "psycopg2-binary==2.9.13";
/// Bound of every change of roles: Patroni's time to live and two of its rounds, on a machine with other work.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(200);
/// How long a primary is watched while our leader is gone: longer than a lease of Patroni's lives.
const KEPT: Duration = Duration::from_secs(25);

/// Runs the whole scenario and prints each step with its time.
///
/// # Errors
///
/// What did not happen, with the end of the log that tells most about it.
pub async fn run(quorate: &Path, cache: &Cache) -> Result<()> {
    // An interpreter that every user may run, because PostgreSQL does not run as root.
    let packages = [&format!("patroni[etcd3]=={VERSION}"), DRIVER];
    let environment = cache.python("/usr/bin/python3", "python-patroni", &packages).await?;
    let mut members = Members::start(&Program::Quorate(quorate.to_path_buf()), 3).await?;
    let directory = ServerDirectory::new()?;
    let mut nodes = Node::pair(directory.path(), &environment, &members.clients())?;
    println!("Patroni {VERSION} with two PostgreSQL servers on three members");
    let outcome = scenario(&mut members, &mut nodes).await;
    if outcome.is_err() {
        for node in &nodes {
            eprintln!("{}: {}", node.name(), node.log_tail());
        }
        eprintln!("{}", members.log_tails());
    }
    outcome?;
    for node in &mut nodes {
        node.stop().await?;
    }
    members.stop().await
}

async fn scenario(members: &mut Members, nodes: &mut [Node; 2]) -> Result<()> {
    for node in nodes.iter_mut() {
        node.start()?;
    }
    let primary = step("elects", until_paired(nodes, None)).await?;
    let replica = 1 - primary;
    nodes[primary].sql("CREATE TABLE kept (n int PRIMARY KEY)").await?;
    nodes[primary].sql("INSERT INTO kept VALUES (1)").await?;
    step("replicates", until_rows(&nodes[replica], 1)).await?;

    let timeline = nodes[primary].timeline().await?;
    let leader = members.leader().await?;
    members.kill(leader).await?;
    step(
        "keeps its primary while our leader is gone",
        stays(&nodes[primary], timeline),
    )
    .await?;
    members.spawn(leader)?;
    members.wait_ready(leader).await?;

    nodes[primary].kill().await?;
    let primary = step("fails over from a killed primary", until_primary(nodes, replica)).await?;
    nodes[primary].sql("INSERT INTO kept VALUES (3)").await?;
    let returned = 1 - primary;
    nodes[returned].start()?;
    step("takes it back as a replica", until_paired(nodes, Some(primary))).await?;
    let rows = nodes[primary].rows().await?;
    step("replicates again", until_rows(&nodes[returned], rows)).await?;

    let leader = members.leader().await?;
    members.kill(leader).await?;
    nodes[primary].kill().await?;
    let last = step(
        "fails over while our leader is gone, too",
        until_primary(nodes, returned),
    )
    .await?;
    let expected = rows + 1;
    let found = nodes[last].rows().await?;
    ensure!(found == expected, "{found} rows, {expected} were written");
    members.spawn(leader)?;
    members.wait_ready(leader).await?;
    nodes[1 - last].start()?;
    step("is whole again", until_paired(nodes, Some(last))).await?;
    step("has every row", until_rows(&nodes[1 - last], expected))
        .await
        .map(drop)
}

async fn step<T>(name: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let begun = Instant::now();
    let done = work.await.with_context(|| format!("Patroni: {name}"))?;
    println!("  {name}: {:.1} s", begun.elapsed().as_secs_f64());
    Ok(done)
}

/// Waits until one node (the wanted one) is the primary and the other a running replica of it; gives the primary.
async fn until_paired(nodes: &mut [Node; 2], wanted: Option<usize>) -> Result<usize> {
    let deadline = Instant::now() + CHANGE_TIMEOUT;
    loop {
        for node in nodes.iter_mut() {
            node.check_alive()?;
        }
        for primary in (0..2).filter(|number| wanted.is_none_or(|wanted| wanted == *number)) {
            if nodes[primary].is("primary").await && nodes[1 - primary].is("replica").await {
                return Ok(primary);
            }
        }
        ensure!(Instant::now() < deadline, "there is no primary with a replica");
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until this node is the primary and takes writes, with one row as the proof.
async fn until_primary(nodes: &mut [Node; 2], number: usize) -> Result<usize> {
    let deadline = Instant::now() + CHANGE_TIMEOUT;
    let node = &mut nodes[number];
    let row = "INSERT INTO kept SELECT 100 + count(*) FROM kept";
    while !node.is("primary").await || node.sql(row).await.is_err() {
        node.check_alive()?;
        ensure!(Instant::now() < deadline, "{} does not become the primary", node.name());
        tokio::time::sleep(POLL).await;
    }
    Ok(number)
}

async fn until_rows(node: &Node, wanted: usize) -> Result<()> {
    let deadline = Instant::now() + CHANGE_TIMEOUT;
    while node.rows().await.ok() != Some(wanted) {
        ensure!(
            Instant::now() < deadline,
            "{} has other rows than {wanted}",
            node.name()
        );
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// The primary must go on being it, on the same timeline, and take every write.
async fn stays(node: &Node, timeline: u64) -> Result<()> {
    let end = Instant::now() + KEPT;
    node.sql("CREATE TABLE beat (at timestamptz)").await?;
    while Instant::now() < end {
        node.sql("INSERT INTO beat VALUES (now())").await?;
        tokio::time::sleep(POLL).await;
    }
    ensure!(node.is("primary").await, "{} is no primary any more", node.name());
    ensure!(node.timeline().await? == timeline, "it was demoted meanwhile");
    Ok(())
}
