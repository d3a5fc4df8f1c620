//! Connection tests (C6).

use std::time::Duration;

use bytes::Bytes;
use quorate_machine::catalog::edge;
use quorate_machine::{
    MonitorKind, MonitorRecord, NodeRecord, RelationalSite, RelationalSpec, Sealed, check_kept_secrets, check_kind,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::kind::{KindSections, check_password, with_kind_sections};
use crate::context::{AddressReport, ConnectionTest, StageReport, TypedSecret};
use crate::language::text;
use crate::limits::MAX_NAME_CHARACTERS;
use crate::problem::Problem;

/// Addresses in one test at most: both sides with their replicas.
const MAX_TEST_ADDRESSES: usize = 32;
/// Field of the password of an account that both sides share.
const PASSWORD_FIELD: &str = "password";
/// Access timeout in milliseconds when the test names none.
const DEFAULT_ACCESS_TIMEOUT_MS: u32 = 3000;
/// Longest access timeout of a test, milliseconds.
const MAX_ACCESS_TIMEOUT_MS: u32 = 10_000;

with_kind_sections! {
    /// What to try before a monitor is saved: the section of a kind as the monitor would have it, or an existing monitor as it
    /// stands, or (for `mysql` in short) addresses with one account.
    #[derive(Clone, Deserialize, ToSchema)]
    #[serde(deny_unknown_fields)]
    struct ConnectionTestBody {
        /// An existing monitor: its stored secrets are used where the test has none of its own, for the servers and with the
        /// encryption that the monitor has.
        #[serde(default)]
        pub(crate) monitor: Option<String>,
        /// Short form: account.
        #[serde(default)]
        user: Option<String>,
        /// Short form: its password.
        #[serde(default)]
        #[schema(write_only)]
        password: Option<String>,
        /// Short form: database.
        #[serde(default)]
        monitoring_database: Option<String>,
        /// Short form: `host:port` of everything to be tried, 1 to 32.
        #[serde(default)]
        addresses: Option<Vec<String>>,
        /// Time for one step of one attempt, 100 to 10000 ms; 3000 when left out.
        #[serde(default)]
        access_timeout_ms: Option<u32>,
    }
}

impl ConnectionTestBody {
    /// The test, with the secrets of the body and, where they are left out, of the stored monitor.
    ///
    /// # Errors
    /// 422, field by field, for what cannot be tried.
    pub(crate) fn into_test(mut self, stored: Option<&MonitorRecord>) -> Result<ConnectionTest, Problem> {
        let access_timeout_ms = self.access_timeout_ms.unwrap_or(DEFAULT_ACCESS_TIMEOUT_MS);
        if !(100..=MAX_ACCESS_TIMEOUT_MS).contains(&access_timeout_ms) {
            let detail = text(edge::TEST_TIMEOUT, &[("maximum", &MAX_ACCESS_TIMEOUT_MS)]);
            return Err(Problem::field("/access_timeout_ms", "out-of-range", detail));
        }
        let sections = self.sections();
        let short = self.addresses.is_some() || self.user.is_some() || self.monitoring_database.is_some();
        let (kind, typed) = match stored {
            _ if sections.count() > 0 => of_section(sections, stored)?,
            Some(stored) if !short => (stored.spec.kind.clone().ok_or_else(no_kind)?, Vec::new()),
            _ => self.in_short(stored)?,
        };
        Ok(ConnectionTest {
            kind,
            typed,
            stored: stored.map(MonitorRecord::id),
            access_timeout: Duration::from_millis(u64::from(access_timeout_ms)),
        })
    }

    fn in_short(self, stored: Option<&MonitorRecord>) -> Result<(MonitorKind, Vec<TypedSecret>), Problem> {
        let missing = |name: &str| Problem::field(&format!("/{name}"), "missing-field", text(edge::ONE_KIND, &[]));
        let addresses = self.addresses.ok_or_else(|| missing("addresses"))?;
        let user = self.user.ok_or_else(|| missing("user"))?;
        let monitoring_database = self.monitoring_database.ok_or_else(|| missing("monitoring_database"))?;
        check_addresses(&addresses)?;
        for (pointer, name) in [("/user", &user), ("/monitoring_database", &monitoring_database)] {
            let clean = !name.is_empty() && !name.chars().any(char::is_control);
            if !clean || name.chars().count() > MAX_NAME_CHARACTERS {
                let detail = text(edge::TEST_NAME, &[("maximum", &MAX_NAME_CHARACTERS)]);
                return Err(Problem::field(pointer, "invalid-characters", detail));
            }
        }
        let (sealed, typed) = password_of(self.password, stored)?;
        let mut addresses = addresses.into_iter();
        let mut spec = RelationalSpec {
            user,
            password: None,
            connecting_database: monitoring_database.clone(),
            monitoring_database,
            dc1: RelationalSite {
                address: addresses.next().unwrap_or_default(),
                replicas: addresses.collect(),
                ..RelationalSite::default()
            },
            ..RelationalSpec::default()
        };
        if let Some(present) = stored.and_then(|stored| stored.spec.kind.as_ref())
            && typed.is_empty()
        {
            let kept = check_kept_secrets(present, &MonitorKind::Mysql(spec.clone()));
            kept.map_err(|refusal| {
                let mut problem = Problem::from(&refusal);
                for error in &mut problem.errors {
                    error.pointer = "/password".to_owned();
                }
                problem
            })?;
        }
        spec.password = sealed;
        Ok((MonitorKind::Mysql(spec), typed))
    }
}

fn no_kind() -> Problem {
    Problem::field("/kind", "missing-field", text(edge::ONE_KIND, &[]))
}

/// The section as a monitor would have it, checked as a monitor is.
fn of_section(
    sections: KindSections,
    stored: Option<&MonitorRecord>,
) -> Result<(MonitorKind, Vec<TypedSecret>), Problem> {
    let parsed = sections.parse()?;
    let typed = parsed.typed();
    // Stands for the secret until a node puts in what was typed: nothing is sealed for a test.
    let placeholder = |_: &str, _: &[u8]| Sealed {
        bytes: Bytes::from_static(b"typed"),
    };
    let mut kind = parsed.sealed(placeholder)?;
    if let Some(present) = stored.and_then(|stored| stored.spec.kind.as_ref())
        && present.traits() == kind.traits()
    {
        check_kept_secrets(present, &kind).map_err(|refusal| Problem::from(&refusal))?;
        kind.keep_secrets(present);
    }
    check_kind(&kind).map_err(|refusal| Problem::from(&refusal))?;
    Ok((kind, typed))
}

fn check_addresses(addresses: &[String]) -> Result<(), Problem> {
    if addresses.is_empty() || addresses.len() > MAX_TEST_ADDRESSES {
        let detail = text(edge::TEST_ADDRESSES, &[("maximum", &MAX_TEST_ADDRESSES)]);
        return Err(Problem::field("/addresses", "out-of-range", detail));
    }
    if let Some(bad) = addresses.iter().position(|address| !is_host_and_port(address)) {
        let detail = text(edge::TEST_ADDRESS, &[]);
        return Err(Problem::field(&format!("/addresses/{bad}"), "bad-address", detail));
    }
    Ok(())
}

/// The password of the short form: as typed, or that of the stored monitor.
fn password_of(
    typed: Option<String>,
    stored: Option<&MonitorRecord>,
) -> Result<(Option<Sealed>, Vec<TypedSecret>), Problem> {
    if let Some(typed) = typed {
        let value = check_password("/password", typed)?;
        let field = PASSWORD_FIELD.to_owned();
        let placeholder = Sealed {
            bytes: Bytes::from_static(b"typed"),
        };
        return Ok((Some(placeholder), vec![TypedSecret { field, value }]));
    }
    let secrets = stored.and_then(|monitor| Some(monitor.spec.kind.as_ref()?.secrets()));
    let mut secrets = secrets.unwrap_or_default().into_iter();
    match secrets.find_map(|(field, sealed)| sealed.filter(|_| field == PASSWORD_FIELD)) {
        Some(sealed) => Ok((Some(sealed), Vec::new())),
        None => Err(Problem::field(
            "/password",
            "missing-field",
            text(edge::TEST_PASSWORD, &[]),
        )),
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
    /// `dns`, `tcp`, `tls`, `login`, `query`, `role` or `write` (the write canary, at the source's own address only).
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
