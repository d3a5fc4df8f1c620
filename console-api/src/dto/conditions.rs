//! Sub-health as the API shows it (C20 `[+]`).

use quorate_machine::{ConditionReport, ReplicaLag, SideCondition};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::rfc3339;

/// A sub-health as one node finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct ConditionView {
    /// `pool-exhausted`, `read-only`, `writes-fail`, `replica-lag`, `replication-broken`, `slow` or `canary-unable`.
    pub(crate) condition: String,
    /// The engine's own words.
    pub(crate) text: String,
    /// How far it was behind when that was reported; the preview of a switch tells what is true now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lag: Option<LagView>,
}

/// A sub-health of a data center: some node finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct SideConditionView {
    /// `pool-exhausted`, `read-only`, `writes-fail`, `replica-lag`, `replication-broken`, `slow` or `canary-unable`.
    pub(crate) condition: String,
    /// Since when some node finds it without a break.
    pub(crate) since: String,
    /// Cluster time of the same moment, milliseconds.
    pub(crate) since_ms: u64,
    /// The node whose words these are.
    pub(crate) node: u64,
    /// The engine's own words.
    pub(crate) text: String,
    /// How far it was behind when that was reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lag: Option<LagView>,
}

/// How far a replica is behind, in what its engine tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct LagView {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
    /// Transactions received and not applied (MySQL, MariaDB by GTID).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) transactions: Option<u64>,
}

impl From<&ReplicaLag> for LagView {
    fn from(lag: &ReplicaLag) -> Self {
        Self {
            seconds: lag.seconds,
            bytes: lag.bytes,
            transactions: lag.transactions,
        }
    }
}

impl From<LagView> for ReplicaLag {
    fn from(lag: LagView) -> Self {
        Self {
            seconds: lag.seconds,
            bytes: lag.bytes,
            transactions: lag.transactions,
        }
    }
}

/// A node's finding.
pub(crate) fn shown(found: &ConditionReport) -> ConditionView {
    ConditionView {
        condition: found.condition().code().to_owned(),
        text: found.text.clone(),
        lag: found.lag.as_ref().map(LagView::from),
    }
}

impl From<&SideCondition> for SideConditionView {
    fn from(found: &SideCondition) -> Self {
        Self {
            condition: found.condition().code().to_owned(),
            since: rfc3339(found.since_wall_ms),
            since_ms: found.since_ms,
            node: found.node,
            text: found.text.clone(),
            lag: found.lag.as_ref().map(LagView::from),
        }
    }
}
