//! Connection tests (C6).

use std::time::Duration;

use quorate_machine::catalog::edge;
use quorate_machine::{MonitorRecord, NodeRecord};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::monitor::check_password;
use crate::context::{AddressReport, ConnectionTest, StageReport, TestPassword};
use crate::language::text;
use crate::limits::MAX_NAME_CHARACTERS;
use crate::problem::Problem;

/// Addresses in one test at most: both sides with their replicas.
const MAX_TEST_ADDRESSES: usize = 32;
/// Access timeout in milliseconds when the test names none.
const DEFAULT_ACCESS_TIMEOUT_MS: u32 = 3000;
/// Longest access timeout of a test, milliseconds.
const MAX_ACCESS_TIMEOUT_MS: u32 = 10_000;

/// What to try before a monitor is saved.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConnectionTestBody {
    /// An existing monitor whose stored password is used when `password` is left out.
    #[serde(default)]
    pub(crate) monitor: Option<String>,
    user: String,
    #[serde(default)]
    #[schema(write_only)]
    password: Option<String>,
    monitoring_database: String,
    /// `host:port` of everything to be tried, 1 to 32.
    addresses: Vec<String>,
    /// Time for one step of one attempt, 100 to 10000 ms; 3000 when left out.
    #[serde(default)]
    access_timeout_ms: Option<u32>,
}

impl ConnectionTestBody {
    /// The test, with the password from the body or from the stored monitor; 422 if neither is there.
    pub(crate) fn into_test(self, stored: Option<&MonitorRecord>) -> Result<ConnectionTest, Problem> {
        if self.addresses.is_empty() || self.addresses.len() > MAX_TEST_ADDRESSES {
            let detail = text(edge::TEST_ADDRESSES, &[("maximum", &MAX_TEST_ADDRESSES)]);
            return Err(Problem::field("/addresses", "out-of-range", detail));
        }
        if let Some(bad) = self.addresses.iter().position(|address| !is_host_and_port(address)) {
            let detail = text(edge::TEST_ADDRESS, &[]);
            return Err(Problem::field(&format!("/addresses/{bad}"), "bad-address", detail));
        }
        let access_timeout_ms = self.access_timeout_ms.unwrap_or(DEFAULT_ACCESS_TIMEOUT_MS);
        if !(100..=MAX_ACCESS_TIMEOUT_MS).contains(&access_timeout_ms) {
            let detail = text(edge::TEST_TIMEOUT, &[("maximum", &MAX_ACCESS_TIMEOUT_MS)]);
            return Err(Problem::field("/access_timeout_ms", "out-of-range", detail));
        }
        for (pointer, name) in [
            ("/user", &self.user),
            ("/monitoring_database", &self.monitoring_database),
        ] {
            let clean = !name.is_empty() && !name.chars().any(char::is_control);
            if !clean || name.chars().count() > MAX_NAME_CHARACTERS {
                let detail = text(edge::TEST_NAME, &[("maximum", &MAX_NAME_CHARACTERS)]);
                return Err(Problem::field(pointer, "invalid-characters", detail));
            }
        }
        Ok(ConnectionTest {
            kind: "mysql",
            addresses: self.addresses,
            user: self.user,
            password: password_of(self.password, stored)?,
            database: self.monitoring_database,
            access_timeout: Duration::from_millis(u64::from(access_timeout_ms)),
        })
    }
}

fn password_of(typed: Option<String>, stored: Option<&MonitorRecord>) -> Result<TestPassword, Problem> {
    if let Some(typed) = typed {
        return check_password("/password", typed).map(TestPassword::Plain);
    }
    let sealed = stored.and_then(|monitor| {
        let (_, sealed) = monitor
            .spec
            .kind
            .as_ref()?
            .secrets()
            .into_iter()
            .find(|(field, _)| field == "password")?;
        Some((monitor.id(), sealed?))
    });
    match sealed {
        Some((object, sealed)) => Ok(TestPassword::Stored { object, sealed }),
        None => {
            let detail = text(edge::TEST_PASSWORD, &[]);
            Err(Problem::field("/password", "missing-field", detail))
        }
    }
}

fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    !host.is_empty() && host.len() <= 255 && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// What the nodes found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct ConnectionTestView {
    /// Every address passed from every node.
    pub(crate) passed: bool,
    /// Nodes that gave no report.
    pub(crate) silent_nodes: Vec<u64>,
    /// In order of node id.
    pub(crate) nodes: Vec<NodeTestView>,
}

impl ConnectionTestView {
    pub(crate) fn new(nodes: Vec<NodeTestView>) -> Self {
        let silent = nodes.iter().filter(|node| node.failure.is_some());
        Self {
            passed: nodes.iter().all(|node| node.passed),
            silent_nodes: silent.map(|node| node.node).collect(),
            nodes,
        }
    }
}

/// What one node found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct NodeTestView {
    pub(crate) node: u64,
    pub(crate) name: String,
    pub(crate) zone: String,
    /// Every address passed from here.
    pub(crate) passed: bool,
    /// Why there is no report of this node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
    /// In the order asked for; empty without a report.
    pub(crate) addresses: Vec<AddressReportView>,
}

impl NodeTestView {
    /// A node with a report.
    pub(crate) fn answered(node: &NodeRecord, reports: Vec<AddressReport>) -> Self {
        let addresses: Vec<AddressReportView> = reports.into_iter().map(AddressReportView::from).collect();
        Self {
            passed: addresses.iter().all(|report| report.passed),
            addresses,
            failure: None,
            ..Self::failed(node, String::new())
        }
    }

    /// A node without one.
    pub(crate) fn failed(node: &NodeRecord, failure: String) -> Self {
        Self {
            node: node.id,
            name: node.name.clone(),
            zone: node.zone.clone(),
            passed: false,
            failure: Some(failure),
            addresses: Vec::new(),
        }
    }
}

/// What one address answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct AddressReportView {
    pub(crate) address: String,
    pub(crate) passed: bool,
    /// Class of the finding, for example `refused` or `auth`.
    pub(crate) finding: String,
    /// The engine's own words.
    pub(crate) text: String,
    pub(crate) elapsed_ms: u64,
    /// The stages gone through, in order; the last one is where it ended.
    pub(crate) stages: Vec<StageView>,
}

/// What one stage of an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct StageView {
    /// `dns`, `tcp`, `tls`, `login`, `query` or `role`.
    pub(crate) stage: String,
    /// `ok`, or the class of the finding.
    pub(crate) finding: String,
    /// The engine's own words.
    pub(crate) text: String,
    pub(crate) elapsed_us: u64,
}

impl From<StageReport> for StageView {
    fn from(report: StageReport) -> Self {
        Self {
            stage: report.stage,
            finding: report.class,
            text: report.text,
            elapsed_us: report.elapsed_us,
        }
    }
}

impl From<AddressReport> for AddressReportView {
    fn from(report: AddressReport) -> Self {
        Self {
            address: report.address,
            passed: report.passed,
            finding: report.class,
            text: report.text,
            elapsed_ms: report.elapsed_ms,
            stages: report.stages.into_iter().map(StageView::from).collect(),
        }
    }
}
