//! One side in the preview of a switch: what probers learned last.

use quorate_machine::{Condition, LagThreshold};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::conditions::LagView;
use crate::context::SideMeasure;

/// One side as probers see it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct SidePreviewView {
    /// What ails it though it answers, by code.
    pub(crate) sub_health: Vec<String>,
    /// The node whose word this is; absent where no prober has an answer, and then so is all that follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<u64>,
    /// How old the oldest of it is, milliseconds: lag and connections are not measured by every attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) age_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) read_only: Option<bool>,
    /// How far it is behind the server that it replicates from; absent where it replicates from nobody or tells nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lag: Option<LagView>,
    /// Its replication stands still, in its own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replication_broken: Option<String>,
    /// Open client connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connections_used: Option<u64>,
    /// Most that ordinary accounts can open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connections_limit: Option<u64>,
}

/// Whether the target of a switch has room for the connections of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Headroom {
    Enough,
    /// A stampede after the switch would be refused.
    Short,
    /// One of the sides does not tell its connections.
    Unknown,
}

impl Headroom {
    /// Compares what the source has with what the target can still take.
    pub(crate) fn of(source: &SidePreviewView, target: &SidePreviewView) -> Self {
        match (source.connections_used, target.connections_free()) {
            (Some(needed), Some(free)) if free >= needed => Self::Enough,
            (Some(_), Some(_)) => Self::Short,
            _ => Self::Unknown,
        }
    }
}

impl SidePreviewView {
    pub(crate) fn new(conditions: &[Condition], measured: Option<&(u64, SideMeasure)>) -> Self {
        let sub_health = conditions.iter().map(|condition| condition.code().to_owned()).collect();
        let Some((node, measure)) = measured else {
            return Self {
                sub_health,
                ..Self::default()
            };
        };
        Self {
            sub_health,
            node: Some(*node),
            age_ms: Some(measure.age_ms),
            read_only: Some(measure.read_only),
            lag: measure.lag.as_ref().map(LagView::from),
            replication_broken: Some(measure.replication_broken.clone()).filter(|words| !words.is_empty()),
            connections_used: measure.connections_used,
            connections_limit: measure.connections_limit,
        }
    }

    /// Connections that can still be opened.
    pub(crate) fn connections_free(&self) -> Option<u64> {
        Some(self.connections_limit?.saturating_sub(self.connections_used?))
    }

    /// The lag is above the threshold.
    pub(crate) fn lags(&self, threshold: &LagThreshold) -> bool {
        self.lag.is_some_and(|lag| threshold.is_passed_by(&lag.into(), false))
    }

    /// The lag in words.
    pub(crate) fn behind(&self) -> String {
        let lag = self.lag.unwrap_or_default();
        let parts = [
            lag.seconds.map(|seconds| format!("{seconds} s")),
            lag.bytes.map(|bytes| format!("{bytes} B")),
            lag.transactions.map(|count| format!("{count} txn")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(used: Option<u64>, limit: Option<u64>) -> SidePreviewView {
        SidePreviewView {
            connections_used: used,
            connections_limit: limit,
            ..SidePreviewView::default()
        }
    }

    #[test]
    fn headroom_is_room_for_what_the_other_side_has() {
        let source = side(Some(80), Some(100));
        assert_eq!(Headroom::of(&source, &side(Some(10), Some(100))), Headroom::Enough);
        assert_eq!(Headroom::of(&source, &side(Some(30), Some(100))), Headroom::Short);
        assert_eq!(Headroom::of(&source, &side(Some(120), Some(100))), Headroom::Short);
        assert_eq!(Headroom::of(&source, &side(Some(30), None)), Headroom::Unknown);
        assert_eq!(
            Headroom::of(&side(None, None), &side(Some(3), Some(9))),
            Headroom::Unknown
        );
    }
}
