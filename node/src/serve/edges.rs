//! What the node lends to the console: sealing of secrets, connection tests, connected processes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use quorate_console_api::{
    AddressReport, ConnectedProcess, ConnectionTest, ConnectionTester, EdgeFuture, MeasureSource, ProcessSource,
    Sealer, SideMeasure, StageReport,
};
use quorate_etcd_api::Clients;
use quorate_machine::{FindingClass, Id, ProbedSecret, ProbedSide, Sealed};
use quorate_probes::{AddressTest, Names, ProbeTarget, Secret, StageResult, engine};

use crate::identity::ClusterKey;
use crate::links::Links;
use crate::reconcilers::{Board, opened};

/// Seals with the cluster's key.
pub struct NodeSealer(pub ClusterKey);

impl Sealer for NodeSealer {
    fn seal(&self, object: Id, field: &str, generation: u64, plain: &[u8]) -> Sealed {
        self.0.seal(object, field, generation, plain)
    }
}

/// Tests connections from this node.
#[derive(Clone)]
pub struct NodeTester {
    pub key: ClusterKey,
    pub links: Links,
    pub names: Names,
}

impl ConnectionTester for NodeTester {
    fn test(&self, test: ConnectionTest) -> EdgeFuture<Vec<AddressReport>> {
        let tester = self.clone();
        Box::pin(async move { tester.run(&test).await.iter().map(report).collect() })
    }
}

fn stage_report(step: &StageResult) -> StageReport {
    StageReport::new(&step.stage.to_string(), step.class.code(), &step.text, step.latency_us)
}

/// Tells the console which processes watch at this node's KV endpoint.
pub struct NodeProcesses(pub Arc<Clients>);

impl ProcessSource for NodeProcesses {
    fn connected(&self, instance: Id, application: Id) -> Vec<ConnectedProcess> {
        let application = application.to_string();
        let all = self.0.connected_processes().into_iter();
        let of_application = all.filter(|found| found.instance == instance && found.application == application);
        let process = |found: quorate_etcd_api::ConnectedProcess| {
            let since = found.since.duration_since(UNIX_EPOCH).unwrap_or_default();
            ConnectedProcess {
                user: found.user,
                source: found.source,
                watches: u32::try_from(found.watches).unwrap_or(u32::MAX),
                since_wall_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            }
        };
        of_application.map(process).collect()
    }
}

/// Tells the console what this node's probers learned last.
pub struct NodeMeasures(pub Arc<Board>);

impl MeasureSource for NodeMeasures {
    fn measures(&self, monitors: &[Id]) -> Vec<SideMeasure> {
        let of_monitor = |monitor: &Id| {
            let monitor = *monitor;
            let sides = self.0.told(monitor).into_iter();
            sides.map(move |(dc, role, age_ms)| SideMeasure {
                monitor,
                data_center: dc as i32,
                age_ms,
                read_only: role.read_only,
                lag: role.lag(),
                replication_broken: role.replication_broken.unwrap_or_default(),
                connections_used: role.connections.map(|connections| connections.used),
                connections_limit: role.connections.and_then(|connections| connections.limit),
            })
        };
        monitors.iter().flat_map(of_monitor).collect()
    }
}

impl NodeTester {
    async fn run(&self, test: &ConnectionTest) -> Vec<AddressTest> {
        let sides = test.sides();
        let tests = sides.into_iter().map(|side| async {
            let addresses = side.addresses.clone();
            let not_begun = |text: &str| {
                addresses
                    .iter()
                    .map(|address| AddressTest::not_begun(address, text))
                    .collect()
            };
            let kind = side.kind;
            let Some(engine) = engine(kind) else {
                return not_begun(&format!("no prober for this kind in this version: {kind}"));
            };
            match self.target(test, side) {
                Ok(target) => engine.test(target).await,
                Err(text) => not_begun(&text),
            }
        });
        let reports: Vec<Vec<AddressTest>> = futures_util::future::join_all(tests).await;
        reports.concat()
    }

    /// The target of one side: typed secrets as they are, the others opened.
    fn target(&self, test: &ConnectionTest, mut side: ProbedSide) -> Result<ProbeTarget, String> {
        let is_typed = |secret: &ProbedSecret| test.typed(&secret.field).is_some();
        let (typed, stored): (Vec<_>, Vec<_>) = std::mem::take(&mut side.secrets).into_iter().partition(is_typed);
        side.secrets = stored;
        let mut secrets = match test.stored {
            Some(monitor) => opened(&self.key, monitor, &side)?,
            None if side.secrets.is_empty() => BTreeMap::new(),
            None => return Err("the test lacks a secret".to_owned()),
        };
        let clear = |secret: ProbedSecret| {
            let value = test.typed(&secret.field).unwrap_or_default().to_owned();
            (secret.name, Secret::new(value))
        };
        secrets.extend(typed.into_iter().map(clear));
        let timeout = test.access_timeout.max(Duration::from_millis(1));
        let mut target = ProbeTarget::new(side, timeout, self.names.clone());
        target.secrets = secrets;
        target.paths = Arc::new(self.links.clone());
        Ok(target)
    }
}

fn report(test: &AddressTest) -> AddressReport {
    let failed = test.steps.iter().find(|step| step.class != FindingClass::Ok);
    AddressReport {
        address: test.address.clone(),
        passed: failed.is_none(),
        class: failed.map_or(FindingClass::Ok, |step| step.class).code().to_string(),
        text: failed.map(|step| step.text.clone()).unwrap_or_default(),
        elapsed_ms: test.steps.iter().map(|step| step.latency_us).sum::<u64>() / 1_000,
        stages: test.steps.iter().map(stage_report).collect(),
    }
}
