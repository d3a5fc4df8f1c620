//! The gate before a monitor is saved (C6): every node reaches every address, or somebody answers for it.
//!
//! The save makes the test itself. A proof that a caller brings along would have to be bound to what was tested, would grow
//! old on the way, and would let a program skip the test by habit ([decision 105]).
//!
//! [decision 105]: ../../../docs/decisions/105-a-save-tests-itself.md

use std::time::Duration;

use http::StatusCode;
use quorate_machine::catalog::edge;
use quorate_machine::{
    Command, DataCenter, MonitorKind, MonitorRecord, MonitorSpec, Refusal, RefusalCode, TestGate, TestVerdict, try_out,
};

use super::connection::test_on_every_node;
use crate::auth::Caller;
use crate::context::{ApiContext, ConnectionTest, TypedSecret};
use crate::dto::ConnectionTestView;
use crate::language::text;
use crate::limits::SAVE_TEST_TIMEOUTS;
use crate::problem::{FieldError, Problem};

/// The code of a problem that says that a monitor was not saved because of its test.
const FAILED: &str = "connection-test-failed";

/// Lets a save of `spec` pass: what it would be refused for anyway is told before any address is dialled, then every node
/// makes the test, with what was typed in clear and the other secrets of `stored`. `save` is the command with its gate as the
/// caller chose it; a refusal and a failed test leave their record in the audit log.
///
/// # Errors
/// The refusal of the save itself; 409 with every failed attempt.
pub(super) async fn pass(
    context: &ApiContext,
    caller: &Caller,
    save: Command,
    spec: &MonitorSpec,
    typed: Vec<TypedSecret>,
    stored: Option<&MonitorRecord>,
) -> Result<TestGate, Problem> {
    if let Some(overridden) = gate_of(&save).filter(|gate| gate.verdict() == TestVerdict::Overridden) {
        return Ok(overridden);
    }
    let tried = save.clone();
    let refusal = context.read(false, |state| try_out(state, &caller.principal, tried));
    match refusal.await?.map(|refusal| refusal.code()) {
        // An edit that dials nothing anew owes no test.
        None => return Ok(TestGate::of(TestVerdict::Owed)),
        Some(RefusalCode::ConnectionTestOwed) => {}
        Some(_) => return Err(refused(context, caller, save).await),
    }
    let kind = spec.kind.clone().expect("what is fit to be saved has a kind");
    let (least, most) = SAVE_TEST_TIMEOUTS;
    let own = Duration::from_millis(spec.timing.access_timeout_ms.unwrap_or_default().into());
    let test = ConnectionTest {
        kind,
        typed,
        stored: stored.map(MonitorRecord::id),
        access_timeout: own.clamp(least, most),
    };
    let found = test_on_every_node(context, &test).await;
    if found.passed {
        return Ok(TestGate::of(TestVerdict::Passed));
    }
    let refusal = refused(context, caller, save).await;
    if *refusal.code != *FAILED {
        return Err(refusal);
    }
    Err(failed(&test.kind, &found))
}

fn gate_of(save: &Command) -> Option<TestGate> {
    match save {
        Command::CreateMonitor(save) => save.connection_test.clone(),
        Command::UpdateMonitor(save) => save.connection_test.clone(),
        _ => None,
    }
}

/// Proposes what the machine refuses, for the record. What changed meanwhile does not save it: the command owes its test.
async fn refused(context: &ApiContext, caller: &Caller, save: Command) -> Problem {
    match context.propose(caller, save).await {
        Err(problem) => problem,
        Ok(_) => Problem::from(&Refusal::new(RefusalCode::ConnectionTestOwed)),
    }
}

/// The edited specification with the stored secrets that the edit leaves out.
pub(super) fn dialled(present: &MonitorRecord, edited: &MonitorSpec) -> MonitorSpec {
    let mut spec = edited.clone();
    if let (Some(kind), Some(known)) = (&mut spec.kind, &present.spec.kind)
        && kind.traits() == known.traits()
    {
        kind.keep_secrets(known);
    }
    spec
}

/// 409 with every failed attempt at the address that it was made to.
fn failed(kind: &MonitorKind, found: &ConnectionTestView) -> Problem {
    let pointers = pointers(kind);
    let mut errors = Vec::new();
    let mut tried = 0;
    for node in &found.nodes {
        if let Some(failure) = &node.failure {
            tried += 1;
            errors.push(FieldError {
                pointer: String::new(),
                code: "no-report".to_owned(),
                detail: format!("{}: {failure}", node.name),
            });
        }
        for (position, report) in node.addresses.iter().enumerate() {
            tried += 1;
            if report.passed {
                continue;
            }
            let stage = report.stages.last().map_or("dns", |stage| stage.stage.as_str());
            let params: [(&str, &dyn std::fmt::Display); 4] = [
                ("node", &node.name),
                ("address", &report.address),
                ("stage", &stage),
                ("text", &report.text),
            ];
            errors.push(FieldError {
                pointer: pointers.get(position).cloned().unwrap_or_default(),
                code: report.finding.clone(),
                detail: text(edge::TEST_ATTEMPT_FAILED, &params),
            });
        }
    }
    let params: [(&str, &dyn std::fmt::Display); 2] = [("failed", &errors.len()), ("tried", &tried)];
    let mut problem = Problem::new(StatusCode::CONFLICT, FAILED, text(edge::TEST_FAILED, &params));
    problem.errors = errors;
    problem
}

/// Where each address of a test stands in the body, in the order of [`ConnectionTest::sides`].
fn pointers(kind: &MonitorKind) -> Vec<String> {
    let several = kind.traits().has_several_addresses;
    let mut pointers = Vec::new();
    for dc in DataCenter::ALL {
        let at = format!("/{}/{}", kind.traits().name, dc.name());
        let addresses = kind.probed(dc).addresses;
        for (position, _) in addresses.iter().enumerate().filter(|(_, address)| !address.is_empty()) {
            pointers.push(match several {
                true => format!("{at}/addresses/{position}"),
                false => format!("{at}/address"),
            });
        }
        for (position, _) in kind.replicas(dc).iter().enumerate() {
            pointers.push(format!("{at}/replicas/{position}"));
        }
    }
    pointers
}
