//! What the node lends to the console: sealing of secrets, connection tests, connected processes.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use quorate_console_api::{
    AddressReport, ConnectedProcess, ConnectionTest, ConnectionTester, EdgeFuture, ProcessSource, Sealer, StageReport,
    TestPassword,
};
use quorate_etcd_api::Clients;
use quorate_machine::{FindingClass, Id, ProbedDetail, ProbedSide, Sealed, TlsSpec};
use quorate_probes::{AddressTest, Names, ProbeTarget, Secret, StageResult, engine};

use crate::identity::ClusterKey;
use crate::links::Links;

/// Seals with the cluster's key.
pub struct NodeSealer(pub ClusterKey);

impl Sealer for NodeSealer {
    fn seal(&self, object: Id, field: &str, generation: u64, plain: &[u8]) -> Sealed {
        self.0.seal(object, field, generation, plain)
    }
}

/// Field of a monitor's sealed password.
const PASSWORD_FIELD: &str = "password";

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

impl NodeTester {
    async fn run(&self, test: &ConnectionTest) -> Vec<AddressTest> {
        let all_fail = |text: &str| {
            test.addresses
                .iter()
                .map(|address| AddressTest::not_begun(address, text))
                .collect()
        };
        let Some(engine) = engine(test.kind) else {
            return all_fail(&format!("no prober for this kind in this version: {}", test.kind));
        };
        match self.target(test) {
            Ok(target) => engine.test(target).await,
            Err(text) => all_fail(&text),
        }
    }

    fn target(&self, test: &ConnectionTest) -> Result<ProbeTarget, String> {
        let password = match &test.password {
            TestPassword::Plain(password) => password.clone(),
            TestPassword::Stored { object, sealed, .. } => {
                let clear = self
                    .key
                    .unseal(*object, PASSWORD_FIELD, sealed)
                    .map_err(|error| error.to_string())?;
                String::from_utf8(clear.to_vec()).map_err(|_| "the stored password is not text".to_string())?
            }
        };
        let side = ProbedSide {
            kind: test.kind,
            addresses: test.addresses.clone(),
            user: test.user.clone(),
            secrets: Vec::new(),
            database: test.database.clone(),
            tls: TlsSpec::default(),
            detail: ProbedDetail::Relational { database_is_sid: false },
        };
        let timeout = test.access_timeout.max(Duration::from_millis(1));
        let mut target =
            ProbeTarget::new(side, timeout, self.names.clone()).with_secret("password", Secret::new(password));
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
