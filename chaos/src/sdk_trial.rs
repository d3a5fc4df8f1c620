//! The trial of an unmodified Go SDK: a real application process over a checkout of it, the configuration that the console
//! hands out, a pair of real servers, and the faults that it must survive.
//!
//! The SDK itself is no part of this project: its checkout is named on the command line and only read.

mod acts;
mod application;
pub mod record;
mod servers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use quorate_real_parts::mariadb::APPLICATION;

use crate::cluster::DevCluster;
use crate::demo::open_for_servers;
use crate::demo::report::Report;
use crate::ports;
use crate::scenario::Stage;
use application::Application;
use record::{Record, UnixMicros};
use servers::Servers;

/// What the command line says.
#[derive(Debug, Clone)]
pub struct Options {
    /// The appliance's binary.
    pub quorate: PathBuf,
    /// Checkout of the SDK.
    pub sdk: PathBuf,
    /// The Go program.
    pub go: PathBuf,
    /// The KV port demands client certificates, as it does by default in production.
    pub mutual_tls: bool,
    /// What the application works on.
    pub database: Database,
}

/// A kind of server that the SDK has a package for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Database {
    /// `sql-driver/mysql` over a MariaDB pair that replicates both ways.
    Mysql,
    /// `redis` over two Redis servers that know nothing of each other.
    Redis,
}

impl Database {
    /// Package of the application in `chaos/sdk-trial`.
    const fn package(self) -> &'static str {
        match self {
            Self::Mysql => "mysql",
            Self::Redis => "redis",
        }
    }
}

/// Numbers of the servers by data center, as they name themselves.
fn sides() -> BTreeMap<String, i64> {
    BTreeMap::from([("dc1".to_owned(), 1), ("dc2".to_owned(), 2)])
}

/// What every act works on.
struct Trial {
    cluster: DevCluster,
    stage: Stage<Servers>,
    mutual_tls: bool,
    /// Where the application's files lie.
    directory: PathBuf,
    program: PathBuf,
    applications: Vec<Application>,
    /// One line per switch for the table at the end.
    table: Vec<String>,
}

/// Runs the trial; an error is something that an application would suffer from. Its files are kept then.
pub async fn run(options: &Options) -> Result<()> {
    let started = Instant::now();
    let directory = tempfile::Builder::new().prefix("quorate-sdk-trial-").tempdir()?;
    open_for_servers(directory.path())?;
    let mut report = Report::default();
    match Box::pin(story(options, directory.path(), &mut report)).await {
        Ok(()) => {
            report.summary(started.elapsed());
            Ok(())
        }
        Err(error) => {
            let kept = directory.keep();
            Err(error.context(format!("all files are kept in {}", kept.display())))
        }
    }
}

async fn story(options: &Options, directory: &Path, report: &mut Report) -> Result<()> {
    report.act("An application is built against the SDK checkout, which stays as it is");
    let own = directory.join("application");
    let package = options.database.package();
    let program = application::build(&options.go, &options.sdk, &own, package).await?;

    report.act("Three nodes and two servers start; application and monitor are created");
    let settings: &[(&str, &str)] = if options.mutual_tls { &MUTUAL_TLS } else { &[] };
    let folder = directory.join("cluster");
    let cluster = DevCluster::start_with(&options.quorate, &folder, ports::take()?, &[], settings).await?;
    let folder = directory.join("databases");
    let stage = servers::build(options.database, &cluster, &folder).await?;
    hand_out(&cluster, &stage, &own).await?;
    report.say("the SDK configuration is taken from the console as it is, the three certificate files lie beside it");

    let mut trial = Trial {
        cluster,
        stage,
        mutual_tls: options.mutual_tls,
        directory: own,
        program,
        applications: Vec::new(),
        table: Vec::new(),
    };
    trial.acts(report).await?;
    check(&trial.stage.pair, std::mem::take(&mut trial.applications), report).await?;
    for line in trial.table {
        report.remember(line);
    }
    drop(trial.stage);
    trial.cluster.stop().await
}

