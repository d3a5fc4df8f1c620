//! What this node's probers have found, target by target, and how much of it the cluster has accepted.
//!
//! Probers write here; the reporter takes what changed; the heartbeat tells a digest of what was accepted. Holds no task and
//! no connection.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use quorate_machine::{DataCenter, DigestVote, FindingClass, Id, Vote, VoteReport, worker_digest};
use quorate_probes::{Judge, JudgeSettings, Observation, RoleInfo, Transition, WorkerSummary};
use tokio::sync::Notify;

/// One side of one monitor.
pub type TargetKey = (Id, DataCenter);

struct Target {
    generation: u64,
    judge: Judge,
    /// The cluster has not accepted the present vote yet.
    dirty: bool,
    /// What was found last was found by a sick node: it counts as unknown until an attempt that began after this moment.
    doubted_since_ms: Option<u64>,
    told: Option<Told>,
}

/// What a target told of itself when it answered last.
struct Told {
    role: RoleInfo,
    /// When that reached the board.
    at_ms: u64,
    /// How old the oldest of it was then.
    age_ms: u64,
}

#[derive(Default)]
struct Contents {
    targets: BTreeMap<TargetKey, Target>,
    /// What the cluster has accepted: (generation, vote).
    accepted: BTreeMap<TargetKey, (u64, Vote)>,
    /// Every target and both peers fail at once: this node is the sick one.
    sick: bool,
    /// A report is under way, so that nobody can know what has been accepted.
    reporting: bool,
    full_asked: bool,
    attempts: u64,
    failed_attempts: u64,
}

/// The node's findings; shared by probers, reporter and heartbeats.
pub struct Board {
    started: Instant,
    contents: Mutex<Contents>,
    /// Something is to be reported.
    changed: Notify,
}

