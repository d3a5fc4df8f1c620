//! What a node's files must survive or be refused for: a second process, damage, a foreign certificate. The other two nodes
//! serve on throughout.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quorate_chaos::cluster::{DevCluster, NodeInfo};
use quorate_chaos::etcd::Client;
use quorate_chaos::faults::{Signal, process_alive};
use quorate_chaos::harness::{Harness, eventually, step, throughout};
use quorate_chaos::kv;
use quorate_real_parts::PortBlock;
use tokio::process::Command;

const READY_TIMEOUT: Duration = Duration::from_secs(30);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A node that is going to refuse its files does so at once; this also bounds one that wrongly starts.
const EXIT_TIMEOUT: Duration = Duration::from_secs(15);
/// A healthy node is ready about two seconds after its start.
const QUIET_WINDOW: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_and_foreign_files_are_refused() -> Result<()> {
    let harness = Harness::start(&[]).await?;
    let test = async |harness: &mut Harness| {
        let cluster = &mut harness.cluster;
        let leader = cluster.leader(READY_TIMEOUT).await?;
        let node = leader % 3 + 1;
        others_serve(cluster, node, 300).await?;
        step("a second node on the same data directory", second_node(cluster, node)).await?;
        step(
            "a truncated log",
            damaged_log(cluster, node, |bytes| bytes.truncate(bytes.len() / 2)),
        )
        .await?;
        let flip = |bytes: &mut Vec<u8>| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
        };
        step("a flipped bit in the log", damaged_log(cluster, node, flip)).await?;
        step("a damaged snapshot", damaged_snapshot(cluster, node)).await?;
        step("a damaged identity", damaged_identity(cluster, node)).await?;
        step("the data directory of another node", foreign_directory(cluster, node)).await?;
        step("a foreign peer certificate", foreign_certificate(cluster, node)).await
    };
    harness.run(test).await
}

/// Puts through a node that is not `down`.
async fn others_serve(cluster: &DevCluster, down: u64, puts: usize) -> Result<()> {
    for node in cluster.info.nodes.iter().filter(|node| node.id != down) {
        let mut client = Client::connect(&kv::as_root(&cluster.info, &node.kv)?, CALL_TIMEOUT).await?;
        for number in 0..puts {
            let put = tokio::time::timeout(CALL_TIMEOUT, client.put(format!("/served/{number}"), vec![b'v'; 200]));
            put.await.with_context(|| format!("{} does not serve", node.name))??;
        }
    }
    Ok(())
}

/// Runs `quorate serve` with the node's own configuration until it ends by itself.
async fn serve(node: &NodeInfo, extra: &[String]) -> Result<Output> {
    let (program, arguments) = node.argv.split_first().context("argv is empty")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .args(extra)
        .args(["--log-format", "text"])
        .kill_on_drop(true);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = tokio::time::timeout(EXIT_TIMEOUT, command.spawn()?.wait_with_output()).await;
    Ok(output.with_context(|| format!("{} starts where it must refuse", node.name))??)
}

/// The node refused to start and named `name`.
fn refused(output: &Output, name: &str) -> Result<()> {
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = told.lines().last().unwrap_or_default();
    ensure!(!output.status.success(), "it ended with success: {told}");
    ensure!(!told.contains("panicked"), "a refusal is no panic: {told}");
    ensure!(
        last.starts_with("error:") && last.contains(name),
        "it does not name {name}: {told}"
    );
    println!("  {last}");
    Ok(())
}

async fn kill(cluster: &DevCluster, node: u64) -> Result<()> {
    cluster.signal(node, Signal::Kill)?;
    let pid = cluster.pid(node)?;
    eventually("the node is gone", CALL_TIMEOUT, async || {
        Ok((!process_alive(pid)).then_some(()))
    })
    .await
}

async fn start_again(cluster: &mut DevCluster, node: u64) -> Result<()> {
    cluster.restart(node).await?;
    cluster.wait_ready(node, READY_TIMEOUT).await.map(drop)
}

async fn second_node(cluster: &DevCluster, node: u64) -> Result<()> {
    let (info, ports) = (cluster.node(node)?, PortBlock::claim()?);
    let doors = ["--peer-listen", "--kv-listen", "--console-listen"];
    let elsewhere = doors
        .iter()
        .zip(0..)
        .flat_map(|(door, index)| [(*door).to_owned(), format!("127.0.0.1:{}", ports.port(index))]);
    let output = serve(info, &elsewhere.collect::<Vec<_>>()).await?;
    refused(&output, &info.data_dir.display().to_string())?;
    ensure!(
        cluster.rest.ready(&info.console).await,
        "the first one no longer serves"
    );
    others_serve(cluster, 0, 5).await
}

/// The newest write-ahead file that holds anything.
fn write_ahead_file(data: &Path) -> Result<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(data.join("log"))? {
        let path = entry?.path();
        let named = path.extension().is_some_and(|extension| extension == "log");
        if named && std::fs::metadata(&path)?.len() > 0 {
            files.push(path);
        }
    }
    files.sort();
    files.pop().context("the log has no write-ahead file")
}

