//! The demonstration: the main job done once, on real servers, with its timeline.
//!
//! It is a program over this library and nothing more: whatever it shows, a user can do through the public API.

mod api;
mod failover;
mod keep;
mod leader_loss;
mod load;
pub mod report;
pub mod story;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;

use crate::cluster::DevCluster;
use crate::ports;
use crate::scenario::{Stage, Timing};

pub use failover::{sightings, watch_active, watch_key};
pub use leader_loss::read_all;
pub use load::{ApplicationLoad, Row, rows_of};

use report::Report;

/// What the command line says.
#[derive(Debug, Clone)]
pub struct Options {
    /// The appliance's binary.
    pub quorate: PathBuf,
    /// Leave everything running at the end.
    pub keep: bool,
    /// Kinds of data sources whose story is told, `mysql` or one of [`KINDS`]; `None`: `mysql`, and the loss of a node.
    pub kinds: Option<Vec<String>>,
}

/// Kinds that have a story beside `mysql`, in the order of the catalogue.
pub const KINDS: [&str; 5] = ["postgresql", "redis", "mongodb", "elasticsearch", "api"];

/// Plays the stories of these kinds, all on one cluster.
async fn tour(options: &Options, kinds: &[String]) -> Result<()> {
    let started = Instant::now();
    let directory = tempfile::Builder::new().prefix("quorate-demo-").tempdir()?;
    open_for_servers(directory.path())?;
    let mut report = Report::default();
    report.act("Three nodes start");
    let ports = ports::documented()?;
    let cluster = DevCluster::start(&options.quorate, &directory.path().join("cluster"), ports, &[]).await?;
    for kind in kinds {
        let databases = directory.path().join("databases").join(kind);
        match kind.as_str() {
            "mysql" => {
                report.act("mysql: two MariaDB servers replicate both ways; a monitor watches them");
                let mut stage = Stage::build(&cluster, &databases, Timing::FAST).await?;
                let load = ApplicationLoad::start(&cluster, &stage).await?;
                load.wait_rows(50).await?;
                failover::run(&cluster, &mut stage, load, &mut report).await?;
            }
            "api" => api::play(&cluster, &mut report).await?,
            other => drop(story::play(other, &cluster, &databases, &mut report).await?),
        }
    }
    report.summary(started.elapsed());
    cluster.stop().await
}

/// Runs the whole story; an error is a promise that was not kept.
pub async fn run(options: &Options) -> Result<()> {
    if let Some(kinds) = &options.kinds {
        return tour(options, kinds).await;
    }
    let started = Instant::now();
    let directory = tempfile::Builder::new().prefix("quorate-demo-").tempdir()?;
    open_for_servers(directory.path())?;
    let mut report = Report::default();

    report.act("Three nodes start");
    let ports = ports::documented()?;
    let mut cluster = DevCluster::start(&options.quorate, &directory.path().join("cluster"), ports, &[]).await?;
    for node in &cluster.info.nodes {
        report.say(&format!(
            "{} in {}: KV {}, console {}",
            node.name, node.zone, node.kv, node.console
        ));
    }

    report.act("Two MariaDB servers replicate both ways; a monitor watches them");
    let mut stage = Stage::build(&cluster, &directory.path().join("databases"), Timing::FAST).await?;
    report.say(&format!(
        "dc1 is {}, dc2 is {}",
        stage.pair.dc1.address(),
        stage.pair.dc2.address()
    ));
    report.say("both sides are healthy; dc1 is active");

    report.act("Application processes write rows and follow the monitor's `active` key");
    let load = ApplicationLoad::start(&cluster, &stage).await?;
    load.wait_rows(50).await?;
    report.say(&format!(
        "{} processes, one preferring each node; {} rows acknowledged",
        load.clients().len(),
        load.acknowledged()
    ));

    failover::run(&cluster, &mut stage, load, &mut report).await?;
    leader_loss::run(&mut cluster, &mut report).await?;

    report.summary(started.elapsed());
    if options.keep {
        keep::until_told(cluster, stage, directory, &report).await
    } else {
        drop(stage);
        cluster.stop().await
    }
}

/// Database servers run as an ordinary user and must be able to search the directory.
pub(crate) fn open_for_servers(directory: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755))?;
    std::fs::create_dir_all(directory.join("databases"))?;
    Ok(())
}
