//! What a user sets of a monitor whatever its kind (C2, C3).

use quorate_machine::{
    FencePolicy, LagThreshold, MonitorKind, MonitorRecord, MonitorSpec, TestGate, TestVerdict, Timing,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::kind::with_kind_sections;
use super::pool::PoolBody;
use super::words::FencePolicyName;

with_kind_sections! {
    /// A new monitor.
    #[derive(Clone, Deserialize, ToSchema)]
    #[serde(deny_unknown_fields)]
    struct NewMonitorBody {
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
        /// From where on a replica's lag is shown as a sub-health; it never votes. MySQL, PostgreSQL, Redis, MongoDB.
        #[serde(default)]
        lag_threshold: Option<LagThresholdBody>,
        /// Saved together with the monitor; without it the monitor has no SDK keys until a pool is saved.
        #[serde(default)]
        pub(crate) connection_pool: Option<PoolBody>,
        /// How the monitor comes past the connection test; it is made when left out (C6).
        #[serde(default)]
        pub(crate) connection_test: TestChoice,
    }
}

with_kind_sections! {
    /// An edit of a monitor: everything but kind, application and name (C7). What is left out goes back to its default,
    /// except the password, which stays.
    #[derive(Clone, Deserialize, ToSchema)]
    #[serde(deny_unknown_fields)]
    struct MonitorBody {
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
        /// From where on a replica's lag is shown as a sub-health; it never votes. MySQL, PostgreSQL, Redis, MongoDB.
        #[serde(default)]
        lag_threshold: Option<LagThresholdBody>,
        /// How an edit of addresses, accounts or encryption comes past the connection test; it is made when left out (C6).
        #[serde(default)]
        pub(crate) connection_test: TestChoice,
    }
}

/// Whether the connection test is made before a monitor is saved: every node tries every address, and one that fails keeps
/// the monitor from being saved. An edit that changes nothing that is dialled is not tested.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestChoice {
    /// Save without the test. Recorded in the audit log with the reason.
    #[serde(rename = "override", default)]
    pub(crate) overridden: bool,
    /// Why, 1 to 500 characters; required with `override`.
    #[serde(default)]
    pub(crate) reason: String,
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

/// From where on a replica's lag is a sub-health; what is left out is the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LagThresholdBody {
    /// Seconds, 1 to 86400; 30 by default.
    #[serde(default)]
    seconds: Option<u32>,
    /// Bytes, for engines that count them (PostgreSQL, Redis), 1 to 2^40; 64 MiB by default.
    #[serde(default)]
    bytes: Option<u64>,
}

impl From<LagThresholdBody> for LagThreshold {
    fn from(body: LagThresholdBody) -> Self {
        Self {
            seconds: body.seconds,
            bytes: body.bytes,
        }
    }
}

impl From<&LagThreshold> for LagThresholdBody {
    fn from(threshold: &LagThreshold) -> Self {
        Self {
            seconds: threshold.seconds,
            bytes: threshold.bytes,
        }
    }
}

const fn yes() -> bool {
    true
}

const fn no_fence() -> FencePolicyName {
    FencePolicyName::None
}

impl NewMonitorBody {
    /// The specification around a kind.
    pub(crate) fn into_spec(self, name: String, kind: MonitorKind) -> MonitorSpec {
        MonitorSpec {
            name,
            notification: self.notification,
            probing: self.probing,
            automatic_switch: self.automatic_switch,
            timing: self.timing.into(),
            fence_policy: FencePolicy::from(self.fence_policy) as i32,
            lag_threshold: self.lag_threshold.map(LagThreshold::from),
            kind: Some(kind),
        }
    }
}

impl MonitorBody {
    /// The specification that replaces the one of `present`, around a kind.
    pub(crate) fn into_spec(self, present: &MonitorRecord, kind: MonitorKind) -> MonitorSpec {
        MonitorSpec {
            name: present.spec.name.clone(),
            notification: self.notification,
            probing: self.probing,
            automatic_switch: self.automatic_switch,
            timing: self.timing.into(),
            fence_policy: FencePolicy::from(self.fence_policy) as i32,
            lag_threshold: self.lag_threshold.map(LagThreshold::from),
            kind: Some(kind),
        }
    }
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

impl TestChoice {
    /// What the save says of its test before one is made.
    pub(crate) fn gate(&self) -> TestGate {
        let verdict = match self.overridden {
            true => TestVerdict::Overridden,
            false => TestVerdict::Owed,
        };
        TestGate {
            reason: self.reason.clone(),
            ..TestGate::of(verdict)
        }
    }
}