/// What makes a development cluster's KV port demand client certificates.
const MUTUAL_TLS: [(&str, &str); 2] = [("QUORATE_KV_MUTUAL_TLS", "true"), ("QUORATE_KV_PLAINTEXT", "false")];
/// The configuration as the console hands it out.
const HANDED_OUT: &str = "sdk.yaml";
/// The same as the SDK's own README writes it: TLS without certificates.
const UNVERIFIED: &str = "sdk-unverified.yaml";
/// Puts the configuration and the certificate files where the console's notes say.
async fn hand_out(cluster: &DevCluster, stage: &Stage<Servers>, directory: &Path) -> Result<()> {
    let handed_out = cluster.rest.get(&format!("{}/sdk-configuration", stage.path())).await?;
    let yaml = handed_out["go_yaml"].as_str();
    let yaml = yaml.with_context(|| format!("there is no file for the Go SDK: {handed_out}"))?;
    ensure!(
        handed_out["warnings"].as_array().is_some_and(Vec::is_empty),
        "the console warns: {}",
        handed_out["warnings"]
    );
    std::fs::write(directory.join(HANDED_OUT), yaml)?;
    let unverified = yaml.replace("httpsEnable: true", "httpsEnable: false");
    ensure!(unverified != yaml, "the configuration does not say httpsEnable: true");
    std::fs::write(directory.join(UNVERIFIED), unverified)?;
    let file = |name: &str| {
        let name = handed_out["properties"][name].as_str().unwrap_or_default();
        directory.join(name)
    };
    let kv = &cluster.info.kv;
    for (from, to) in [
        (&kv.ca, file("ca_file")),
        (&kv.cert, file("cert_file")),
        (&kv.key, file("key_file")),
    ] {
        std::fs::copy(from, &to).with_context(|| format!("{} to {}", from.display(), to.display()))?;
    }
    Ok(())
}

impl Trial {
    /// Starts one more application process with the file `configuration`.
    fn start_application(&mut self, name: &str, configuration: &str) -> Result<()> {
        let environment = [
            ("QUORATE_KV_PASSWORD", self.cluster.info.kv.sdk.password.as_str()),
            ("DATABASE_USER", APPLICATION.user),
            ("DATABASE_PASSWORD", APPLICATION.password),
            // The trial's Redis servers take anybody.
            ("SERVER_PASSWORD", ""),
        ];
        let application = Application::start(&self.program, &self.directory, configuration, name, &environment)?;
        self.applications.push(application);
        Ok(())
    }
}

/// Now, on the clock that the application prints.
fn now_us() -> UnixMicros {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// After everything: nothing crashed, nothing ran on the wrong side, nothing acknowledged is missing.
async fn check(servers: &Servers, applications: Vec<Application>, report: &mut Report) -> Result<()> {
    report.act("What the application was told is compared with the servers");
    let mut records = Vec::new();
    for application in applications {
        let name = application.name.clone();
        records.push((name, application.finish().await?));
    }
    let written = servers.written().await?;
    for (name, record) in &mut records {
        let missing = record.locate(&written);
        if servers.replicate() {
            ensure!(
                missing.is_empty(),
                "{name}: {} acknowledged rows are nowhere: {missing:?}",
                missing.len()
            );
        }
        let misdirected = record.misdirected(&sides());
        ensure!(
            misdirected.is_empty(),
            "{name}: {} statements ran on a side that was no longer active: {misdirected:?}",
            misdirected.len()
        );
        report.finding(summary_of(name, record, servers.replicate()));
        for complaint in &record.complaints {
            report.say(&format!("the SDK logged: {complaint}"));
        }
    }
    Ok(())
}

fn summary_of(name: &str, record: &Record, replicated: bool) -> String {
    let failed = record.statements.iter().filter(|line| !line.error.is_empty()).count();
    let rows = if replicated {
        ", every acknowledged row on both sides"
    } else {
        ""
    };
    format!(
        "{name}: {} statements, {failed} failed, {} switches taken over, none on a side that was no longer active{rows}",
        record.statements.len(),
        record.changes.len()
    )
}
