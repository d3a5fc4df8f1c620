//! What must hold after every command.

use std::collections::{BTreeMap, BTreeSet};

use quorate_kv::RangeRequest;
use quorate_machine::*;

use crate::common::build::{self, instance, node_principal};
use crate::common::check_revisions;
use crate::{MONITORS, Run};

impl Run {
    pub fn check(&mut self, before: &State, outcome: &Outcome) {
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
        assert!(tally(&self.state, &after.dc2, precision).steady_target());
        if switch.cause() == SwitchCause::SiteLost {
            self.check_site_loss(switch, after);
        } else {
            let source = tally(&self.state, &after.dc1, precision);
            assert!(source.voters >= 2 && source.verdict() == Verdict::Failed, "{source:?}");
            self.check_evidence(switch, after);
        }
        assert!(self.state.pause_of(after).is_none(), "a pause was broken");
        assert!(
            self.state.open_window_of(after).is_none(),
            "a maintenance window was broken"
        );
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

    /// Two workers that this very leader has heard say so, and have done for the monitor timeout without a break.
    fn check_evidence(&self, switch: &SwitchRecord, after: &MonitorRecord) {
        let term = self.state.current_term();
        let heard = |node: u64| {
            let worker = self.state.worker(node).expect("votes have workers");
            !worker.lapsed && worker.seen_term == term
        };
        let down = |vote: &&NodeVote| vote.vote() == Vote::Down && heard(vote.node);
        let downs = after.dc1.votes.iter().filter(down).count();
        assert!(
            downs >= 1,
            "nobody whom the leader has heard says down: {:?}",
            after.dc1.votes
        );
        let voters = after
            .dc1
            .votes
            .iter()
            .filter(|vote| vote.vote() != Vote::Unknown && heard(vote.node));
        assert!(voters.count() >= 2, "a single heard voter decided");
        let timeout = u64::from(self.state.effective_timing(after).monitor_timeout_ms);
        let since = switch.failing_since_ms.expect("an automatic switch follows failures");
        assert!(
            self.state.last_time_ms() >= since + timeout,
            "the monitor timeout has not run out"
        );
    }

    /// With ticks at the deadlines alone, and no further vote, everything that is due comes about.
    pub fn check_nothing_is_missed(&self) {
        let mut state = self.state.clone();
        let mut index = state.applied_index();
        for _ in 0..200 {
            let Some(deadline) = next_deadline(&state) else { break };
            index += 1;
            let now = deadline.max(state.last_time_ms());
            let tick = build::envelope(now, None, node_principal(1), Command::Tick(Tick {}));
            apply(&mut state, index, &tick);
        }
        assert_eq!(next_deadline(&state), None, "deadlines without end");
        let later = state.last_time_ms() + 2 * REPEAT_BLOCK_MS;
        for monitor in state.all_monitors() {
            assert!(
                !matches!(decide(&state, monitor, later), Decision::Switch { .. }),
                "a switch is due and no deadline brings it about"
            );
            for side in [&monitor.dc1, &monitor.dc2] {
                let overlooked = side.failing_since_ms.is_some() && side.state() == SideState::Healthy;
                assert!(!overlooked, "a monitor timeout without a deadline");
            }
        }
    }
}
