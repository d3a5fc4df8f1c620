//! Turns the attempts of one (monitor generation, data center) into votes. Pure: times are the caller's monotonic
//! milliseconds.
//!
//! # From findings to votes (architecture, "What votes")
//!
//! | finding | vote |
//! | --- | --- |
//! | ok, read-only, slow | `up`; `up-steady` from the third running one on |
//! | too many connections | `up` (the server lives), never a step towards `up-steady` |
//! | refused, unreachable, timeout, wrong answer, server starting or stopping | `down` |
//! | login refused | none: `up` stays; a `down` becomes `unknown`, for the address does answer |
//! | DNS, TLS, own shortage, overdue attempt, misconfigured | `unknown` |
//! | writes fail (canary) | `up` as above; `down` where the monitor says so, each failed write once |
//! | replica lag, broken replication | none of their own |
//!
//! Beside the vote stand the sub-healths that were found. Their coming and going is reported, not how bad they are: a lag is told when
//! it passes the threshold and when it is below half of it again.
//!
//! # Why one failed attempt may vote `down`
//!
//! A vote is no verdict: the replicated machine turns `down` into `abnormal` only after the monitor timeout of
//! *continuous* failure, counted from the first tally, and one good attempt takes the vote back at once. So with a
//! monitor timeout that leaves room for a second attempt and its report (retry interval + access timeout + the time that a
//! report takes), no verdict ever rests on a single failed attempt, and voting at once costs no detection time. Where the
//! monitor timeout is shorter than that, this judge asks for two failed attempts in a row itself.

use quorate_machine::{
    Condition, ConditionReport, DataCenter, FindingClass, Id, LagThreshold, Thresholds, Vote, VoteReport,
};

use crate::observation::{Observation, bounded_text};

/// Running good attempts from which on a side is `up-steady`.
pub const STEADY_OKS: u32 = 3;
/// A change of the finding alone, with the same vote, is told at most this often: a source that alternates between two
/// findings must not fill the log. Away from *refused* it is told at once, for a fence may be skipped on its strength, and
/// so is the first one of all, for which an operator waits.
pub const DETAIL_INTERVAL_MS: u64 = 10_000;
/// Time allowed for a good attempt's report to reach the replicated machine.
pub const REPORT_MARGIN_MS: u64 = 100;
/// How late an attempt may end beyond retry interval and access timeout before the prober counts as stuck.
pub const OVERDUE_GRACE_MS: u64 = 1_000;

/// Timing of a monitor that the judge needs (C3), in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JudgeSettings {
    /// From the start of one attempt to the next.
    pub retry_interval_ms: u64,
    /// Bound of one attempt.
    pub access_timeout_ms: u64,
    /// Continuous failure for this long makes a side abnormal (counted by the replicated machine).
    pub monitor_timeout_ms: u64,
    /// Kinds that count attempts (C26): how many in a row change the vote; `None`: as the timing asks.
    pub thresholds: Option<Thresholds>,
    /// From where on lag is a sub-health.
    pub lag: LagThreshold,
    /// A failing write canary is a failure of the data source.
    pub canary_votes: bool,
}

impl JudgeSettings {
    /// Failed attempts in a row before the vote is `down`: 1, or 2 where no second attempt fits the monitor timeout.
    pub fn failures_to_vote_down(&self) -> u32 {
        if let Some(thresholds) = self.thresholds {
            thresholds.failures.max(1)
        } else if self.monitor_timeout_ms >= self.retry_interval_ms + self.access_timeout_ms + REPORT_MARGIN_MS {
            1
        } else {
            2
        }
    }

    /// Answered attempts in a row before a vote that was not `up` becomes so.
    pub fn successes_to_vote_up(&self) -> u32 {
        self.thresholds.map_or(1, |thresholds| thresholds.successes.max(1))
    }
}

/// What the node proposes: a changed vote, or a changed finding behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The vote from now on.
    pub vote: Vote,
    /// The finding behind it; beside `up` a sub-health or a warning (too many connections, read-only, slow, login).
    pub class: FindingClass,
    /// The engine's own words, at most 512 bytes.
    pub text: String,
    /// The login was refused and no query has ever been answered: the side is `init-failed` (C1).
    pub never_logged_in: bool,
    /// When the first failed attempt of the present run of failures ended; `None` while none fails.
    pub failing_since_ms: Option<u64>,
    /// What ails the data source though it answers, in order of the condition.
    pub conditions: Vec<ConditionReport>,
}

