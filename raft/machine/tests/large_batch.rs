//! A whole application of 100 monitors: one command, one revision (B2).

#[path = "common/mod.rs"]
mod common;

use common::build::{self, id, node_principal, user_principal};
use prost::Message;
use quorate_machine::*;

/// Monitors of an instance by the default quota (A1).
const MONITORS: u64 = 100;
/// A command that stays below this travels like any other.
const MAX_COMMAND_BYTES: usize = 1_024;

struct Run {
    state: State,
    index: u64,
}

impl Run {
    fn apply(&mut self, author: Principal, command: Command) -> Outcome {
        self.index += 1;
        apply(
            &mut self.state,
            self.index,
            &build::envelope(self.index * 10, None, author, command),
        )
    }
}

/// A cluster with an application of 100 monitors, all healthy on both sides.
fn full_application() -> Run {
    let mut run = Run {
        state: State::new(),
        index: 0,
    };
    let leader = LeaderStarted { term: 1, node: 1 };
    run.apply(node_principal(1), Command::LeaderStarted(leader));
    run.apply(node_principal(1), build::bootstrap());
    let root = user_principal("root", 1);
    run.apply(root.clone(), build::application(1, "shop"));
    for number in 1..=MONITORS {
        let command = CreateMonitor {
            id: id(8, number),
            application: id(7, 1),
            spec: build::monitor_spec(&format!("m{number}")),
            pool: Some(build::pool("orders")),
            connection_test: None,
        };
        let outcome = run.apply(root.clone(), Command::CreateMonitor(Box::new(command)));
        assert_eq!(outcome.reply.refusal(), None, "monitor {number}");
    }
    for node in 1..=3 {
        let seen = WorkerSeen {
            node,
            incarnation: 1,
            term: 1,
        };
        run.apply(node_principal(1), Command::WorkerSeen(seen));
        let votes = (1..=MONITORS)
            .flat_map(|number| DataCenter::ALL.map(|dc| build::vote(id(8, number), 1, dc, Vote::UpSteady)));
        let report = ReportHealth {
            node,
            incarnation: 1,
            sequence: 1,
            votes: votes.collect(),
            full: true,
        };
        run.apply(node_principal(node), Command::ReportHealth(report));
    }
    run
}

fn switch_shop(to: DataCenter) -> Command {
    Command::Switch(Switch {
        application: Some(id(7, 1)),
        to: to as i32,
        reason: "drill".to_owned(),
        restore_readable: true,
        ..Switch::default()
    })
}

#[test]
fn a_hundred_monitors_switch_in_one_revision() {
    let mut run = full_application();
    for (to, epoch) in [(DataCenter::Dc2, 1), (DataCenter::Dc1, 2)] {
        let command = switch_shop(to);
        let proposal = Proposal {
            author: Some(user_principal("root", 1)),
            command: Some(command.clone()),
        };
        assert!(
            proposal.encoded_len() <= MAX_COMMAND_BYTES,
            "{}",
            proposal.encoded_len()
        );
        let outcome = run.apply(user_principal("root", 1), command);
        common::check_revisions(&run.state, &outcome);
        let Some(ReplyKind::Switched(reply)) = &outcome.reply.kind else {
            panic!("{:?}", outcome.reply);
        };
        assert_eq!(reply.monitors.len(), MONITORS as usize);
        assert!(reply.monitors.iter().all(|monitor| monitor.epoch == epoch));
        assert_eq!(outcome.revisions.len(), 1, "one revision for all of them");
        let (_, revision) = &outcome.revisions[0];
        assert_eq!(revision.revision(), reply.revision);
        assert_eq!(revision.iter().len(), MONITORS as usize);
        assert!(run.state.all_monitors().all(|monitor| monitor.active() == to));
    }
}

/// The loss of the primary site moves the same hundred in one revision too (D4).
#[test]
fn a_lost_site_moves_a_hundred_monitors_in_one_revision() {
    let mut run = full_application();
    let on = SetSiteSwitch {
        instance: build::instance(),
        on: true,
    };
    run.apply(user_principal("root", 1), Command::SetSiteSwitch(on));
    let lapsed = WorkerLapsed {
        node: 1,
        incarnation: 1,
        term: 1,
    };
    run.apply(node_principal(2), Command::WorkerLapsed(lapsed));
    for node in [2, 3] {
        let silent = LinkReport {
            peer: 1,
            state: LinkState::Silent as i32,
            ..LinkReport::default()
        };
        let report = ReportLinks {
            node,
            incarnation: 1,
            sequence: 1,
            links: vec![silent],
        };
        run.apply(node_principal(node), Command::ReportLinks(report));
    }
    let deadline = next_deadline(&run.state).expect("the loss of the site, or a republication");
    assert!(deadline > run.state.last_time_ms());
    let time = run.state.last_time_ms() + u64::from(run.state.site_settings().site_timeout_ms);
    run.index += 1;
    let tick = build::envelope(time, None, node_principal(2), Command::Tick(Tick {}));
    let outcome = apply(&mut run.state, run.index, &tick);
    common::check_revisions(&run.state, &outcome);
    assert_eq!(outcome.revisions.len(), 1, "one revision for all of them");
    let moved = |monitor: &MonitorRecord| {
        let last = monitor.last_switch.as_ref();
        monitor.active() == DataCenter::Dc2 && last.is_some_and(|last| last.cause() == SwitchCause::SiteLost)
    };
    assert!(run.state.all_monitors().all(moved));
}
