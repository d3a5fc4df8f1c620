//! A node whose disk runs full: first the reserve, at which clients of the cluster may add no data, then the last byte.
//!
//! The data directory of one node lies on a tmpfs of its own, which only root can mount.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use quorate_chaos::cluster::DevCluster;
use quorate_chaos::etcd::{Client, revision};
use quorate_chaos::faults::{Signal, process_alive};
use quorate_chaos::harness::{Harness, eventually, step};
use quorate_chaos::kv;
use quorate_chaos::kv_load::KvLoad;

const READY_TIMEOUT: Duration = Duration::from_secs(30);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A shortage is noticed within a second and told by one log entry.
const SHORTAGE_TIMEOUT: Duration = Duration::from_secs(20);
const DISK_MIB: u64 = 320;
const RESERVE_MIB: u64 = 64;
/// Attempts to make one node the leader by killing the others.
const LEADER_ATTEMPTS: usize = 12;
const BIG_BYTES: usize = 512 << 10;
/// Far more than the disk holds.
const BIG_PUTS: usize = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_costs_one_node_and_no_write() -> Result<()> {
    let harness = Harness::start(&[]).await?;
    let test = async |harness: &mut Harness| {
        let cluster = &mut harness.cluster;
        let victim = cluster.leader(READY_TIMEOUT).await? % 3 + 1;
        let disk = step("a disk of its own", own_disk(cluster, victim)).await?;
        let load = KvLoad::start(cluster, "/full-disk/").await?;
        load.wait_acknowledged(100, READY_TIMEOUT).await?;
        step("the reserve is reached and left", shortage(cluster, victim, &disk)).await?;
        load.wait_acknowledged(100, READY_TIMEOUT).await?;
        step("the reserve is taken away", restart_with_reserve(cluster, victim, 0)).await?;
        step("the node leads", make_leader(cluster, victim)).await?;
        let last = step("the disk is full to the last byte", fill_up(cluster, victim, &disk)).await?;
        load.wait_acknowledged(100, READY_TIMEOUT)
            .await
            .context("the others do not go on")?;
        disk.free()?;
        step("there is space, the node returns", returns(cluster, victim, last)).await?;
        load.wait_acknowledged(100, READY_TIMEOUT).await?;
        load.finish(cluster).await.map(drop)
    };
    harness.run(test).await
}