impl Transition {
    /// The report for the replicated machine; `now_ms` is the time of sending.
    pub fn to_report(&self, monitor: Id, generation: u64, data_center: DataCenter, now_ms: u64) -> VoteReport {
        let age_ms = self.failing_since_ms.map_or(0, |since| now_ms.saturating_sub(since));
        VoteReport {
            monitor,
            generation,
            data_center: data_center as i32,
            vote: self.vote as i32,
            class: self.class as i32,
            text: self.text.clone(),
            never_logged_in: self.never_logged_in,
            age_ms: u32::try_from(age_ms).unwrap_or(u32::MAX),
            conditions: self.conditions.clone(),
        }
    }
}

/// What a finding is evidence of.
enum Evidence {
    Answered,
    Saturated,
    LoginRefused,
    Failed,
    None,
}

fn evidence(class: FindingClass) -> Evidence {
    match class {
        FindingClass::Ok | FindingClass::ReadOnly | FindingClass::Slow => Evidence::Answered,
        FindingClass::TooManyConnections => Evidence::Saturated,
        FindingClass::Auth => Evidence::LoginRefused,
        FindingClass::Refused
        | FindingClass::Unreachable
        | FindingClass::Timeout
        | FindingClass::WrongAnswer
        | FindingClass::ServerStarting
        | FindingClass::WritesFail => Evidence::Failed,
        FindingClass::None
        | FindingClass::Dns
        | FindingClass::Tls
        | FindingClass::OwnShortage
        | FindingClass::Overdue
        | FindingClass::Misconfigured => Evidence::None,
    }
}

fn report(condition: Condition, text: &str) -> ConditionReport {
    ConditionReport {
        condition: condition as i32,
        text: bounded_text(text),
        lag: None,
    }
}

/// The judge of one data center of one monitor generation; a new generation gets a new judge.
#[derive(Clone, Debug)]
pub struct Judge {
    settings: JudgeSettings,
    current: Transition,
    /// The lag has passed the threshold and has not fallen below half of it again.
    lagging: bool,
    /// Running answered attempts.
    oks: u32,
    /// Running failed attempts.
    failures: u32,
    /// The last attempt brought no answer for a reason that is no evidence (DNS, own shortage, overdue, …).
    without_evidence: bool,
    /// A query has been answered once.
    answered: bool,
    /// What the last fresh connection met beside a kept session that still works; a good fresh one clears it.
    warning: Option<(FindingClass, String)>,
    /// Number of the failed write that counted last, as long as nothing else was found since.
    counted_write: Option<u64>,
    last_end_ms: u64,
    last_told_ms: u64,
}

impl Judge {
    /// Goes on with other timing from now: what was found stays found, and what comes next is judged by the new one.
    pub fn retime(&mut self, settings: JudgeSettings, now_ms: u64) {
        self.settings = settings;
        // The prober begins anew, and has the whole of the new interval for its next attempt.
        self.last_end_ms = self.last_end_ms.max(now_ms);
    }

    /// A judge that has seen nothing: vote `unknown`, finding `none`.
    pub fn new(settings: JudgeSettings, now_ms: u64) -> Self {
        Self {
            settings,
            current: Transition {
                vote: Vote::Unknown,
                class: FindingClass::None,
                text: String::new(),
                never_logged_in: false,
                failing_since_ms: None,
                conditions: Vec::new(),
            },
            lagging: false,
            oks: 0,
            failures: 0,
            without_evidence: false,
            answered: false,
            warning: None,
            counted_write: None,
            last_end_ms: now_ms,
            last_told_ms: now_ms,
        }
    }

    /// The present vote with its finding, for a full report.
    pub fn current(&self) -> &Transition {
        &self.current
    }

    /// The last attempt brought no answer, for whatever reason and whatever the vote is yet (input of the self-check: a
    /// node that is cut off cannot resolve names either).
    pub fn is_failing(&self) -> bool {
        self.failures > 0 || self.without_evidence
    }

