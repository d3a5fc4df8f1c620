//! The list of faults as scenarios on real servers: what is expected of each, what was seen, and how long it took.
//!
//! Two development clusters serve all scenarios of a run: one whose nodes reach the databases themselves, and one whose links
//! can fail one by one. Every scenario has a monitor of its own, which is healthy on both
//! sides before its fault begins, so that no scenario rests on what an earlier one left behind. A scenario whose outcome
//! differs from what is expected is told as such and the run goes on; only a scenario that cannot be carried out ends it.
//!
//! Deliberately not here: load, and what an application's rows become. That is the part of `demo` and of `tests/failover.rs`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail};

mod databases;
mod engines;
mod expect;
mod mariadb;
mod mongodb;
mod nodes;
mod paths;
mod postgresql;
mod redis;
mod scene;
mod search;
mod sites;
mod table;
mod trial;

pub use expect::{Expected, Reason, Seen};
pub use table::{Row, markdown, print};

use scene::Scene;

/// A scenario of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// As it is called on the command line.
    pub name: &'static str,
    /// What is done, in a few words.
    pub what: &'static str,
    /// Takes a few seconds only.
    pub quick: bool,
}

/// What is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The appliance's binary.
    pub quorate: PathBuf,
    /// Engines, for example `mariadb`; empty: every one.
    pub engines: Vec<String>,
    /// Names of scenarios; empty: every one.
    pub names: Vec<String>,
    /// Only what takes a few seconds.
    pub quick: bool,
}

/// The engine on which the whole list is run.
pub const MARIADB: &str = "mariadb";

impl Options {
    fn wants_engine(&self, engine: &str) -> bool {
        self.engines.is_empty() || self.engines.iter().any(|wanted| wanted == engine)
    }

    fn wants(&self, scenario: &Scenario) -> bool {
        let named = self.names.is_empty() || self.names.iter().any(|name| name == scenario.name);
        named && (scenario.quick || !self.quick)
    }
}

/// Every scenario's name with what is done, in the order of the table.
pub fn catalogue() -> Vec<Scenario> {
    let groups = [
        databases::SCENARIOS,
        paths::SCENARIOS,
        nodes::SCENARIOS,
        sites::SCENARIOS,
    ];
    groups.concat()
}

/// Every engine that scenarios can be run on.
pub fn engines() -> Vec<&'static str> {
    [&[MARIADB][..], &engines::OTHERS].concat()
}

/// Runs the scenarios on clusters below `directory` and gives their rows; `told` is called with each as it ends.
///
/// # Errors
/// An unknown name, a server that does not start, or a scenario that cannot be carried out. A difference between expected
/// and seen is no error here: it stands in its row.
pub async fn run(options: &Options, directory: &Path, told: impl Fn(&Row)) -> Result<Vec<Row>> {
    check_names(options)?;
    let started = Instant::now();
    let mut scenes = Scenes::start(options, directory).await?;
    println!("the nodes serve after {:.1} s", started.elapsed().as_secs_f64());
    let mut rows = Vec::new();
    play(options, &mut scenes, &directory.join("databases"), &mut rows, &told).await?;
    scenes.stop().await?;
    Ok(rows)
}

/// The two clusters of a run.
struct Scenes {
    /// Its nodes reach the databases themselves, so that they hear what a killed server's host says, and ask the run's own name server.
    direct: Scene,
    /// Its nodes reach everything through the launcher's fault proxy, where single links fail.
    linked: Scene,
}

impl Scenes {
    async fn start(options: &Options, directory: &Path) -> Result<Self> {
        let dns = scene::name_server()?;
        let servers = dns.address().to_string();
        let named = ["--dns-servers", &servers];
        Ok(Self {
            direct: Scene::start(&options.quorate, &directory.join("direct"), &named, Some(dns)).await?,
            linked: Scene::start(&options.quorate, &directory.join("linked"), &["--faults"], None).await?,
        })
    }

    async fn stop(self) -> Result<()> {
        self.direct.cluster.stop().await?;
        self.linked.cluster.stop().await
    }
}

async fn play(
    options: &Options,
    scenes: &mut Scenes,
    databases: &Path,
    rows: &mut Vec<Row>,
    told: &impl Fn(&Row),
) -> Result<()> {
    std::fs::create_dir_all(databases)?;
    let mut keep = |row: Row| {
        told(&row);
        rows.push(row);
    };
    if options.wants_engine(MARIADB) {
        let mut subject = mariadb::MariaDbSubject::start(&databases.join(MARIADB)).await?;
        databases::play(options, scenes, &mut subject, &mut keep).await?;
        paths::play(options, scenes, &mut subject, &mut keep).await?;
        nodes::play(options, &mut scenes.direct, &mut subject, &mut keep).await?;
        sites::play(options, &scenes.linked, databases, &mut keep).await?;
    }
    for engine in engines::OTHERS {
        if options.wants_engine(engine) {
            engines::play(engine, options, scenes, databases, &mut keep).await?;
        }
    }
    Ok(())
}

fn check_names(options: &Options) -> Result<()> {
    let (scenarios, known) = (catalogue(), engines());
    for name in &options.names {
        if !scenarios.iter().any(|scenario| scenario.name == name) {
            let names: Vec<&str> = scenarios.iter().map(|scenario| scenario.name).collect();
            bail!("there is no scenario {name:?}; there are {}", names.join(", "));
        }
    }
    for engine in &options.engines {
        if !known.contains(&engine.as_str()) {
            bail!("there is no engine {engine:?}; there are {}", known.join(", "));
        }
    }
    Ok(())
}