/// Numbers for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BoardCounts {
    pub targets: u64,
    pub failing_targets: u64,
    pub attempts: u64,
    pub failed_attempts: u64,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            contents: Mutex::default(),
            changed: Notify::new(),
        }
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().expect("no holder of the board panics")
    }

    /// Monotonic milliseconds of this process, the judges' clock.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A prober of this target begins, with nothing found yet.
    pub fn begin(&self, key: TargetKey, generation: u64, settings: JudgeSettings) {
        let judge = Judge::new(settings, self.now_ms());
        self.lock().targets.insert(
            key,
            Target {
                generation,
                judge,
                dirty: false,
                doubted_since_ms: None,
                told: None,
            },
        );
    }

    /// The target is probed with other timing from now on.
    pub fn retime(&self, key: &TargetKey, settings: JudgeSettings) {
        let now_ms = self.now_ms();
        if let Some(target) = self.lock().targets.get_mut(key) {
            target.judge.retime(settings, now_ms);
        }
    }

    /// The target's prober panicked: nobody knows anything of the target.
    pub fn prober_failed(&self, key: TargetKey) {
        self.no_evidence(
            key,
            FindingClass::OwnShortage,
            "the prober failed; the log has more".to_string(),
        );
    }

    /// The target is no longer probed.
    pub fn end(&self, key: &TargetKey) {
        let mut contents = self.lock();
        contents.targets.remove(key);
        contents.accepted.remove(key);
    }

    /// The prober cannot start: the specification is no use, or its secret cannot be opened.
    pub fn misconfigured(&self, key: TargetKey, text: String) {
        self.no_evidence(key, FindingClass::Misconfigured, text);
    }

    fn no_evidence(&self, key: TargetKey, class: FindingClass, text: String) {
        let observation = Observation {
            stage: quorate_probes::Stage::Login,
            class,
            engine_text: text,
            role: None,
            canary: None,
            latency_us: 0,
            fresh: true,
        };
        self.observe(key, &observation);
    }

    /// Takes the result of an attempt that has just ended.
    pub fn observe(&self, key: TargetKey, observation: &Observation) {
        self.observe_aged(key, observation, Duration::ZERO);
    }

    /// Takes the result of an attempt that ended `age` ago.
    pub fn observe_aged(&self, key: TargetKey, observation: &Observation, age: Duration) {
        let now_ms = self.now_ms();
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let mut contents = self.lock();
        contents.attempts += 1;
        let Some(target) = contents.targets.get_mut(&key) else {
            return;
        };
        if let Some(role) = &observation.role {
            target.told = Some(Told {
                role: role.clone(),
                at_ms: now_ms,
                age_ms: age_ms.saturating_add(role.facts_age_ms),
            });
        }
        let failing_before = target.judge.is_failing();
        let transition = target.judge.observe(observation, now_ms);
        let took_ms = age_ms.saturating_add(observation.latency_us / 1_000);
        let began_ms = now_ms.checked_sub(took_ms);
        if target
            .doubted_since_ms
            .is_some_and(|since| began_ms.is_some_and(|began| began >= since))
        {
            target.doubted_since_ms = None;
            target.dirty = true;
        }
        let settled = target.dirty;
        let failing = target.judge.is_failing();
        if failing && !failing_before {
            tracing::info!(
                event = "probe-first-failure",
                monitor = %key.0,
                data_center = key.1.name(),
                class = ?observation.class,
                stage = %observation.stage,
                latency_us = observation.latency_us,
                wall_ms = wall_ms(),
                "first failed attempt: {}",
                observation.engine_text
            );
        }
        contents.failed_attempts += u64::from(failing);
        if settled {
            self.changed.notify_one();
        }
        self.note(contents, key, transition);
    }

    /// Nothing was due: the prober backs off after a refused login.
    pub fn backed_off(&self, key: &TargetKey) {
        let now_ms = self.now_ms();
        if let Some(target) = self.lock().targets.get_mut(key) {
            target.judge.backed_off(now_ms);
        }
    }

    fn note(&self, mut contents: MutexGuard<'_, Contents>, key: TargetKey, transition: Option<Transition>) {
        if transition.is_none() {
            return;
        }
        if let Some(target) = contents.targets.get_mut(&key) {
            target.dirty = true;
        }
        drop(contents);
        self.changed.notify_one();
    }

    /// Regular look: overdue attempts vote unknown, and the node asks itself whether it is the sick one.
    pub fn look(&self, peers: u32, unreachable_peers: u32) {
        let now_ms = self.now_ms();
        let mut contents = self.lock();
        let mut changed = false;
        for target in contents.targets.values_mut() {
            if target.judge.check_overdue(now_ms).is_some() {
                target.dirty = true;
                changed = true;
            }
        }
        let failing = contents
            .targets
            .values()
            .filter(|target| target.judge.is_failing())
            .count();
        let summary = WorkerSummary {
            targets: u32::try_from(contents.targets.len()).unwrap_or(u32::MAX),
            failing_targets: u32::try_from(failing).unwrap_or(u32::MAX),
            peers,
            unreachable_peers,
        };
        if summary.is_sick() != contents.sick {
            contents.sick = summary.is_sick();
            tracing::warn!(
                sick = contents.sick,
                "every target and every peer fails at once: changed"
            );
            // A node that was sick until now has found nothing since: its old findings are no votes.
            let doubted_since_ms = (!contents.sick).then_some(now_ms);
            for target in contents.targets.values_mut() {
                target.dirty = true;
                target.doubted_since_ms = doubted_since_ms;
            }
            changed = true;
        }
        drop(contents);
        if changed {
            self.changed.notify_one();
        }
    }

    /// The leader's view differs from what it had accepted: everything is to be told again.
    pub fn ask_full(&self) {
        self.lock().full_asked = true;
        self.changed.notify_one();
    }

    /// Waits until there may be something to report.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What is to be reported now; `None` if nothing is. Until [`Self::settle`] the report counts as under way.
    pub fn take(&self) -> Option<Taken> {
        let now_ms = self.now_ms();
        let mut contents = self.lock();
        let full = contents.full_asked;
        let sick = contents.sick;
        let mut votes = Vec::new();
        let mut keys = BTreeSet::new();
        for (key, target) in &mut contents.targets {
            if target.dirty || full {
                target.dirty = false;
                keys.insert(*key);
                votes.push(vote_report(*key, target, sick, now_ms));
            }
        }
        if votes.is_empty() && !full {
            return None;
        }
        contents.full_asked = false;
        contents.reporting = true;
        Some(Taken { votes, keys, full })
    }

    /// The report was accepted, or has to be made again.
    pub fn settle(&self, taken: &Taken, accepted: bool) {
        let mut contents = self.lock();
        contents.reporting = false;
        if accepted {
            if taken.full {
                contents.accepted.clear();
            }
            for vote in &taken.votes {
                let dc = DataCenter::try_from(vote.data_center).unwrap_or(DataCenter::Dc1);
                let key = (vote.monitor, dc);
                // A target that ended meanwhile has left the digest on both sides.
                if contents
                    .targets
                    .get(&key)
                    .is_some_and(|target| target.generation == vote.generation)
                {
                    contents.accepted.insert(key, (vote.generation, vote.vote()));
                }
            }
            return;
        }
        for key in &taken.keys {
            if let Some(target) = contents.targets.get_mut(key) {
                target.dirty = true;
            }
        }
        contents.full_asked |= taken.full;
        drop(contents);
        self.changed.notify_one();
    }

    /// Digest of the accepted votes; `None` while a report is under way or owed. So a digest that the leader finds in its
    /// state says that the state holds everything this node has found.
    pub fn digest(&self) -> Option<u64> {
        let contents = self.lock();
        let owed = contents.full_asked || contents.targets.values().any(|target| target.dirty);
        if contents.reporting || owed {
            return None;
        }
        Some(worker_digest(contents.accepted.iter().map(
            |((monitor, data_center), (generation, vote))| DigestVote {
                monitor: *monitor,
                generation: *generation,
                data_center: *data_center,
                vote: *vote,
            },
        )))
    }

    /// What both sides of a monitor told of themselves when they answered last, with the age of the oldest of it in milliseconds.
    pub fn told(&self, monitor: Id) -> Vec<(DataCenter, RoleInfo, u64)> {
        let now_ms = self.now_ms();
        let contents = self.lock();
        let side = |dc: DataCenter| {
            let told = contents.targets.get(&(monitor, dc))?.told.as_ref()?;
            let age_ms = now_ms.saturating_sub(told.at_ms).saturating_add(told.age_ms);
            Some((dc, told.role.clone(), age_ms))
        };
        DataCenter::ALL.into_iter().filter_map(side).collect()
    }

    /// Numbers for metrics.
    pub fn counts(&self) -> BoardCounts {
        let contents = self.lock();
        BoardCounts {
            targets: contents.targets.len() as u64,
            failing_targets: contents
                .targets
                .values()
                .filter(|target| target.judge.is_failing())
                .count() as u64,
            attempts: contents.attempts,
            failed_attempts: contents.failed_attempts,
        }
    }
}

/// A report under way.
pub struct Taken {
    pub votes: Vec<VoteReport>,
    pub full: bool,
    keys: BTreeSet<TargetKey>,
}

fn vote_report(key: TargetKey, target: &Target, sick: bool, now_ms: u64) -> VoteReport {
    let mut report = target
        .judge
        .current()
        .to_report(key.0, target.generation, key.1, now_ms);
    if sick || target.doubted_since_ms.is_some() {
        report.vote = Vote::Unknown as i32;
        report.class = FindingClass::OwnShortage as i32;
        report.text = if sick {
            "every target and every other node fails at once: this node is the sick one".to_string()
        } else {
            "this node was the sick one until now and has not probed again yet".to_string()
        };
    }
    report
}

/// Wall clock, milliseconds since the Unix epoch: for log lines only.
pub(super) fn wall_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
