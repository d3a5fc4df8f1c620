//! What the node lends to the console: sealing of secrets, connection tests, connected processes.

use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use quorate_console_api::{
    AddressReport, ConnectedProcess, ConnectionTest, ConnectionTester, EdgeFuture, ProcessSource, Sealer, StageReport,
    TestPassword,
};
use quorate_etcd_api::Clients;
use quorate_machine::{FindingClass, Id, Sealed};
use quorate_probes::mysql::{MysqlTarget, test_connection};
use quorate_probes::{Names, Secret, Stage, StageResult};

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
const PASSWORD_FIELD: &str = crate::reconcilers::PASSWORD_FIELD;

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
        Box::pin(async move {
            let tests = test.addresses.iter().map(|address| tester.one(&test, address));
            futures_util::future::join_all(tests).await
        })
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
    async fn one(&self, test: &ConnectionTest, address: &str) -> AddressReport {
        let started = Instant::now();
        let steps = match self.target(test, address).await {
            Ok(target) => test_connection(&target).await,
            Err(text) => {
                let class = FindingClass::Misconfigured;
                vec![StageResult {
                    stage: Stage::Dns,
                    class,
                    text,
                    latency_us: 0,
                }]
            }
        };
        let failed = steps.iter().find(|step| step.class != FindingClass::Ok);
        AddressReport {
            address: address.to_string(),
            passed: failed.is_none(),
            class: failed.map_or(FindingClass::Ok, |step| step.class).code().to_string(),
            text: failed.map(|step| step.text.clone()).unwrap_or_default(),
            elapsed_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            stages: steps.iter().map(stage_report).collect(),
        }
    }

    async fn target(&self, test: &ConnectionTest, address: &str) -> Result<MysqlTarget, String> {
        if test.kind != "mysql" {
            return Err(format!("connections of kind {} cannot be tested", test.kind));
        }
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
        let timeout = test.access_timeout.max(Duration::from_millis(1));
        let target = MysqlTarget::new(address, &test.user, Secret::new(password), &test.database, timeout)
            .map_err(|error| error.to_string())?
            .with_names(self.names.clone());
        match self.links.forwarder(address).await {
            Ok(None) => Ok(target),
            Ok(Some(forwarder)) => Ok(target.via(forwarder)),
            Err(error) => Err(format!("the fault proxy gives no path: {error}")),
        }
    }
}
