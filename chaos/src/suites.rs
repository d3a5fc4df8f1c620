//! Clients of etcd that others wrote, with the tests that come with them, against real etcd and against the appliance.
//!
//! What a suite passes on real etcd it must pass on ours. Nothing of the clients is part of this project: their packages
//! come from the registries, pinned, into `suites` in the cache that `cargo xtask setup` uses. Both systems run as three
//! members that are started by the same flags of etcd, without authentication, on a new data directory for each suite.
//!
//! It deliberately judges nothing that fails on real etcd, too: such a test asks for another version or another cluster.

mod cache;
mod launched;
mod members;
mod node_client;
pub mod patroni;
mod python_gateway;
mod rust_client;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

pub use cache::Cache;
pub use members::{Members, Program};

/// Client port of the first member: a suite whose tests name their endpoint in the source is built for it.
pub const FIRST_CLIENT_PORT: u16 = 13_579;

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The appliance's binary.
    pub quorate: PathBuf,
    /// The binary of real etcd; `etcdctl` and `etcdutl` lie beside it.
    pub etcd: PathBuf,
    /// The Go compiler, for the tests that come as its packages.
    pub go: PathBuf,
    /// Of etcd's own tests, only those whose names hold this.
    pub only: Option<String>,
}

/// A public client with tests of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// The Rust crate `etcd-client`: the tests in its source package.
    Rust,
    /// Python's `etcd3gw`, over the JSON gateway: the tests in its source package.
    Python,
    /// Node's `etcd3`: a program of ours over the examples of its documentation.
    Node,
    /// etcd's own end-to-end tests, which launch the members themselves.
    Etcd,
}

/// Whether each test passed, by name.
pub type Verdicts = BTreeMap<String, bool>;

/// What a suite found on both systems.
#[derive(Debug, Clone)]
pub struct Compared {
    /// The suite.
    pub suite: Suite,
    /// On real etcd.
    pub etcd: Verdicts,
    /// On ours.
    pub quorate: Verdicts,
}

impl Compared {
    /// Tests that real etcd passes and ours does not, without those that ask for what ours does otherwise by intent.
    pub fn missed(&self) -> Vec<&str> {
        self.only_etcd().filter(|name| !launched::by_intent(name)).collect()
    }

    /// Tests that real etcd passes and ours does not, by intent.
    pub fn by_intent(&self) -> Vec<&str> {
        self.only_etcd().filter(|name| launched::by_intent(name)).collect()
    }

    fn only_etcd(&self) -> impl Iterator<Item = &str> {
        let passed = self.etcd.iter().filter(|(_, passed)| **passed);
        let missed = passed.filter(|(name, _)| self.quorate.get(*name) != Some(&true));
        missed.map(|(name, _)| name.as_str())
    }

    /// Tests that real etcd fails, with what ours did.
    pub fn foreign(&self) -> Vec<String> {
        let failed = self.etcd.iter().filter(|(_, passed)| !**passed);
        let told = failed.map(|(name, _)| match self.quorate.get(name) {
            Some(true) => format!("{name} (ours passes)"),
            _ => name.clone(),
        });
        told.collect()
    }
}

/// Runs a suite on both systems and prints what came of it.
///
/// # Errors
///
/// If the suite cannot be had or run; a test that fails is no error here.
pub async fn compare(suite: Suite, programs: &Programs, cache: &Cache) -> Result<Compared> {
    let runner = Runner::prepare(suite, programs, cache)
        .await
        .with_context(|| format!("preparing the suite {suite:?}"))?;
    let etcd = on(&runner, &Program::Etcd(programs.etcd.clone())).await?;
    let quorate = on(&runner, &Program::Quorate(programs.quorate.clone())).await?;
    let compared = Compared { suite, etcd, quorate };
    let passed = |verdicts: &Verdicts| verdicts.values().filter(|passed| **passed).count();
    println!(
        "{suite:?}: {} tests; real etcd passes {}, Quorate {}",
        compared.etcd.len(),
        passed(&compared.etcd),
        passed(&compared.quorate)
    );
    for name in compared.foreign() {
        println!("  fails on real etcd: {name}");
    }
    for name in compared.by_intent() {
        println!("  otherwise by intent: {name}");
    }
    for name in compared.missed() {
        println!("  MISSED: {name}");
    }
    Ok(compared)
}

async fn on(runner: &Runner, program: &Program) -> Result<Verdicts> {
    let begun = Instant::now();
    let verdicts = runner.run(program).await;
    let verdicts = verdicts.with_context(|| format!("on {}", program.name()))?;
    ensure!(!verdicts.is_empty(), "no test ran on {}", program.name());
    println!(
        "  {}: {} tests in {:.0} s",
        program.name(),
        verdicts.len(),
        begun.elapsed().as_secs_f64()
    );
    Ok(verdicts)
}

/// A suite that is there and can run.
enum Runner {
    Rust(rust_client::RustClient),
    Python(python_gateway::PythonGateway),
    Node(node_client::NodeClient),
    Etcd(launched::LaunchedTests),
}

impl Runner {
    async fn prepare(suite: Suite, programs: &Programs, cache: &Cache) -> Result<Self> {
        Ok(match suite {
            Suite::Rust => Self::Rust(rust_client::RustClient::prepare(cache).await?),
            Suite::Python => Self::Python(python_gateway::PythonGateway::prepare(cache).await?),
            Suite::Node => Self::Node(node_client::NodeClient::prepare(cache).await?),
            Suite::Etcd => {
                let tools = programs.etcd.parent().context("etcd lies nowhere")?;
                let only = programs.only.clone();
                Self::Etcd(launched::LaunchedTests::prepare(cache, &programs.go, tools, only).await?)
            }
        })
    }

    async fn run(&self, program: &Program) -> Result<Verdicts> {
        match self {
            Self::Rust(client) => on_members(program, async |members| client.run(members).await).await,
            Self::Python(client) => on_members(program, async |members| client.run(members).await).await,
            Self::Node(client) => on_members(program, async |members| client.run(members).await).await,
            // They start members by themselves.
            Self::Etcd(tests) => tests.run(program).await,
        }
    }
}

async fn on_members(program: &Program, run: impl AsyncFnOnce(&Members) -> Result<Verdicts>) -> Result<Verdicts> {
    let members = Members::start(program, 3).await?;
    let verdicts = run(&members).await?;
    members.stop().await?;
    Ok(verdicts)
}
