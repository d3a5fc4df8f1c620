//! A monitor is saved after its connection test, or somebody answers for it (C6).

mod common;

use common::build::{self, id};
use quorate_machine::*;

struct Run(State);

impl Run {
    /// A cluster with an application.
    fn new() -> Self {
        let mut run = Self(State::new());
        let leader = Command::LeaderStarted(LeaderStarted { term: 1, node: 1 });
        for command in [leader, build::bootstrap()] {
            assert_eq!(run.apply(build::node_principal(1), command), None);
        }
        assert_eq!(run.by_root(build::application(1, "shop")), None);
        run
    }

    fn apply(&mut self, author: Principal, command: Command) -> Option<RefusalCode> {
        let index = self.0.applied_index() + 1;
        let outcome = apply(&mut self.0, index, &build::envelope(0, None, author, command));
        outcome.reply.refusal().map(Refusal::code)
    }

    fn by_root(&mut self, command: Command) -> Option<RefusalCode> {
        self.apply(build::user_principal("root", 1), command)
    }

    fn create(&mut self, number: u64, gate: Option<TestGate>) -> Option<RefusalCode> {
        self.by_root(create(number, gate))
    }

    fn edit(&mut self, generation: u64, address: &str, gate: Option<TestGate>) -> Option<RefusalCode> {
        let mut spec = build::monitor_spec("m1");
        let Some(MonitorKind::Mysql(mysql)) = &mut spec.kind else {
            panic!("a MySQL monitor");
        };
        mysql.dc1.address = address.to_owned();
        let edit = UpdateMonitor {
            id: id(8, 1),
            generation,
            spec,
            connection_test: gate,
        };
        self.by_root(Command::UpdateMonitor(Box::new(edit)))
    }

    /// Reasons of the recorded overrides, oldest first.
    fn overrides(&self) -> Vec<String> {
        let records = self
            .0
            .audit()
            .iter()
            .filter(|record| record.code == "override-connection-test");
        let reason = |record: &AuditRecord| {
            let found = record.params.iter().find(|param| param.name == "reason");
            found.map(|param| param.value.clone()).unwrap_or_default()
        };
        records.map(reason).collect()
    }
}

fn create(number: u64, gate: Option<TestGate>) -> Command {
    Command::CreateMonitor(Box::new(CreateMonitor {
        id: id(8, number),
        application: id(7, 1),
        spec: build::monitor_spec(&format!("m{number}")),
        pool: None,
        connection_test: gate,
    }))
}

fn passed() -> Option<TestGate> {
    Some(TestGate::of(TestVerdict::Passed))
}

fn owed() -> Option<TestGate> {
    Some(TestGate::of(TestVerdict::Owed))
}

fn overridden(reason: &str) -> Option<TestGate> {
    Some(TestGate {
        reason: reason.to_owned(),
        ..TestGate::of(TestVerdict::Overridden)
    })
}

#[test]
fn what_owes_its_test_is_not_saved() {
    let mut run = Run::new();
    assert_eq!(run.create(1, owed()), Some(RefusalCode::ConnectionTestOwed));
    assert!(run.0.monitor(&id(8, 1)).is_none());
    assert_eq!(run.create(1, passed()), None);
    // The test is the last thing that is asked for: what is wrong anyway is told instead.
    assert_eq!(run.create(1, owed()), Some(RefusalCode::DuplicateName));
    assert_eq!(
        run.edit(1, "10.9.9.9:3306", owed()),
        Some(RefusalCode::ConnectionTestOwed)
    );
    assert_eq!(
        run.edit(7, "10.9.9.9:3306", owed()),
        Some(RefusalCode::GenerationConflict)
    );
    assert_eq!(run.edit(1, "10.9.9.9:3306", passed()), None);
    // Nothing is dialled anew: no test is due, and nobody has to answer for one that was not made.
    assert_eq!(run.edit(2, "10.9.9.9:3306", owed()), None);
    assert_eq!(run.edit(3, "10.9.9.9:3306", overridden("")), None);
    assert_eq!(run.overrides(), Vec::<String>::new());
    // Logs from before there was a test.
    assert_eq!(run.create(2, None), None);
    assert_eq!(run.edit(4, "10.9.9.8:3306", None), None);
}

#[test]
fn an_override_has_a_reason_and_a_record() {
    let mut run = Run::new();
    for empty in ["", "  "] {
        let refusal = run.create(1, overridden(empty));
        assert_eq!(refusal, Some(RefusalCode::TestOverrideReasonRequired));
    }
    assert_eq!(
        run.create(1, overridden(&"x".repeat(501))),
        Some(RefusalCode::InvalidSpec)
    );
    assert_eq!(run.create(1, overridden("dc2 is being built")), None);
    assert_eq!(run.edit(1, "10.9.9.9:3306", overridden("moved at night")), None);
    assert_eq!(run.overrides(), ["dc2 is being built", "moved at night"]);
}

#[test]
fn a_command_that_is_tried_changes_nothing() {
    let run = Run::new();
    let root = build::user_principal("root", 1);
    let before = (run.0.audit().iter().count(), run.0.all_monitors().count());
    assert_eq!(try_out(&run.0, &root, create(1, passed())), None);
    let refusal = try_out(&run.0, &root, create(1, owed()));
    assert_eq!(
        refusal.map(|refusal| refusal.code()),
        Some(RefusalCode::ConnectionTestOwed)
    );
    assert_eq!((run.0.audit().iter().count(), run.0.all_monitors().count()), before);
}
