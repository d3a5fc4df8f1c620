//! What one attempt of a prober found.

use std::fmt;

use quorate_machine::{ConditionReport, FindingClass, ReplicaLag};

/// Longest text of an engine that is kept, in bytes (as `VoteReport::text`).
pub const MAX_ENGINE_TEXT_BYTES: usize = 512;

/// How far an attempt came: the step that failed, or the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Name resolution.
    Dns,
    /// TCP connection.
    Tcp,
    /// TLS handshake and verification.
    Tls,
    /// Greeting, login and choice of the database.
    Login,
    /// The query.
    Query,
    /// Role and replication state.
    Role,
    /// The write canary.
    Write,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Dns => "dns",
            Stage::Tcp => "tcp",
            Stage::Tls => "tls",
            Stage::Login => "login",
            Stage::Query => "query",
            Stage::Role => "role",
            Stage::Write => "write",
        })
    }
}

/// Role of a data source that answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleInfo {
    /// The server refuses writes of ordinary accounts.
    pub read_only: bool,
    /// Replication lag as the server itself estimates it; `None` when it replicates from nobody, the link is broken or
    /// the account may not ask. A hint for display, never a measure of lost data.
    pub replication_lag_seconds: Option<u64>,
    /// Bytes of the log that it received and has not applied, where its engine counts them.
    pub replication_lag_bytes: Option<u64>,
    /// Transactions that it received and has not applied, where its engine counts them.
    pub replication_lag_transactions: Option<u64>,
    /// It replicates from another server, and link or applier stands still: in the engine's own words.
    pub replication_broken: Option<String>,
    /// Client connections, where the account may ask for them.
    pub connections: Option<Connections>,
    /// How long before the end of the attempt the oldest of lag, replication and connections was measured, milliseconds: some of
    /// it is asked on fresh connections only.
    pub facts_age_ms: u64,
    /// Version as the server names it.
    pub server_version: String,
}

impl RoleInfo {
    /// How far it is behind; `None` where nothing is known of it.
    pub fn lag(&self) -> Option<ReplicaLag> {
        let lag = ReplicaLag {
            seconds: self.replication_lag_seconds,
            bytes: self.replication_lag_bytes,
            transactions: self.replication_lag_transactions,
        };
        (lag != ReplicaLag::default()).then_some(lag)
    }
}

/// Client connections of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// Open now.
    pub used: u64,
    /// Most that ordinary accounts can open; `None` where the server tells none.
    pub limit: Option<u64>,
}

/// What a write canary found: writes fail, or it cannot do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryFinding {
    /// The sub-health with the engine's own words.
    pub report: ConditionReport,
    /// Writes of this canary that have failed so far. Attempts that bring the same number speak of the same write.
    pub failed_writes: u64,
}

/// Result of one attempt against one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The step that failed, or the last one.
    pub stage: Stage,
    /// The finding; [`FindingClass::Ok`], `ReadOnly` and `Slow` mean that a query was answered.
    pub class: FindingClass,
    /// The engine's own words, at most [`MAX_ENGINE_TEXT_BYTES`] bytes in one line; empty when all is well.
    pub engine_text: String,
    /// Present when a query was answered.
    pub role: Option<RoleInfo>,
    /// What the write canary found, where there is one.
    pub canary: Option<CanaryFinding>,
    /// Duration of the whole attempt in microseconds.
    pub latency_us: u64,
    /// The attempt opened a connection of its own (it did not use the kept session).
    pub fresh: bool,
}

/// Result of one step of a connection test (C6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageResult {
    /// The step.
    pub stage: Stage,
    /// [`FindingClass::Ok`] or what is wrong.
    pub class: FindingClass,
    /// What was found, in the engine's own words where it failed; at most [`MAX_ENGINE_TEXT_BYTES`] bytes.
    pub text: String,
    /// Duration of the step in microseconds.
    pub latency_us: u64,
}

/// Makes one bounded line of an engine's text: control characters become blanks, the end is cut at a character boundary.
pub fn bounded_text(text: &str) -> String {
    let mut end = text.len().min(MAX_ENGINE_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    // A control character beyond ASCII takes more bytes than its blank: the bound holds.
    text[..end].chars().map(clean).collect()
}

#[cfg(test)]
mod tests {
    use super::{MAX_ENGINE_TEXT_BYTES, bounded_text};

    #[test]
    fn texts_are_one_bounded_line() {
        assert_eq!(bounded_text("a\r\nb\u{85}c\0"), "a  b c ");
        let long = "数".repeat(MAX_ENGINE_TEXT_BYTES);
        let bounded = bounded_text(&long);
        assert_eq!(bounded.len(), MAX_ENGINE_TEXT_BYTES / 3 * 3);
        assert!(long.starts_with(&bounded));
    }
}
