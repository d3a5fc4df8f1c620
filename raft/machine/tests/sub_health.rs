//! Sub-health of a side: what workers report beside their votes, shown and told, and without a say in any decision.

mod common;

use common::build::{self, id};
use quorate_machine::*;

struct Run {
    state: State,
    sequence: u64,
}

impl Run {
    /// A monitor that every worker finds steadily up on both sides.
    fn new() -> Self {
        let mut run = Self {
            state: State::new(),
            sequence: 0,
        };
        let leader = Command::LeaderStarted(LeaderStarted { term: 1, node: 1 });
        for command in [leader, build::bootstrap()] {
            run.apply(build::node_principal(1), command);
        }
        for node in 1..=3 {
            let seen = WorkerSeen {
                node,
                incarnation: 1,
                term: 1,
            };
            run.apply(build::node_principal(1), Command::WorkerSeen(seen));
        }
        let root = build::user_principal("root", 1);
        run.apply(root.clone(), build::application(1, "shop"));
        let create = CreateMonitor {
            id: id(8, 1),
            application: id(7, 1),
            spec: build::monitor_spec("m1"),
            pool: Some(build::pool("orders")),
            connection_test: None,
        };
        run.apply(root, Command::CreateMonitor(Box::new(create)));
        for node in 1..=3 {
            for dc in DataCenter::ALL {
                run.vote(node, dc, Vote::UpSteady, &[]);
            }
        }
        run
    }

    fn apply(&mut self, author: Principal, command: Command) {
        let index = self.state.applied_index() + 1;
        let outcome = apply(
            &mut self.state,
            index,
            &build::envelope(index * 100, None, author, command),
        );
        assert_eq!(outcome.reply.refusal(), None);
    }

    fn vote(&mut self, node: u64, dc: DataCenter, vote: Vote, ails: &[Condition]) {
        self.sequence += 1;
        let generation = self.monitor_generation();
        let report = |condition: &Condition| ConditionReport {
            condition: *condition as i32,
            text: format!("words of node {node}"),
            lag: None,
        };
        let vote = VoteReport {
            conditions: ails.iter().map(report).collect(),
            ..build::vote(id(8, 1), generation, dc, vote)
        };
        let report = ReportHealth {
            node,
            incarnation: 1,
            sequence: self.sequence,
            votes: vec![vote],
            full: false,
        };
        self.apply(build::node_principal(node), Command::ReportHealth(report));
    }

    fn monitor_generation(&self) -> u64 {
        self.monitor().probe_generation
    }

    fn monitor(&self) -> &MonitorRecord {
        self.state.monitor(&id(8, 1)).expect("the monitor")
    }

    fn ails(&self, dc: DataCenter) -> Vec<(Condition, u64)> {
        let conditions = self.monitor().side(dc).conditions.iter();
        conditions.map(|found| (found.condition(), found.node)).collect()
    }

    /// Data center and condition of the events of sub-health, oldest first; `-` for the end of one.
    fn told(&self) -> Vec<String> {
        let told = |event: &EventRecord| {
            let param = |name: &str| {
                let found = event.params.iter().find(|param| param.name == name);
                found.map(|param| param.value.clone()).unwrap_or_default()
            };
            let sign = match event.code() {
                EventCode::SubHealthBegan => "+",
                EventCode::SubHealthEnded => "-",
                _ => return None,
            };
            Some(format!("{sign}{} {}", param("data_center"), param("condition")))
        };
        self.state.events().iter().filter_map(told).collect()
    }
}

const DC1: DataCenter = DataCenter::Dc1;
const DC2: DataCenter = DataCenter::Dc2;

