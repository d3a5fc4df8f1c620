//! Connection tests (C6).

use std::time::Duration;

use quorate_machine::MonitorRecord;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::monitor::check_password;
use crate::context::{AddressReport, ConnectionTest, TestPassword};
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
            let detail = format!("name 1 to {MAX_TEST_ADDRESSES} addresses");
            return Err(Problem::field("/addresses", "out-of-range", detail));
        }
        if let Some(bad) = self.addresses.iter().position(|address| !is_host_and_port(address)) {
            let detail = "an address is `host:port` with a port from 1 to 65535";
            return Err(Problem::field(&format!("/addresses/{bad}"), "bad-address", detail));
        }
        let access_timeout_ms = self.access_timeout_ms.unwrap_or(DEFAULT_ACCESS_TIMEOUT_MS);
        if !(100..=MAX_ACCESS_TIMEOUT_MS).contains(&access_timeout_ms) {
            let detail = format!("the access timeout of a test is 100 to {MAX_ACCESS_TIMEOUT_MS} ms");
            return Err(Problem::field("/access_timeout_ms", "out-of-range", detail));
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
    let sealed = stored.and_then(|monitor| Some((monitor.id(), monitor.spec.mysql()?.password.clone()?)));
    match sealed {
        Some((object, sealed)) => Ok(TestPassword::Stored { object, sealed }),
        None => {
            let detail = "send the password, or name a `monitor` whose stored password is to be used";
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

/// What every address answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct ConnectionTestView {
    /// Node that ran the test.
    pub(crate) node: u64,
    /// Every address passed.
    pub(crate) passed: bool,
    pub(crate) addresses: Vec<AddressReportView>,
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
}

impl From<AddressReport> for AddressReportView {
    fn from(report: AddressReport) -> Self {
        Self {
            address: report.address,
            passed: report.passed,
            finding: report.class,
            text: report.text,
            elapsed_ms: report.elapsed_ms,
        }
    }
}
