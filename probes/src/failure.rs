//! A failed step of an attempt, and what every engine's failures have in common: the operating system's errors.

use std::{error::Error as StdError, fmt, io};

use quorate_machine::FindingClass;
use rustix::io::Errno;
use tokio::time::Instant;

use crate::observation::{Observation, Stage, bounded_text};

/// A failed step of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) stage: Stage,
    pub(crate) class: FindingClass,
    /// The engine's own words, bounded.
    pub(crate) text: String,
}

impl Failure {
    /// A failure with its text bounded.
    pub(crate) fn new(stage: Stage, class: FindingClass, text: &str) -> Self {
        Self {
            stage,
            class,
            text: bounded_text(text),
        }
    }

    /// No answer since `started`; `what` says to what.
    pub(crate) fn timed_out(stage: Stage, what: &str, started: Instant) -> Self {
        let text = format!("{what} within {} ms", started.elapsed().as_millis());
        Self::new(stage, FindingClass::Timeout, &text)
    }

    /// An error of the operating system or of the encryption; `stage` is where the caller was.
    pub(crate) fn of_io(error: &io::Error, stage: Stage) -> Self {
        let class = classify_io(error);
        Self::new(stage_of_io(class, stage), class, &error.to_string())
    }

    /// The observation of an attempt that ended with this failure.
    pub(crate) fn observed(self, started: Instant, fresh: bool) -> Observation {
        Observation {
            stage: self.stage,
            class: self.class,
            engine_text: self.text,
            role: None,
            canary: None,
            latency_us: micros_since(started),
            fresh,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}: {}", self.stage, self.class, self.text)
    }
}

/// Microseconds since `started`.
pub(crate) fn micros_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Milliseconds since `moment`; 0 where there was none.
pub(crate) fn age_ms(moment: Option<Instant>) -> u64 {
    moment.map_or(0, |moment| micros_since(moment) / 1_000)
}

/// Finding behind an error of the operating system.
pub fn classify_io(error: &io::Error) -> FindingClass {
    if error.get_ref().is_some_and(is_tls) {
        return FindingClass::Tls;
    }
    let shortage = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::ADDRNOTAVAIL,
    ];
    if let Some(number) = error.raw_os_error()
        && shortage.iter().any(|errno| errno.raw_os_error() == number)
    {
        return FindingClass::OwnShortage;
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => FindingClass::Refused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => FindingClass::Unreachable,
        io::ErrorKind::TimedOut => FindingClass::Timeout,
        // Reset, closed or garbled after the connection stood. Not `Refused`: that says that no process listens.
        _ => FindingClass::WrongAnswer,
    }
}

/// A refusal by the network itself happens before any login.
pub(crate) fn stage_of_io(class: FindingClass, stage: Stage) -> Stage {
    match class {
        FindingClass::Tls => Stage::Tls,
        FindingClass::Refused | FindingClass::Unreachable | FindingClass::OwnShortage => Stage::Tcp,
        _ => stage,
    }
}

fn is_tls(error: &(dyn StdError + Send + Sync + 'static)) -> bool {
    error.is::<rustls::Error>()
}
