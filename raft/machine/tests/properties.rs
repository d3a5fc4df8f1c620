//! Seeded random command sequences: what must hold whatever happens.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::build::{self, id, instance, node_principal, user_principal};
use common::{check_log, check_revisions};
use quorate_kv::*;
use quorate_machine::*;

/// Numerical Recipes' generator: good enough to shuffle, the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn data_center(&mut self) -> DataCenter {
        DataCenter::ALL[self.below(2) as usize]
    }

    fn vote(&mut self) -> Vote {
        // Agreement is frequent, so that sides really fail and recover.
        match self.below(10) {
            0..=4 => Vote::UpSteady,
            5 => Vote::Up,
            6..=8 => Vote::Down,
            _ => Vote::Unknown,
        }
    }
}

const MONITORS: u64 = 3;

struct Run {
    random: Random,
    state: State,
    log: Vec<Envelope>,
    now_ms: u64,
    term: u64,
    sequences: BTreeMap<u64, u64>,
    incarnations: BTreeMap<u64, u64>,
    next_stamp: u64,
    /// Due times of republications by monitor and cause, as they should be.
    expected: BTreeMap<(Id, bool), BTreeSet<u64>>,
    automatic_switches: u32,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut run = Run {
            random: Random(seed),
            state: State::new(),
            log: Vec::new(),
            now_ms: 0,
            term: 0,
            sequences: BTreeMap::new(),
            incarnations: BTreeMap::new(),
            next_stamp: 1,
            expected: BTreeMap::new(),
            automatic_switches: 0,
        };
        run.step(node_principal(1), build::bootstrap());
        run.step(user_principal("root", 1), build::application(1, "shop"));
        for number in 1..=MONITORS {
            run.create_monitor(number);
        }
        run
    }

    fn create_monitor(&mut self, number: u64) {
        let mut spec = build::monitor_spec(&format!("m{number}"));
        spec.timing.monitor_timeout_ms = Some(1_000);
        let pool = Some(build::pool("orders"));
        let command = CreateMonitor {
            id: id(8, number),
            application: id(7, 1),
            spec,
            pool,
        };
        self.step(user_principal("root", 1), Command::CreateMonitor(Box::new(command)));
    }

    fn random_step(&mut self) {
        self.now_ms += [0, 1, 50, 400, 1_100, 2_000, 30_000][self.random.below(7) as usize];
        let node = 1 + self.random.below(3);
        let monitor = id(8, 1 + self.random.below(MONITORS + 1));
        match self.random.below(100) {
            0..=44 => self.report(node, monitor),
            45..=54 => self.step(node_principal(node), Command::Tick(Tick {})),
            55..=64 => self.leadership(node),
            65..=74 => self.republish(),
            75..=82 => self.manual_switch(),
            83..=86 => self.edit(monitor),
            87..=89 => {
                let command = AcknowledgeMonitor {
                    monitor,
                    comment: String::new(),
                };
                self.step(user_principal("root", 1), Command::AcknowledgeMonitor(command));
            }
            90..=91 => {
                let command = DeleteObject {
                    id: monitor,
                    generation: 0,
                };
                self.step(user_principal("root", 1), Command::DeleteMonitor(command));
                self.expected.retain(|(known, _), _| *known != monitor);
            }
            92..=93 => {
                let number = 1 + self.random.below(MONITORS);
                self.create_monitor(number);
            }
            94 => self.settings(),
            _ => self.kv(),
        }
    }

    fn report(&mut self, node: u64, monitor: Id) {
        let generation = self
            .state
            .monitor(&monitor)
            .map_or(1, |monitor| monitor.probe_generation);
        let generation = generation + u64::from(self.random.chance(3));
        let (dc1, dc2) = (self.random.vote(), self.random.vote());
        // Mostly all nodes see the same.
        let nodes: Vec<u64> = if self.random.chance(70) {
            vec![1, 2, 3]
        } else {
            vec![node]
        };
        for node in nodes {
            let sequence = self.sequences.entry(node).or_insert(0);
            *sequence += 1;
            let command = ReportHealth {
                node,
                incarnation: self.incarnations.get(&node).copied().unwrap_or(1),
                sequence: *sequence,
                votes: vec![
                    build::vote(monitor, generation, DataCenter::Dc1, dc1),
                    build::vote(monitor, generation, DataCenter::Dc2, dc2),
                ],
                full: self.random.chance(10),
            };
            self.step(node_principal(node), Command::ReportHealth(command));
        }
    }

    fn leadership(&mut self, node: u64) {
        let incarnation = self.incarnations.get(&node).copied().unwrap_or(1);
        let term = self.term.saturating_sub(u64::from(self.random.chance(10)));
        let command = match self.random.below(10) {
            0..=1 => {
                self.term += 1;
                Command::LeaderStarted(LeaderStarted { term: self.term, node })
            }
            2 => Command::WorkerLapsed(WorkerLapsed {
                node,
                incarnation,
                term,
            }),
            3 => {
                self.incarnations.insert(node, incarnation + 1);
                self.sequences.remove(&node);
                return;
            }
            _ => Command::WorkerSeen(WorkerSeen {
                node,
                incarnation,
                term,
            }),
        };
        self.step(node_principal(node), command);
    }

    fn republish(&mut self) {
        let mut items = Vec::new();
        for effect in outstanding(&self.state) {
            let Effect::Republish {
                monitor,
                epoch,
                work,
                due_ms,
            } = effect
            else {
                continue;
            };
            if due_ms > self.now_ms || self.random.chance(30) {
                continue;
            }
            let stale = u64::from(self.random.chance(10));
            items.push(RepublishItem {
                monitor,
                epoch: epoch + stale,
                work,
            });
            if stale == 0 {
                let record = self.state.monitor(&monitor).expect("effects name monitors");
                let cause = record
                    .republish
                    .iter()
                    .find(|known| known.work == work)
                    .expect("its work")
                    .cause();
                let key = (monitor, cause == RepublishCause::LeaderChange);
                self.expected.get_mut(&key).expect("expected work").remove(&due_ms);
            }
        }
        self.step(node_principal(1), Command::Republish(Republish { items }));
    }

    fn manual_switch(&mut self) {
        let count = 1 + self.random.below(2);
        let monitors = (0..count)
            .map(|offset| id(8, 1 + (offset + self.random.below(2)) % MONITORS))
            .collect();
        let command = Switch {
            monitors,
            to: self.random.data_center() as i32,
            force: self.random.chance(40),
            reason: "drill".to_owned(),
            acknowledge: self.random.chance(50),
            restore_readable: self.random.chance(50),
        };
        let author = user_principal("root", 1);
        let preview = preview_switch(&self.state, &command, &author);
        let outcome = self.apply(author, Command::Switch(command));
        assert_eq!(
            preview.refusal.as_ref(),
            outcome.reply.refusal(),
            "the preview promises something else"
        );
    }

    fn edit(&mut self, monitor: Id) {
        let author = user_principal("root", 1);
        let Some(present) = self.state.monitor(&monitor) else {
            return;
        };
        let generation = present.meta.generation - u64::from(self.random.chance(10));
        let mut spec = present.spec.clone();
        if self.random.chance(30) {
            let database = ["orders", "shop"][self.random.below(2) as usize];
            let pool = build::pool(database);
            let command = SetConnectionPool {
                monitor,
                generation,
                pool,
            };
            return self.step(author, Command::SetConnectionPool(Box::new(command)));
        }
        match self.random.below(3) {
            0 => spec.automatic_switch = !spec.automatic_switch,
            1 => spec.probing = self.random.chance(80),
            _ => spec.timing.retry_interval_ms = Some(1_000 + self.random.below(1_000) as u32),
        }
        self.step(
            author,
            Command::UpdateMonitor(Box::new(UpdateMonitor {
                id: monitor,
                generation,
                spec,
            })),
        );
    }

    fn settings(&mut self) {
        let health_precision = 1 + self.random.below(2) as u32;
        let settings = KindSettings {
            health_precision,
            ..KindSettings::DEFAULT
        };
        let command = SetKindSettings {
            instance: instance(),
            kind: "mysql".to_owned(),
            settings,
        };
        self.step(user_principal("root", 1), Command::SetKindSettings(command));
    }

    fn kv(&mut self) {
        let key = ["a", "b", "/mas-monitor/x"][self.random.below(3) as usize];
        let op = KvOp::Put(PutRequest {
            key: key.into(),
            value: "v".into(),
            ..PutRequest::default()
        });
        let auth_revision = self.state.keyspace(&instance()).expect("bootstrapped").auth_revision();
        let caller = KvCaller {
            user: "root".to_owned(),
            auth_revision,
        };
        let author = Principal {
            kind: Some(PrincipalKind::Kv(caller)),
            source: String::new(),
        };
        self.step(
            author,
            Command::Kv(KvCommand {
                instance: instance(),
                op: Some(op),
            }),
        );
    }

    fn step(&mut self, author: Principal, command: Command) {
        self.apply(author, command);
    }

    /// Applies a command, sometimes twice under its stamp, and checks everything.
    fn apply(&mut self, author: Principal, command: Command) -> Outcome {
        let stamp = SessionStamp {
            node: 1,
            incarnation: 1,
            sequence: self.next_stamp,
            acked_below: 0,
        };
        self.next_stamp += 1;
        let session = self.random.chance(50).then_some(stamp);
        let envelope = build::envelope(self.now_ms, session, author, command);
        let before = self.state.clone();
        let outcome = self.apply_envelope(&envelope);
        self.check(&before, &outcome);
        if session.is_some() && self.random.chance(20) {
            let again = self.apply_envelope(&envelope);
            assert_eq!(again.reply, outcome.reply);
            assert!(again.revisions.is_empty(), "a repeat was applied again");
        }
        outcome
    }

    fn apply_envelope(&mut self, envelope: &Envelope) -> Outcome {
        self.log.push(envelope.clone());
        let outcome = apply(&mut self.state, self.log.len() as u64, envelope);
        assert_eq!(outcome.halt, None);
        outcome
    }

    fn check(&mut self, before: &State, outcome: &Outcome) {
        check_revisions(&self.state, outcome);
        self.check_keys();
        let now = self.state.last_time_ms();
        let due = |now: u64| BTreeSet::from([now + 2_000, now + 10_000, now + 60_000]);
        let monitors: Vec<MonitorRecord> = self.state.all_monitors().cloned().collect();
        for monitor in &monitors {
            let known = before.monitor(&monitor.id());
            let epoch = known.map_or(0, |monitor| monitor.epoch);
            assert!(
                monitor.epoch == epoch || monitor.epoch == epoch + 1,
                "epochs rise one by one"
            );
            assert_eq!(
                monitor.epoch > epoch,
                known.is_some_and(|known| known.active != monitor.active)
            );
            if monitor.epoch > epoch {
                self.expected.insert((monitor.id(), false), due(now));
                self.check_switch(known.expect("a new monitor has not switched"), monitor);
            }
            if self.state.current_term() > before.current_term() && monitor.pool.is_some() {
                self.expected.insert((monitor.id(), true), due(now));
            }
        }
        self.check_outstanding();
        if next_deadline(&self.state).is_some_and(|deadline| deadline <= now) {
            // A deadline that has passed is one that a tick resolves: the ticker never spins.
            let mut ticked = self.state.clone();
            let tick = build::envelope(now, None, node_principal(1), Command::Tick(Tick {}));
            apply(&mut ticked, self.log.len() as u64 + 1, &tick);
            assert!(
                next_deadline(&ticked).is_none_or(|deadline| deadline > now),
                "a tick leaves its deadline behind"
            );
        }
    }

    /// The keyspace holds the keys that the state says, exactly.
    fn check_keys(&self) {
        let Some(keyspace) = self.state.keyspace(&instance()) else {
            return;
        };
        let expected: BTreeMap<String, String> = self.state.all_monitors().flat_map(sdk_keys).collect();
        let request = RangeRequest {
            key: RESERVED_PREFIX.into(),
            range_end: "/mas-monitor0".into(),
            ..RangeRequest::default()
        };
        let found = keyspace.range(&request).expect("a range").kvs;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("SDK keys are text");
        let found: BTreeMap<String, String> = found.iter().map(|kv| (text(&kv.key), text(&kv.value))).collect();
        assert_eq!(found, expected);
    }

    /// An automatic switch had every right to happen (C5, failover safety).
    fn check_switch(&mut self, before: &MonitorRecord, after: &MonitorRecord) {
        let switch = after.last_switch.as_ref().expect("a switch leaves a record");
        assert_eq!(
            (switch.epoch, switch.to(), switch.phase()),
            (after.epoch, after.active(), SwitchPhase::Activated)
        );
        if !switch.cause().automatic() {
            return;
        }
        self.automatic_switches += 1;
        let precision = self.state.effective_timing(after).health_precision;
        assert_eq!((switch.from(), switch.to()), (DataCenter::Dc1, DataCenter::Dc2));
        let source = tally(&self.state, &after.dc1, precision);
        assert!(source.voters >= 2 && source.verdict() == Verdict::Failed, "{source:?}");
        assert!(tally(&self.state, &after.dc2, precision).steady_target());
        assert!(after.spec.automatic_switch && after.spec.probing && after.pool.is_some());
        assert!(!after.dc1.read_write.readable);
        let now = self.state.last_time_ms();
        if let (true, Some(last)) = (before.needs_acknowledgement, before.last_automatic_ms) {
            let acknowledged = switch.index == self.state.applied_index() && now < last + REPEAT_BLOCK_MS;
            // Within the hour only the acknowledgement itself can let it happen.
            assert!(!acknowledged || self.acknowledged_now(), "the repeat block was broken");
        }
        let leadership = self.state.leadership();
        let heard = self
            .state
            .workers()
            .all(|worker| worker.lapsed || worker.seen_term == leadership.term);
        assert!(
            heard || now >= leadership.started_ms + LEADER_SETTLE_MS,
            "the leader had not heard its workers"
        );
    }

    fn acknowledged_now(&self) -> bool {
        let last = self.state.audit().iter().rev().take(MONITORS as usize + 1);
        last.filter(|record| record.index == self.state.applied_index())
            .any(|record| record.code == "acknowledge-monitor")
    }

    fn check_outstanding(&self) {
        let mut expected: Vec<(Id, u64)> = Vec::new();
        for ((monitor, _), due) in &self.expected {
            if self.state.monitor(monitor).is_some() {
                expected.extend(due.iter().map(|due| (*monitor, *due)));
            }
        }
        let mut found: Vec<(Id, u64)> = outstanding(&self.state)
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Republish { monitor, due_ms, .. } => Some((monitor, due_ms)),
                Effect::FenceDivergentNode { .. } => None,
            })
            .collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "outstanding work and what should be done differ");
    }
}

#[test]
fn random_sequences_keep_every_promise() {
    let mut automatic_switches = 0;
    for seed in 1..=40 {
        let mut run = Run::new(seed);
        for _ in 0..250 {
            run.random_step();
        }
        automatic_switches += run.automatic_switches;
    }
    assert!(
        automatic_switches > 50,
        "the sequences must reach failovers: {automatic_switches}"
    );
}

#[test]
fn logs_replay_alike_through_snapshots() {
    for seed in 100..104 {
        let mut run = Run::new(seed);
        for _ in 0..80 {
            run.random_step();
        }
        check_log(&run.log, &run.state);
    }
}
