//! The write canary: one row, written now and then by an account of its own (C20 `[+]`).
//!
//! Only a write shows a full or stalled disk, and a stalled write hangs for as long as it likes. So the canary runs beside the
//! attempts, at its own pace, and an attempt takes what it found last: no attempt ever waits for a write. It updates a row that is
//! there; it creates nothing and inserts nothing, so that servers that replicate from each other have nothing to quarrel about.
//!
//! One failed write is no finding: it is made again at once, and only the second one in a row is told.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use quorate_machine::{Condition, ConditionReport, FindingClass, ProbedCanary, TlsSpec};
use tokio::task::AbortHandle;

use crate::{
    ProbeTarget, Secret,
    failure::Failure,
    kept::LOGIN_BACKOFF,
    observation::{CanaryFinding, Observation, Stage, bounded_text},
};

/// From one write to the next.
pub const CANARY_INTERVAL: Duration = Duration::from_secs(2);
/// From a first failed write to the one that confirms it.
pub const CANARY_CONFIRMATION: Duration = Duration::from_millis(500);
/// Longest pause after a failure that is known: every stuck write may hold a connection of the server.
pub const CANARY_RETRY: Duration = Duration::from_secs(10);
/// The same pause in access timeouts, where that is shorter: who wants to know soon asks soon.
const RETRY_ACCESS_TIMEOUTS: u32 = 4;
/// Failed writes in a row that make a finding.
const FAILED_WRITES_TO_TELL: u32 = 2;

/// What came of a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Beat {
    /// It is in.
    Written,
    /// The server takes no writes, and says so: its role, not its health.
    ReadOnly,
    /// The server lives and the write hung, or its storage failed.
    Failed(String),
    /// Right, table or row is missing, or the server refuses this write for a reason of its own.
    Unable(String),
    /// The login was refused.
    Refused(String),
    /// The server could not be asked; the attempts find out why.
    #[default]
    Unasked,
}

impl Beat {
    /// What a failed step of a write says. `storage`: the server says that its disk or its files failed.
    pub(crate) fn of_failure(failure: &Failure, storage: bool) -> Self {
        let text = failure.text.clone();
        match failure.class {
            _ if storage => Beat::Failed(text),
            FindingClass::ReadOnly => Beat::ReadOnly,
            FindingClass::Auth if failure.stage < Stage::Query => Beat::Refused(text),
            FindingClass::Auth | FindingClass::Misconfigured => Beat::Unable(text),
            FindingClass::Timeout if failure.stage >= Stage::Query => Beat::Failed(text),
            FindingClass::WrongAnswer if failure.stage >= Stage::Query => Beat::Unable(text),
            _ => Beat::Unasked,
        }
    }
}

/// Writes the row of one side.
pub(crate) trait Writer: Send + 'static {
    /// Writes once; keeps its session if that is still good. `limit` bounds the way to a session that answers, and then the write
    /// by itself: only a write that hangs has failed.
    fn write(&mut self, limit: Duration) -> impl Future<Output = Beat> + Send;
}

/// What a canary has found so far.
#[derive(Debug, Default)]
struct Found {
    /// The last word on writes.
    standing: Beat,
    /// Writes that failed in a row up to now.
    failed_in_a_row: u32,
    /// Failed writes of this canary.
    failed_writes: u64,
    /// The attempts beside it are answered.
    answering: bool,
}

impl Found {
    /// Takes what came of a write; gives the pause before the next one. `retry`: the one after a failure that is known.
    fn take(&mut self, beat: Beat, retry: Duration) -> Duration {
        match &beat {
            // A server that answers and lets the canary not in is as it was: a stalled disk fills up the connections.
            Beat::Unasked if self.answering => return retry,
            Beat::Failed(_) => {
                self.failed_in_a_row = self.failed_in_a_row.saturating_add(1);
                self.failed_writes += 1;
            }
            _ => self.failed_in_a_row = 0,
        }
        self.standing = beat;
        match &self.standing {
            Beat::Written | Beat::ReadOnly => CANARY_INTERVAL,
            Beat::Failed(_) if self.failed_in_a_row < FAILED_WRITES_TO_TELL => CANARY_CONFIRMATION,
            // Some servers lock an account whose login fails too often.
            Beat::Refused(_) => LOGIN_BACKOFF,
            Beat::Failed(_) | Beat::Unable(_) | Beat::Unasked => retry,
        }
    }