    /// Takes the result of an attempt that ended at `now_ms`; returns what is to be reported, if anything changed.
    pub fn observe(&mut self, observation: &Observation, now_ms: u64) -> Option<Transition> {
        self.last_end_ms = now_ms;
        let (class, text) = self.finding(observation);
        let write = observation.canary.as_ref().map(|found| found.failed_writes);
        let write = write.filter(|_| class == FindingClass::WritesFail);
        // Attempts are more frequent than writes: each failed write counts once, however often it is told.
        if write.is_none() || write != self.counted_write {
            self.count(class, now_ms);
        }
        self.counted_write = write.or(self.counted_write);
        self.note_warning(observation);
        let mut next = match evidence(class) {
            Evidence::Answered => {
                let (class, text) = self.warning.clone().unwrap_or((class, text));
                let up = matches!(self.current.vote, Vote::Up | Vote::UpSteady);
                if up || self.oks >= self.settings.successes_to_vote_up() {
                    self.transition(self.up_vote(), class, text)
                } else {
                    // Too few answers in a row to say that it is back.
                    self.current.clone()
                }
            }
            Evidence::Saturated => self.transition(self.up_vote(), class, text),
            Evidence::LoginRefused => {
                let vote = match self.current.vote {
                    Vote::Up | Vote::UpSteady => self.current.vote,
                    Vote::Down | Vote::Unknown => Vote::Unknown,
                };
                let mut next = self.transition(vote, class, text);
                next.never_logged_in = !self.answered;
                next
            }
            Evidence::Failed if self.failures >= self.settings.failures_to_vote_down() => {
                self.transition(Vote::Down, class, text)
            }
            Evidence::Failed => Transition {
                failing_since_ms: self.current.failing_since_ms,
                ..self.current.clone()
            },
            Evidence::None => self.transition(Vote::Unknown, class, text),
        };
        next.conditions = self.conditions(observation);
        self.tell(next, now_ms)
    }

    /// What a fresh connection met beside a kept session that still works.
    fn note_warning(&mut self, observation: &Observation) {
        match evidence(observation.class) {
            Evidence::Saturated | Evidence::LoginRefused => {
                self.warning = Some((observation.class, bounded_text(&observation.engine_text)));
            }
            Evidence::Answered if observation.fresh => self.warning = None,
            Evidence::Answered | Evidence::Failed | Evidence::None => {}
        }
    }

    /// The finding as the monitor takes it: a server that lives and cannot write has failed where the monitor says so.
    fn finding(&self, observation: &Observation) -> (FindingClass, String) {
        let canary = observation.canary.as_ref().filter(|_| self.settings.canary_votes);
        let report = canary.map(|found| &found.report);
        let writes_fail = report.filter(|report| report.condition() == Condition::WritesFail);
        match (evidence(observation.class), writes_fail) {
            // Writes that hang fill up the connections: a full server is not well either.
            (Evidence::Answered | Evidence::Saturated, Some(report)) => {
                (FindingClass::WritesFail, bounded_text(&report.text))
            }
            _ => (observation.class, bounded_text(&observation.engine_text)),
        }
    }

    /// What ails a data source that answers. Where nothing was answered nothing is known; a refused login changes nothing.
    fn conditions(&mut self, observation: &Observation) -> Vec<ConditionReport> {
        match evidence(observation.class) {
            Evidence::Answered => self.conditions_of_answer(observation),
            Evidence::Saturated => {
                let text = bounded_text(&observation.engine_text);
                let known = self.current.conditions.iter();
                let others = known
                    .filter(|known| known.condition() != Condition::PoolExhausted)
                    .cloned();
                std::iter::once(report(Condition::PoolExhausted, &text))
                    .chain(others)
                    .collect()
            }
            Evidence::LoginRefused => self.current.conditions.clone(),
            Evidence::Failed if self.failures < self.settings.failures_to_vote_down() => {
                self.current.conditions.clone()
            }
            Evidence::Failed | Evidence::None => Vec::new(),
        }
    }

