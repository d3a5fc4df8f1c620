//! The gate of the connection test before a monitor is saved (C6).
//!
//! The test itself is the edge's: the machine reaches no database. It sees to it that nobody leaves the test out without
//! saying why, that the record says so, and that what owes its test is not saved; and it says when a test is due.

use crate::apply::Context;
use crate::audit;
use crate::command::{TestGate, TestVerdict};
use crate::kinds::MonitorKind;
use crate::model::{DataCenter, Id, MonitorSpec};
use crate::reply::{Param, Refusal, RefusalCode};
use crate::state::State;
use crate::validate;

/// Characters of the reason of an override.
const MAX_REASON_CHARS: usize = 500;

/// Whether an edit changes anything that is dialled, or with what: then it needs a test as a new monitor does.
pub(super) fn dials_anew(present: &MonitorSpec, edited: &MonitorSpec) -> bool {
    let replicas = |spec: &MonitorSpec, dc| {
        let kind = spec.kind.as_ref();
        kind.map_or_else(Vec::new, |kind: &MonitorKind| kind.replicas(dc).to_vec())
    };
    DataCenter::ALL
        .into_iter()
        .any(|dc| present.probed(dc) != edited.probed(dc) || replicas(present, dc) != replicas(edited, dc))
}

/// Checks the gate of a save for which a test is due; the last of its checks, so that a save which is refused for its test alone is fit otherwise.
/// Gives what the record of the change says of the test: nothing where none was due.
///
/// # Errors
/// The test is owed; an override without a reason, or with one that cannot be shown.
pub(super) fn check(gate: Option<&TestGate>) -> Result<Vec<Param>, Refusal> {
    let Some(gate) = gate else { return Ok(Vec::new()) };
    match gate.verdict() {
        TestVerdict::Passed => Ok(vec![Param::new("connection_test", "passed")]),
        TestVerdict::Owed => Err(Refusal::new(RefusalCode::ConnectionTestOwed)),
        TestVerdict::Overridden => {
            validate::remark("/connection_test/reason", &gate.reason, MAX_REASON_CHARS)?;
            if gate.reason.trim().is_empty() {
                return Err(Refusal::new(RefusalCode::TestOverrideReasonRequired));
            }
            Ok(vec![
                Param::new("connection_test", "overridden"),
                Param::new("reason", &gate.reason),
            ])
        }
    }
}

/// A record of its own for an override, so that one filter finds all of them.
pub(super) fn record_override(state: &mut State, context: &Context<'_>, monitor: Id, gate: Option<&TestGate>) {
    if let Some(gate) = gate.filter(|gate| gate.verdict() == TestVerdict::Overridden) {
        let params = vec![Param::new("reason", &gate.reason)];
        let code = "override-connection-test";
        audit::record(state, context, code, Some(monitor), params, Vec::new());
    }
}