    fn finding(&self) -> Option<CanaryFinding> {
        let (condition, text) = match &self.standing {
            Beat::Failed(text) if self.failed_in_a_row >= FAILED_WRITES_TO_TELL => (Condition::WritesFail, text),
            Beat::Unable(text) | Beat::Refused(text) => (Condition::CanaryUnable, text),
            Beat::Failed(_) | Beat::Written | Beat::ReadOnly | Beat::Unasked => return None,
        };
        Some(CanaryFinding {
            report: ConditionReport {
                condition: condition as i32,
                text: bounded_text(text),
                lag: None,
            },
            failed_writes: self.failed_writes,
        })
    }
}

/// A canary at work. Dropping it ends it.
pub(crate) struct Canary {
    found: Arc<Mutex<Found>>,
    task: AbortHandle,
}

impl Canary {
    /// Begins to write, each time within the limits of [`Writer::write`].
    pub(crate) fn start<W: Writer>(mut writer: W, access_timeout: Duration) -> Self {
        let found = Arc::new(Mutex::new(Found::default()));
        let told = found.clone();
        let retry = (access_timeout * RETRY_ACCESS_TIMEOUTS).clamp(CANARY_INTERVAL, CANARY_RETRY);
        let task = tokio::spawn(async move {
            loop {
                let beat = writer.write(access_timeout).await;
                let pause = told.lock().unwrap_or_else(PoisonError::into_inner).take(beat, retry);
                tokio::time::sleep(pause).await;
            }
        });
        Self {
            found,
            task: task.abort_handle(),
        }
    }

    /// What it found last, where that is a finding, for the observation of an attempt.
    pub(crate) fn beside(&self, attempt: &Observation) -> Option<CanaryFinding> {
        let lives = matches!(attempt.class, FindingClass::TooManyConnections | FindingClass::Auth);
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.answering = attempt.role.is_some() || lives;
        found.finding()
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Canary")
    }
}

/// What a canary writes, where and as whom.
#[derive(PartialEq, Eq)]
pub(crate) struct Place {
    kind: &'static str,
    address: String,
    tls: TlsSpec,
    canary: ProbedCanary,
    password: zeroize::Zeroizing<String>,
    access_timeout: Duration,
}

impl Place {
    /// Where the canary of a side writes.
    pub(crate) fn of(target: &ProbeTarget, canary: &ProbedCanary, password: &Secret) -> Self {
        Self {
            kind: target.side.kind,
            address: target.side.addresses.first().cloned().unwrap_or_default(),
            tls: target.side.tls.clone(),
            // What a finding counts for is the judges' business.
            canary: ProbedCanary {
                votes: false,
                ..canary.clone()
            },
            password: password.expose().to_owned().into(),
            access_timeout: target.access_timeout,
        }
    }
}

/// The canaries at work of all targets of a node; clones share them. Many monitors of one server are one writer there and not many.
#[derive(Clone, Default)]
pub struct Canaries(Arc<Mutex<Vec<Lent>>>);

/// A writer in use and its place; it ends with the last that uses it.
type Lent = (Place, Weak<Canary>);

impl Canaries {
    /// The canary of a place, or a new one. It ends with the last target that uses it.
    pub(crate) fn of(&self, place: Place, start: impl FnOnce() -> Canary) -> Arc<Canary> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(_, canary)| canary.strong_count() > 0);
        let found = known.iter().find(|(other, _)| *other == place);
        if let Some(canary) = found.and_then(|(_, canary)| canary.upgrade()) {
            return canary;
        }
        let canary = Arc::new(start());
        known.push((place, Arc::downgrade(&canary)));
        canary
    }
}

