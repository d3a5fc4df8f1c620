//! The one table from the driver's and the server's errors to findings.

use std::{error::Error as StdError, io};

use quorate_machine::FindingClass;
use redis::RedisError;

use crate::{
    failure::{Failure, classify_io, stage_of_io},
    observation::Stage,
};

/// Finding behind an error reply: its first word and the rest of the line (sources of Redis 7, `server.c`, `networking.c`).
/// What is not named here is a wrong answer: the server refused a plain `PING` or `INFO`.
///
/// `MISCONF` (the last snapshot to disk failed, most often because the disk is full) is a server that answers reads and
/// refuses writes: alive, with all of its data. It is read-only, a sub-health, and no reason to leave it: a switch away from
/// a primary that still holds everything, to an asynchronous copy that may not, is an operator's decision.
pub fn classify_reply(code: &str, detail: &str) -> FindingClass {
    let says = |words: &str| detail.to_ascii_lowercase().contains(words);
    match code {
        "WRONGPASS" | "NOAUTH" | "NOPERM" | "DENIED" => FindingClass::Auth,
        "LOADING" => FindingClass::ServerStarting,
        "READONLY" | "MISCONF" | "NOREPLICAS" | "OOM" => FindingClass::ReadOnly,
        "ERR" if says("max number of clients") => FindingClass::TooManyConnections,
        // Before 6.0, and a password for a server that has none.
        "ERR" if says("invalid password") || says("auth") || says("permission") => FindingClass::Auth,
        // A script that does not end: nothing else is served meanwhile.
        "BUSY" => FindingClass::Timeout,
        _ => FindingClass::WrongAnswer,
    }
}

/// Step, finding and text of a driver's error. `stage` is where the caller was.
pub(super) fn classify(error: &RedisError, stage: Stage) -> Failure {
    if let Some(code) = error.code() {
        let detail = error.detail().unwrap_or_default();
        let text = format!("{code} {detail}");
        return Failure::new(stage, classify_reply(code, detail), text.trim_end());
    }
    match io_of(error) {
        Some(io) => {
            let class = classify_io(io);
            Failure::new(stage_of_io(class, stage), class, &io.to_string())
        }
        None => Failure::new(stage, FindingClass::WrongAnswer, &error.to_string()),
    }
}

fn io_of(error: &RedisError) -> Option<&io::Error> {
    let mut cause = error.source();
    while let Some(found) = cause {
        if let Some(io) = found.downcast_ref::<io::Error>() {
            return Some(io);
        }
        // The driver shares its errors.
        if let Some(io) = found.downcast_ref::<std::sync::Arc<io::Error>>() {
            return Some(io);
        }
        cause = found.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reply_has_its_row() {
        use FindingClass::*;
        for (code, detail, class) in [
            ("WRONGPASS", "invalid username-password pair or user is disabled.", Auth),
            ("NOAUTH", "Authentication required.", Auth),
            ("NOPERM", "User mon has no permissions to run the 'info' command", Auth),
            ("ERR", "AUTH <password> called without any password configured", Auth),
            ("ERR", "Client sent AUTH, but no password is set", Auth),
            ("ERR", "invalid password", Auth),
            ("DENIED", "Redis is running in protected mode", Auth),
            ("ERR", "max number of clients reached", TooManyConnections),
            ("LOADING", "Redis is loading the dataset in memory", ServerStarting),
            ("MISCONF", "Redis is configured to save RDB snapshots", ReadOnly),
            ("READONLY", "You can't write against a read only replica.", ReadOnly),
            ("MASTERDOWN", "Link with MASTER is down", WrongAnswer),
            ("CLUSTERDOWN", "The cluster is down", WrongAnswer),
            ("BUSY", "Redis is busy running a script.", Timeout),
            ("ERR", "unknown command", WrongAnswer),
        ] {
            assert_eq!(classify_reply(code, detail), class, "{code} {detail}");
        }
    }
}
