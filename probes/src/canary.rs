//! The write canary: one row, written now and then by an account of its own (C20 `[+]`).
//!
//! Only a write shows a full or stalled disk, and a stalled write hangs for as long as it likes. So the canary runs beside the
//! attempts, at its own pace, and an attempt takes what it found last: no attempt ever waits for a write. It updates a row that is
//! there; it creates nothing and inserts nothing, so that servers that replicate from each other have nothing to quarrel about.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use quorate_machine::{Condition, ConditionReport, FindingClass};
use tokio::{task::AbortHandle, time::Instant};

use crate::{
    failure::Failure,
    observation::{Stage, bounded_text},
};

/// From one write to the next.
pub const CANARY_INTERVAL: Duration = Duration::from_secs(2);
/// Pause after a write that failed: every stuck write may hold a connection of the server.
pub const CANARY_RETRY: Duration = Duration::from_secs(10);

/// What came of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// It is in.
    Written,
    /// The server takes no writes, and says so: its role, not its health.
    ReadOnly,
    /// The server lives and the write failed or hung.
    Failed(String),
    /// Account, right, table or row is missing.
    Unable(String),
    /// The server could not be asked; the attempts find out why.
    Unasked,
}

impl Beat {
    /// What a failed step of a write says. `missing` tells errors about a table or column that is not there.
    pub(crate) fn of_failure(failure: &Failure, missing: bool) -> Self {
        let text = failure.text.clone();
        match failure.class {
            FindingClass::ReadOnly => Beat::ReadOnly,
            FindingClass::Auth | FindingClass::Misconfigured => Beat::Unable(text),
            _ if missing => Beat::Unable(text),
            FindingClass::Timeout | FindingClass::WrongAnswer if failure.stage >= Stage::Query => Beat::Failed(text),
            _ => Beat::Unasked,
        }
    }

    fn condition(&self) -> Option<ConditionReport> {
        let (condition, text) = match self {
            Beat::Failed(text) => (Condition::WritesFail, text),
            Beat::Unable(text) => (Condition::CanaryUnable, text),
            Beat::Written | Beat::ReadOnly | Beat::Unasked => return None,
        };
        Some(ConditionReport {
            condition: condition as i32,
            text: bounded_text(text),
            lag: None,
        })
    }
}

/// Writes the row of one side.
pub(crate) trait Writer: Send + 'static {
    /// Writes once, by `deadline`; keeps its session if that is still good.
    fn write(&mut self, deadline: Instant) -> impl Future<Output = Beat> + Send;
}

/// A canary at work. Dropping it ends it.
pub(crate) struct Canary {
    last: Arc<Mutex<Beat>>,
    task: AbortHandle,
}

impl Canary {
    /// Begins to write, each time within `access_timeout`.
    pub(crate) fn start<W: Writer>(mut writer: W, access_timeout: Duration) -> Self {
        let last = Arc::new(Mutex::new(Beat::Unasked));
        let told = last.clone();
        let task = tokio::spawn(async move {
            loop {
                let beat = writer.write(Instant::now() + access_timeout).await;
                let pause = match &beat {
                    Beat::Written | Beat::ReadOnly => CANARY_INTERVAL,
                    Beat::Failed(_) | Beat::Unable(_) | Beat::Unasked => CANARY_RETRY,
                };
                *told.lock().unwrap_or_else(PoisonError::into_inner) = beat;
                tokio::time::sleep(pause).await;
            }
        });
        Self {
            last,
            task: task.abort_handle(),
        }
    }

    /// What it found last, where that is a finding.
    pub(crate) fn condition(&self) -> Option<ConditionReport> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).condition()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(stage: Stage, class: FindingClass) -> Failure {
        Failure::new(stage, class, "words")
    }

    #[test]
    fn what_a_failed_write_says() {
        let words = || "words".to_owned();
        for (stage, class, beat) in [
            (Stage::Query, FindingClass::Timeout, Beat::Failed(words())),
            (Stage::Query, FindingClass::WrongAnswer, Beat::Failed(words())),
            (Stage::Query, FindingClass::ReadOnly, Beat::ReadOnly),
            (Stage::Query, FindingClass::Auth, Beat::Unable(words())),
            (Stage::Login, FindingClass::Auth, Beat::Unable(words())),
            (Stage::Login, FindingClass::Timeout, Beat::Unasked),
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
        let missing = failure(Stage::Query, FindingClass::WrongAnswer);
        assert_eq!(Beat::of_failure(&missing, true), Beat::Unable(words()));
    }

    /// Fails the second write for good.
    struct Failing(u32);

    impl Writer for Failing {
        async fn write(&mut self, _deadline: Instant) -> Beat {
            self.0 += 1;
            match self.0 {
                1 => Beat::Written,
                _ => Beat::Failed("disk full".to_owned()),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_found_last_stands_until_the_next_write() {
        let canary = Canary::start(Failing(0), Duration::from_secs(1));
        tokio::time::sleep(CANARY_INTERVAL / 2).await;
        assert_eq!(canary.condition(), None);
        tokio::time::sleep(CANARY_INTERVAL).await;
        let found = canary.condition().expect("a finding");
        assert_eq!(
            (found.condition(), found.text.as_str()),
            (Condition::WritesFail, "disk full")
        );
    }
}