async fn damaged_log(cluster: &mut DevCluster, node: u64, damage: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
    let info = cluster.node(node)?.clone();
    // A start moves the old log into a table: this fills the write-ahead file again, well below the watermark.
    others_serve(cluster, node, 100).await?;
    let mut client = Client::connect(&kv::as_root(&cluster.info, &info.kv)?, CALL_TIMEOUT).await?;
    client.get("/served/0").await.context("the node has caught up")?;
    kill(cluster, node).await?;
    let file = write_ahead_file(&info.data_dir)?;
    let sound = copy_of(&info.data_dir)?;
    let mut bytes = std::fs::read(&file)?;
    damage(&mut bytes);
    std::fs::write(&file, bytes)?;
    let name = file
        .file_name()
        .and_then(|name| name.to_str())
        .context("a name")?
        .to_owned();
    refused(&serve(&info, &[]).await?, &name)?;
    refused(&serve(&info, &[]).await?, &name).context("the second attempt")?;
    others_serve(cluster, node, 5).await?;
    put_back(&sound, &info.data_dir)?;
    start_again(cluster, node).await
}

/// The log reaches back to its beginning, so a damaged snapshot is passed over, loudly, and nothing is lost.
async fn damaged_snapshot(cluster: &mut DevCluster, node: u64) -> Result<()> {
    kill(cluster, node).await?;
    let info = cluster.node(node)?.clone();
    let name = format!("{:020}-{:020}.snapshot", 10, 1);
    std::fs::write(
        info.data_dir.join("snapshots").join(&name),
        b"QRTESNAP and then nothing of the kind",
    )?;
    start_again(cluster, node).await?;
    let log = std::fs::read_to_string(&info.log)?;
    ensure!(
        log.lines().any(|line| line.contains(&name) && line.contains("ERROR")),
        "the log does not name {name}"
    );
    let mut client = Client::connect(&kv::as_root(&cluster.info, &info.kv)?, CALL_TIMEOUT).await?;
    ensure!(
        client.get("/served/0").await?.kvs.len() == 1,
        "the state is not complete"
    );
    std::fs::remove_file(info.data_dir.join("snapshots").join(&name))?;
    Ok(())
}

async fn damaged_identity(cluster: &mut DevCluster, node: u64) -> Result<()> {
    kill(cluster, node).await?;
    let info = cluster.node(node)?.clone();
    let file = info.data_dir.join("identity");
    let sound = std::fs::read(&file)?;
    let mut bytes = sound.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes)?;
    refused(&serve(&info, &[]).await?, &file.display().to_string())?;
    others_serve(cluster, node, 5).await?;
    std::fs::write(&file, sound)?;
    start_again(cluster, node).await
}

/// A node never votes with another one's log, and never begins anew with an empty one.
async fn foreign_directory(cluster: &mut DevCluster, node: u64) -> Result<()> {
    let other = cluster.node(node % 3 + 1)?.clone();
    let info = cluster.node(node)?.clone();
    kill(cluster, node).await?;
    let foreign = copy_of(&other.data_dir)?;
    let path = foreign.path().display().to_string();
    let at = |path: &str| ["--data-dir".to_owned(), path.to_owned()];
    refused(&serve(&info, &at(&path)).await?, &path).context("another node's directory")?;
    let empty = tempfile::tempdir()?;
    let path = empty.path().display().to_string();
    refused(&serve(&info, &at(&path)).await?, &path).context("an empty directory")?;
    others_serve(cluster, node, 5).await?;
    start_again(cluster, node).await
}

async fn foreign_certificate(cluster: &mut DevCluster, node: u64) -> Result<()> {
    let info = cluster.node(node)?.clone();
    let identity = info.data_dir.parent().context("the node's folder")?.join("identity");
    let (elsewhere, ports) = (tempfile::tempdir()?, PortBlock::claim()?);
    let foreign = elsewhere.path().join("identity");
    let mut bootstrap = Command::new(info.argv.first().context("argv is empty")?);
    bootstrap.arg("bootstrap").arg("--identity-dir").arg(&foreign);
    for (door, index) in [("--peer-listen", 0), ("--kv-listen", 1), ("--console-listen", 2)] {
        bootstrap.arg(door).arg(format!("127.0.0.1:{}", ports.port(index)));
    }
    let made = bootstrap.stdin(Stdio::null()).output().await?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    kill(cluster, node).await?;
    let sound = copy_of(&identity)?;
    for file in ["peer.crt", "peer.key.pem"] {
        std::fs::copy(foreign.join(file), identity.join(file))?;
    }
    cluster.restart(node).await?;
    throughout("nobody lets it in", QUIET_WINDOW, async || {
        ensure!(
            !cluster.rest.ready(&info.console).await,
            "a node with a foreign certificate serves"
        );
        Ok(())
    })
    .await?;
    others_serve(cluster, node, 5).await?;
    let mut told = String::new();
    for other in &cluster.info.nodes {
        told.push_str(&std::fs::read_to_string(&other.log)?);
    }
    ensure!(
        told.to_lowercase().contains("certificate"),
        "nobody says that a certificate was refused"
    );
    if process_alive(cluster.pid(node)?) {
        kill(cluster, node).await?;
    }
    put_back(&sound, &identity)?;
    start_again(cluster, node).await
}

/// A copy of a directory, gone with the value.
fn copy_of(directory: &Path) -> Result<tempfile::TempDir> {
    let copy = tempfile::tempdir()?;
    copy_into(directory, copy.path())?;
    Ok(copy)
}

fn put_back(copy: &tempfile::TempDir, directory: &Path) -> Result<()> {
    std::fs::remove_dir_all(directory)?;
    copy_into(copy.path(), directory)
}

fn copy_into(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_into(&entry.path(), &target)?;
        } else {
            // Keeps the mode: keys are readable by their owner alone.
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