impl fmt::Debug for Canaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Canaries")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use tokio::time::Instant;

    use super::*;
    use crate::observation::RoleInfo;

    const ACCESS_TIMEOUT: Duration = Duration::from_secs(1);
    const RETRY: Duration = Duration::from_secs(4);

    fn failure(stage: Stage, class: FindingClass) -> Failure {
        Failure::new(stage, class, "words")
    }

    fn failed() -> Beat {
        Beat::Failed("disk full".to_owned())
    }

    /// An attempt that was answered, or not.
    fn attempt(class: FindingClass) -> Observation {
        let answered = failure(Stage::Query, class).observed(Instant::now(), false);
        Observation {
            role: (class == FindingClass::Ok).then(RoleInfo::default),
            ..answered
        }
    }

    #[test]
    fn what_a_failed_write_says() {
        let words = || "words".to_owned();
        for (stage, class, beat) in [
            (Stage::Query, FindingClass::Timeout, Beat::Failed(words())),
            (Stage::Query, FindingClass::WrongAnswer, Beat::Unable(words())),
            (Stage::Query, FindingClass::ReadOnly, Beat::ReadOnly),
            (Stage::Query, FindingClass::Auth, Beat::Unable(words())),
            (Stage::Login, FindingClass::Auth, Beat::Refused(words())),
            (Stage::Login, FindingClass::Timeout, Beat::Unasked),
            (Stage::Login, FindingClass::WrongAnswer, Beat::Unasked),
            (Stage::Tcp, FindingClass::Refused, Beat::Unasked),
            (Stage::Login, FindingClass::TooManyConnections, Beat::Unasked),
            (Stage::Query, FindingClass::ServerStarting, Beat::Unasked),
        ] {
            assert_eq!(
                Beat::of_failure(&failure(stage, class), false),
                beat,
                "{stage} {class:?}"
            );
        }
        let full = failure(Stage::Query, FindingClass::WrongAnswer);
        assert_eq!(Beat::of_failure(&full, true), Beat::Failed(words()));
    }

    #[test]
    fn one_failed_write_is_no_finding_and_is_made_again_soon() {
        let mut found = Found::default();
        assert_eq!(found.take(Beat::Written, RETRY), CANARY_INTERVAL);
        assert_eq!(found.take(failed(), RETRY), CANARY_CONFIRMATION);
        assert_eq!(found.finding(), None);
        assert_eq!(found.take(Beat::Written, RETRY), CANARY_INTERVAL);
        assert_eq!(found.take(failed(), RETRY), CANARY_CONFIRMATION);
        assert_eq!(found.finding(), None, "not in a row");
        assert_eq!(found.take(failed(), RETRY), RETRY);
        let told = found.finding().expect("a finding");
        assert_eq!(
            (told.report.condition(), told.report.text.as_str(), told.failed_writes),
            (Condition::WritesFail, "disk full", 3)
        );
        assert_eq!(found.take(failed(), RETRY), RETRY);
        assert_eq!(found.finding().map(|told| told.failed_writes), Some(4));
        found.take(Beat::Written, RETRY);
        assert_eq!(found.finding(), None);
    }

    #[test]
    fn a_canary_that_is_not_let_in_takes_nothing_back_while_the_server_answers() {
        let mut found = Found {
            answering: true,
            ..Found::default()
        };
        found.take(failed(), RETRY);
        assert_eq!(found.take(Beat::Unasked, RETRY), RETRY);
        found.take(failed(), RETRY);
        assert!(found.finding().is_some(), "nothing was written in between");
        found.take(Beat::Unasked, RETRY);
        assert!(found.finding().is_some());
        found.answering = false;
        found.take(Beat::Unasked, RETRY);
        assert_eq!(found.finding(), None, "the server is gone, and with it what was known");
    }

    #[test]
    fn a_refused_login_is_not_tried_again_at_once() {
        let mut found = Found::default();
        assert_eq!(found.take(Beat::Refused("1045".to_owned()), RETRY), LOGIN_BACKOFF);
        let told = found.finding().expect("a finding");
        assert_eq!(told.report.condition(), Condition::CanaryUnable);
        assert_eq!(found.take(Beat::Unable("1146".to_owned()), RETRY), RETRY);
    }

    /// Writes as told, and after that well.
    struct Scripted(VecDeque<Beat>);

    impl Writer for Scripted {
        async fn write(&mut self, limit: Duration) -> Beat {
            assert_eq!(limit, ACCESS_TIMEOUT);
            self.0.pop_front().unwrap_or(Beat::Written)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_found_last_stands_until_the_next_write() {
        let script = [Beat::Written, failed(), failed(), Beat::Unasked];
        let canary = Canary::start(Scripted(script.into()), ACCESS_TIMEOUT);
        let told = |class| canary.beside(&attempt(class)).map(|found| found.report.condition());
        tokio::time::sleep(CANARY_INTERVAL + CANARY_CONFIRMATION / 2).await;
        assert_eq!(told(FindingClass::Ok), None, "one write has failed");
        tokio::time::sleep(CANARY_CONFIRMATION).await;
        assert_eq!(told(FindingClass::Ok), Some(Condition::WritesFail));
        // The next write finds no connection free, as the attempts do.
        assert_eq!(told(FindingClass::TooManyConnections), Some(Condition::WritesFail));
        tokio::time::sleep(RETRY).await;
        assert_eq!(told(FindingClass::Ok), Some(Condition::WritesFail));
        tokio::time::sleep(RETRY).await;
        assert_eq!(told(FindingClass::Ok), None, "it writes again");
    }

    #[tokio::test(start_paused = true)]
    async fn targets_that_write_the_same_row_are_one_writer() {
        let place = |row: u32, password: &str| Place {
            kind: "mysql",
            address: "10.0.0.1:3306".to_owned(),
            tls: TlsSpec::default(),
            canary: ProbedCanary {
                user: "quorate_canary".to_owned(),
                database: "ops".to_owned(),
                table: "quorate_canary".to_owned(),
                row,
                votes: false,
            },
            password: password.to_owned().into(),
            access_timeout: ACCESS_TIMEOUT,
        };
        let (canaries, started) = (Canaries::default(), AtomicUsize::new(0));
        let of = |row: u32, password: &str| {
            canaries.of(place(row, password), || {
                started.fetch_add(1, Ordering::SeqCst);
                Canary::start(Scripted(VecDeque::new()), ACCESS_TIMEOUT)
            })
        };
        let (first, second) = (of(1, "pw"), of(1, "pw"));
        assert!(Arc::ptr_eq(&first, &second));
        let others = (of(2, "pw"), of(1, "another"));
        assert_eq!(started.load(Ordering::SeqCst), 3);
        drop(first);
        drop(of(1, "pw"));
        assert_eq!(started.load(Ordering::SeqCst), 3, "the second one still uses it");
        drop(second);
        drop(of(1, "pw"));
        assert_eq!(started.load(Ordering::SeqCst), 4, "it ended with the last one");
        drop(others);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_went_away_begins_anew() {
        let script = [failed(), failed(), Beat::Unasked];
        let canary = Canary::start(Scripted(script.into()), ACCESS_TIMEOUT);
        tokio::time::sleep(CANARY_CONFIRMATION * 2).await;
        assert!(canary.beside(&attempt(FindingClass::Refused)).is_some());
        tokio::time::sleep(RETRY).await;
        assert_eq!(canary.beside(&attempt(FindingClass::Ok)), None);
    }
}