    fn conditions_of_answer(&mut self, observation: &Observation) -> Vec<ConditionReport> {
        let mut found = Vec::new();
        if let Some((FindingClass::TooManyConnections, text)) = &self.warning {
            found.push(report(Condition::PoolExhausted, text));
        }
        if let Some(condition) = Condition::of_finding(observation.class) {
            found.push(report(condition, &observation.engine_text));
        }
        if let Some(role) = &observation.role {
            let lag = role.lag();
            self.lagging = lag.is_some_and(|lag| self.settings.lag.is_passed_by(&lag, self.lagging));
            if self.lagging {
                found.push(ConditionReport {
                    lag,
                    ..report(Condition::ReplicaLag, "")
                });
            }
            if let Some(words) = &role.replication_broken {
                found.push(report(Condition::ReplicationBroken, words));
            }
        }
        found.extend(observation.canary.as_ref().map(|canary| canary.report.clone()));
        found.sort_by_key(|found| found.condition);
        found.dedup_by_key(|found| found.condition);
        found
    }

    /// Nothing was due (the prober backs off after a refused login): the prober lives, there is no evidence.
    pub fn backed_off(&mut self, now_ms: u64) {
        self.last_end_ms = now_ms;
    }

    /// Call it now and then (every interval will do): `unknown` once no attempt has ended for too long. A stuck prober
    /// says nothing about its target.
    pub fn check_overdue(&mut self, now_ms: u64) -> Option<Transition> {
        let limit_ms = self.settings.retry_interval_ms + self.settings.access_timeout_ms + OVERDUE_GRACE_MS;
        let silent_ms = now_ms.saturating_sub(self.last_end_ms);
        if silent_ms <= limit_ms {
            return None;
        }
        self.oks = 0;
        self.failures = 0;
        self.without_evidence = true;
        self.counted_write = None;
        self.current.failing_since_ms = None;
        let text = format!("no attempt has ended for more than {limit_ms} ms");
        let next = self.transition(Vote::Unknown, FindingClass::Overdue, text);
        self.tell(next, now_ms)
    }

    fn count(&mut self, class: FindingClass, now_ms: u64) {
        self.without_evidence = false;
        if !matches!(evidence(class), Evidence::Failed) {
            self.counted_write = None;
        }
        match evidence(class) {
            Evidence::Answered => {
                self.oks = self.oks.saturating_add(1);
                self.failures = 0;
                self.answered = true;
            }
            // They neither add to a run of good attempts nor end it: the kept session may still work.
            Evidence::Saturated | Evidence::LoginRefused => self.failures = 0,
            Evidence::Failed => {
                self.oks = 0;
                self.failures = self.failures.saturating_add(1);
                self.current.failing_since_ms.get_or_insert(now_ms);
            }
            Evidence::None => {
                self.oks = 0;
                self.failures = 0;
                self.without_evidence = true;
            }
        }
        if self.failures == 0 {
            self.current.failing_since_ms = None;
        }
    }

    fn up_vote(&self) -> Vote {
        if self.oks >= STEADY_OKS {
            Vote::UpSteady
        } else {
            Vote::Up
        }
    }

    fn transition(&self, vote: Vote, class: FindingClass, text: String) -> Transition {
        Transition {
            vote,
            class,
            text,
            never_logged_in: false,
            failing_since_ms: self.current.failing_since_ms,
            conditions: Vec::new(),
        }
    }

    /// Keeps `next` and returns it if it is worth a report. A mere change of words is not.
    fn tell(&mut self, next: Transition, now_ms: u64) -> Option<Transition> {
        let vote_changed = next.vote != self.current.vote || next.never_logged_in != self.current.never_logged_in;
        let detail_due = matches!(self.current.class, FindingClass::Refused | FindingClass::None)
            || now_ms.saturating_sub(self.last_told_ms) >= DETAIL_INTERVAL_MS;
        let ails = |transition: &Transition| -> Vec<i32> {
            let conditions = transition.conditions.iter();
            conditions.map(|found| found.condition).collect()
        };
        let detail_changed = next.class != self.current.class || ails(&next) != ails(&self.current);
        if !(vote_changed || detail_changed && detail_due) {
            return None;
        }
        self.last_told_ms = now_ms;
        self.current = next.clone();
        Some(next)
    }
}