#[test]
fn one_worker_is_enough_and_the_last_one_ends_it() {
    let mut run = Run::new();
    run.vote(2, DC1, Vote::UpSteady, &[Condition::PoolExhausted]);
    let since = run.monitor().side(DC1).conditions[0].since_ms;
    run.vote(
        1,
        DC1,
        Vote::UpSteady,
        &[Condition::PoolExhausted, Condition::ReplicaLag],
    );
    assert_eq!(
        run.ails(DC1),
        [(Condition::PoolExhausted, 1), (Condition::ReplicaLag, 1)]
    );
    assert_eq!(run.monitor().side(DC1).conditions[0].since_ms, since, "it goes on");
    run.vote(2, DC1, Vote::UpSteady, &[]);
    assert_eq!(run.ails(DC1).len(), 2, "node 1 still says so");
    run.vote(1, DC1, Vote::UpSteady, &[]);
    assert_eq!(run.ails(DC1), []);
    assert_eq!(
        run.told(),
        [
            "+dc1 pool-exhausted",
            "+dc1 replica-lag",
            "-dc1 pool-exhausted",
            "-dc1 replica-lag"
        ]
    );
}

#[test]
fn no_condition_moves_anything() {
    let mut run = Run::new();
    for node in 1..=3 {
        run.vote(node, DC1, Vote::UpSteady, &Condition::ALL);
    }
    let monitor = run.monitor();
    assert_eq!((monitor.active_dc(), monitor.epoch), (DC1, 0));
    assert_eq!(monitor.side(DC1).state(), SideState::Healthy);
    assert_eq!(run.ails(DC1).len(), Condition::ALL.len());
}

#[test]
fn the_usual_is_no_news() {
    let mut run = Run::new();
    run.vote(1, DC2, Vote::UpSteady, &[Condition::ReadOnly, Condition::Slow]);
    assert_eq!(run.ails(DC2), [(Condition::ReadOnly, 1), (Condition::Slow, 1)]);
    assert_eq!(run.told(), [""; 0], "a side that stands by is read-only by trade");
    run.vote(1, DC1, Vote::UpSteady, &[Condition::ReadOnly]);
    assert_eq!(run.told(), ["+dc1 read-only"]);
}

#[test]
fn a_worker_that_lapses_says_nothing_more() {
    let mut run = Run::new();
    run.vote(3, DC2, Vote::UpSteady, &[Condition::WritesFail]);
    let lapsed = WorkerLapsed {
        node: 3,
        incarnation: 1,
        term: 1,
    };
    run.apply(build::node_principal(1), Command::WorkerLapsed(lapsed));
    assert_eq!(run.ails(DC2), []);
}

#[test]
fn a_canary_beside_the_attempts_makes_no_other_target() {
    let mut run = Run::new();
    let mut spec = build::monitor_spec("m1");
    let mut edit = |change: &dyn Fn(&mut RelationalSpec)| {
        let Some(MonitorKind::Mysql(mysql)) = &mut spec.kind else {
            panic!("a MySQL monitor");
        };
        change(mysql);
        let edit = UpdateMonitor {
            id: id(8, 1),
            generation: run.monitor().meta.generation,
            spec: spec.clone(),
            connection_test: None,
        };
        run.apply(build::user_principal("root", 1), Command::UpdateMonitor(Box::new(edit)));
        DataCenter::ALL.map(|dc| {
            let side = run.monitor().side(dc);
            (side.state(), side.was_healthy)
        })
    };
    let canary = CanarySpec {
        user: "quorate_canary".to_owned(),
        password: Some(Sealed {
            bytes: bytes::Bytes::from_static(b"sealed"),
        }),
        database: "ops".to_owned(),
        table: "quorate_canary".to_owned(),
        votes: true,
    };
    let protected = [(SideState::Healthy, true); 2];
    assert_eq!(edit(&|mysql| mysql.canary = Some(canary.clone())), protected);
    assert_eq!(edit(&|mysql| mysql.canary = None), protected);
    let unknown = [(SideState::Unconfigured, false); 2];
    assert_eq!(edit(&|mysql| mysql.user = "other".to_owned()), unknown);
}
