//! What a user sets of a monitor (C2, C3, C20).

use quorate_machine::{
    FencePolicy, MonitorKind, MonitorRecord, MonitorSpec, RelationalSite, RelationalSpec, Sealed, Timing,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::pool::PoolBody;
use super::words::FencePolicyName;
use crate::limits::MAX_PASSWORD_BYTES;
use crate::problem::Problem;

/// A new monitor.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMonitorBody {
    /// Id of the application that the monitor belongs to; fixed.
    pub(crate) application: String,
    /// Unique in the instance; `{kind}-` and ten characters when left out; fixed.
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    notification: bool,
    #[serde(default = "yes")]
    probing: bool,
    #[serde(default = "yes")]
    automatic_switch: bool,
    #[serde(default)]
    timing: TimingBody,
    #[serde(default = "no_fence")]
    fence_policy: FencePolicyName,
    mysql: MysqlBody,
    /// Saved together with the monitor; without it the monitor has no SDK keys until a pool is saved.
    #[serde(default)]
    pub(crate) connection_pool: Option<PoolBody>,
}

/// An edit of a monitor: everything but kind, application and name (C7). What is left out goes back to its default,
/// except the password, which stays.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MonitorBody {
    #[serde(default)]
    notification: bool,
    #[serde(default = "yes")]
    probing: bool,
    #[serde(default = "yes")]
    automatic_switch: bool,
    #[serde(default)]
    timing: TimingBody,
    #[serde(default = "no_fence")]
    fence_policy: FencePolicyName,
    mysql: MysqlBody,
}

/// Timing of one monitor, milliseconds; a field left out means the global setting of the kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimingBody {
    #[serde(default)]
    retry_interval_ms: Option<u32>,
    #[serde(default)]
    monitor_timeout_ms: Option<u32>,
    #[serde(default)]
    access_timeout_ms: Option<u32>,
    /// Accept values below the ordinary minimum; both risks are then yours: a false switch on a short stall, and data not
    /// yet replicated.
    #[serde(default)]
    fast_profile: bool,
}

/// A MySQL data source on both sides.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MysqlBody {
    /// Monitoring account, read privileges only; the same on both sides.
    user: String,
    /// Its password. Needed when the monitor is created; left out in an edit, it stays. Never returned.
    #[serde(default)]
    #[schema(write_only)]
    password: Option<String>,
    monitoring_database: String,
    /// The database of the applications; the monitoring database when left out.
    #[serde(default)]
    connecting_database: String,
    dc1: SiteBody,
    dc2: SiteBody,
}

/// One side of a relational monitor; the same as body and as answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SiteBody {
    #[serde(default)]
    pub(crate) cloud: String,
    #[serde(default)]
    pub(crate) region: String,
    /// `host:port`.
    pub(crate) address: String,
    /// Read replicas, `host:port` each.
    #[serde(default)]
    pub(crate) replicas: Vec<String>,
}

const fn yes() -> bool {
    true
}

const fn no_fence() -> FencePolicyName {
    FencePolicyName::None
}

impl NewMonitorBody {
    /// The specification, with the password sealed by `seal`; 422 if the password is missing.
    pub(crate) fn into_spec(self, name: String, seal: impl FnOnce(&[u8]) -> Sealed) -> Result<MonitorSpec, Problem> {
        if self.mysql.password.is_none() {
            let detail = "a new monitor needs the password of its monitoring account";
            return Err(Problem::field("/mysql/password", "missing-field", detail));
        }
        Ok(MonitorSpec {
            name,
            notification: self.notification,
            probing: self.probing,
            automatic_switch: self.automatic_switch,
            timing: self.timing.into(),
            fence_policy: FencePolicy::from(self.fence_policy) as i32,
            kind: Some(MonitorKind::Mysql(self.mysql.into_spec(seal)?)),
        })
    }
}

impl MonitorBody {
    /// The specification that replaces the one of `present`, with a new password sealed by `seal`.
    pub(crate) fn into_spec(
        self,
        present: &MonitorRecord,
        seal: impl FnOnce(&[u8]) -> Sealed,
    ) -> Result<MonitorSpec, Problem> {
        Ok(MonitorSpec {
            name: present.spec.name.clone(),
            notification: self.notification,
            probing: self.probing,
            automatic_switch: self.automatic_switch,
            timing: self.timing.into(),
            fence_policy: FencePolicy::from(self.fence_policy) as i32,
            kind: Some(MonitorKind::Mysql(self.mysql.into_spec(seal)?)),
        })
    }
}

impl MysqlBody {
    fn into_spec(self, seal: impl FnOnce(&[u8]) -> Sealed) -> Result<RelationalSpec, Problem> {
        let password = self
            .password
            .map(|password| check_password("/mysql/password", password))
            .transpose()?;
        let connecting = if self.connecting_database.is_empty() {
            self.monitoring_database.clone()
        } else {
            self.connecting_database
        };
        Ok(RelationalSpec {
            user: self.user,
            password: password.map(|password| seal(password.as_bytes())),
            monitoring_database: self.monitoring_database,
            connecting_database: connecting,
            dc1: self.dc1.into(),
            dc2: self.dc2.into(),
            tls: None,
            database_is_sid: false,
        })
    }
}

/// A database password: not empty, at most [`MAX_PASSWORD_BYTES`].
pub(super) fn check_password(pointer: &str, password: String) -> Result<String, Problem> {
    if password.is_empty() || password.len() > MAX_PASSWORD_BYTES {
        let detail = format!("a password has 1 to {MAX_PASSWORD_BYTES} bytes");
        return Err(Problem::field(pointer, "out-of-range", detail));
    }
    Ok(password)
}

impl From<TimingBody> for Timing {
    fn from(body: TimingBody) -> Self {
        Self {
            retry_interval_ms: body.retry_interval_ms,
            monitor_timeout_ms: body.monitor_timeout_ms,
            access_timeout_ms: body.access_timeout_ms,
            fast_profile: body.fast_profile,
        }
    }
}

impl From<&Timing> for TimingBody {
    fn from(timing: &Timing) -> Self {
        Self {
            retry_interval_ms: timing.retry_interval_ms,
            monitor_timeout_ms: timing.monitor_timeout_ms,
            access_timeout_ms: timing.access_timeout_ms,
            fast_profile: timing.fast_profile,
        }
    }
}

impl From<SiteBody> for RelationalSite {
    fn from(body: SiteBody) -> Self {
        Self {
            cloud: body.cloud,
            region: body.region,
            address: body.address,
            replicas: body.replicas,
        }
    }
}

impl From<&RelationalSite> for SiteBody {
    fn from(site: &RelationalSite) -> Self {
        Self {
            cloud: site.cloud.clone(),
            region: site.region.clone(),
            address: site.address.clone(),
            replicas: site.replicas.clone(),
        }
    }
}