/// A tmpfs over a node's data directory; unmounted when dropped.
#[derive(Debug)]
struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Moves what lies in `path` onto a file system of its own.
    fn mount(path: &Path) -> Result<Self> {
        let aside = path.with_extension("aside");
        std::fs::rename(path, &aside)?;
        std::fs::create_dir(path)?;
        let size = format!("size={DISK_MIB}m,mode=0700");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "quorate-test"])
            .arg(path))
        .context("this test needs root, to mount a small file system")?;
        let disk = Self { path: path.to_owned() };
        run(Command::new("cp").arg("-a").arg(aside.join(".")).arg(path))?;
        std::fs::remove_dir_all(aside)?;
        Ok(disk)
    }

    fn free_mib(&self) -> Result<u64> {
        let output = Command::new("df")
            .args(["--output=avail", "-B1M"])
            .arg(&self.path)
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        let figure = text.lines().nth(1).context("df tells nothing")?;
        Ok(figure.trim().parse()?)
    }

    /// Takes space until `left_mib` are left; with 0 until the system refuses.
    fn fill(&self, left_mib: u64) -> Result<()> {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(self.path.join("filler"))?;
        let block = vec![0_u8; 64 << 10];
        loop {
            if left_mib > 0 && self.free_mib()? <= left_mib {
                return Ok(());
            }
            let blocks = if left_mib > 0 { 16 } else { 1 };
            for _ in 0..blocks {
                match file.write_all(&block) {
                    Ok(()) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::StorageFull && left_mib == 0 => return Ok(()),
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }

    fn free(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.path.join("filler"))?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A node may still have files open: the mount goes with the last of them.
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

async fn gone(cluster: &DevCluster, node: u64, timeout: Duration) -> Result<()> {
    let pid = cluster.pid(node)?;
    eventually("the node is gone", timeout, async || {
        Ok((!process_alive(pid)).then_some(()))
    })
    .await
}

/// Sets how much is to stay free in the node's configuration file.
fn set_reserve(cluster: &DevCluster, node: u64, bytes: u64) -> Result<()> {
    let argv = &cluster.node(node)?.argv;
    let position = argv.iter().position(|word| word == "--config").context("no --config")?;
    let path = argv.get(position + 1).context("no configuration file")?;
    let text = std::fs::read_to_string(path)?;
    let changed: Vec<String> = text
        .lines()
        .map(|line| match line.starts_with("minimum_free_bytes") {
            true => format!("minimum_free_bytes = {bytes}"),
            false => line.to_owned(),
        })
        .collect();
    ensure!(
        text.contains("minimum_free_bytes"),
        "{path} does not say how much is to stay free"
    );
    Ok(std::fs::write(path, changed.join("\n") + "\n")?)
}

async fn restart_with_reserve(cluster: &mut DevCluster, node: u64, bytes: u64) -> Result<()> {
    cluster.signal(node, Signal::Terminate)?;
    gone(cluster, node, CALL_TIMEOUT).await?;
    set_reserve(cluster, node, bytes)?;
    cluster.restart(node).await?;
    cluster.wait_ready(node, READY_TIMEOUT).await.map(drop)
}

async fn own_disk(cluster: &mut DevCluster, node: u64) -> Result<Disk> {
    cluster.signal(node, Signal::Kill)?;
    gone(cluster, node, CALL_TIMEOUT).await?;
    let disk = Disk::mount(&cluster.node(node)?.data_dir)?;
    set_reserve(cluster, node, RESERVE_MIB << 20)?;
    cluster.restart(node).await?;
    cluster.wait_ready(node, READY_TIMEOUT).await?;
    Ok(disk)
}

async fn client(cluster: &DevCluster, node: u64) -> Result<Client> {
    Client::connect(&kv::as_root(&cluster.info, &cluster.node(node)?.kv)?, CALL_TIMEOUT).await
}

/// As [`client`], through a change of leader: while nobody leads the login is refused.
async fn eventually_client(cluster: &DevCluster, node: u64) -> Result<Client> {
    eventually("a login", READY_TIMEOUT, async || client(cluster, node).await.map(Some)).await
}

/// Clients of every node are refused while one disk has reached its reserve, and served again when it has left it.
async fn shortage(cluster: &DevCluster, victim: u64, disk: &Disk) -> Result<()> {
    disk.fill(RESERVE_MIB / 2)?;
    let other = victim % 3 + 1;
    for node in [victim, other] {
        let mut client = client(cluster, node).await?;
        eventually("a put is refused", SHORTAGE_TIMEOUT, async || {
            match client.put("/shortage", "v").await {
                Err(status) if status.message() == "etcdserver: mvcc: database space exceeded" => Ok(Some(())),
                Err(status) => bail!("refused with another text: {status}"),
                Ok(_) => Ok(None),
            }
        })
        .await?;
        client.get("/shortage").await.context("reads go on")?;
    }
    let info = cluster.node(victim)?;
    ensure!(
        !cluster.rest.ready(&info.console).await,
        "a node short of space says it is ready"
    );
    disk.free()?;
    let mut client = client(cluster, other).await?;
    eventually("a put is taken again", SHORTAGE_TIMEOUT, async || {
        Ok(client.put("/shortage", "v").await.ok())
    })
    .await?;
    cluster.wait_ready(victim, READY_TIMEOUT).await.map(drop)
}

async fn make_leader(cluster: &mut DevCluster, wanted: u64) -> Result<()> {
    for _ in 0..LEADER_ATTEMPTS {
        let leader = cluster.leader(READY_TIMEOUT).await?;
        if leader == wanted {
            return Ok(());
        }
        cluster.signal(leader, Signal::Kill)?;
        gone(cluster, leader, CALL_TIMEOUT).await?;
        cluster.leader(READY_TIMEOUT).await?;
        cluster.restart(leader).await?;
        cluster.wait_ready(leader, READY_TIMEOUT).await?;
    }
    bail!("node {wanted} never leads")
}

/// Writes until the node that leads cannot keep its log any more; gives the last revision that was acknowledged.
async fn fill_up(cluster: &DevCluster, victim: u64, disk: &Disk) -> Result<i64> {
    disk.fill(0)?;
    let pid = cluster.pid(victim)?;
    let other = victim % 3 + 1;
    let mut client_of_other = eventually_client(cluster, other).await?;
    let mut last = 0;
    for _ in 0..BIG_PUTS {
        if !process_alive(pid) {
            break;
        }
        let put = tokio::time::timeout(CALL_TIMEOUT, client_of_other.put("/big", vec![b'v'; BIG_BYTES]));
        match put.await {
            Ok(Ok(reply)) => last = revision(reply.header.as_ref()),
            // Nothing was promised; the loop ends with the node.
            Ok(Err(_)) | Err(_) => client_of_other = eventually_client(cluster, other).await?,
        }
    }
    gone(cluster, victim, READY_TIMEOUT)
        .await
        .context("a node that cannot write its log must end")?;
    let told = std::fs::read_to_string(&cluster.node(victim)?.log)?;
    let data = cluster.node(victim)?.data_dir.display().to_string();
    let line = told
        .lines()
        .rev()
        .find(|line| line.contains("No space left on device") && line.contains(&data))
        .with_context(|| format!("the node does not say which file could not be written: {told}"))?;
    println!("  {line}");
    let leader = cluster.leader(READY_TIMEOUT).await?;
    ensure!(leader != victim, "the dead node leads");
    Ok(last)
}

async fn returns(cluster: &mut DevCluster, victim: u64, last: i64) -> Result<()> {
    cluster.restart(victim).await?;
    cluster.wait_ready(victim, READY_TIMEOUT).await?;
    let mut client = client(cluster, victim).await?;
    let found = client.get("/big").await?;
    let kept = found.kvs.first().context("the large key is gone")?;
    ensure!(
        kept.mod_revision >= last,
        "revision {last} was acknowledged and lost: {}",
        kept.mod_revision
    );
    Ok(())
}
