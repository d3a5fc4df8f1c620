//! Why a log or a data directory does not open.

use std::io;
use std::path::PathBuf;

use crate::codec::DecodeError;

/// What to do with a log that has lost something: nothing repairs it, the other nodes hold the data.
const ADVICE: &str = "keep the directory for examination and let this node join the cluster again with an empty one";

/// Why the log refuses to open. Every text names the file or directory and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log ends before what this node has acknowledged to others: entries were lost.
    #[error(
        "the log in {log} ends before index {end}, but {watermark} records that everything before index {acknowledged} was \
         acknowledged: a file of the log was cut or damaged ({suspects}); {ADVICE}"
    )]
    EndsBelowWatermark {
        log: String,
        watermark: String,
        /// First index that the log does not hold.
        end: u64,
        /// First index that was not acknowledged.
        acknowledged: u64,
        /// The write-ahead files that were there.
        suspects: String,
    },
    /// The log lacks a vote that this node has given: it could vote twice in a term.
    #[error(
        "the log in {log} does not hold the vote of term {term} that {watermark} records: a file of the log was cut or \
         damaged ({suspects}); {ADVICE}"
    )]
    VoteLost {
        log: String,
        watermark: String,
        term: u64,
        suspects: String,
    },
    /// Entries lie on both sides of a missing one.
    #[error("the log in {log} has a hole: index {expected} is missing, the next one found is {found}; {ADVICE}")]
    Hole { log: String, expected: u64, found: u64 },
    /// Terms fall along the log, which no Raft log does.
    #[error("the log in {log} is damaged: the term falls at index {index}; {ADVICE}")]
    TermFalls { log: String, index: u64 },
    /// A record is damaged, or of a newer version.
    #[error("{what} in {log} is unusable: {reason}; start the version that wrote it, or {ADVICE}")]
    Record {
        log: String,
        what: String,
        reason: DecodeError,
    },
    /// The log is there, its watermark is not.
    #[error("{0} is missing, which proves that the log beside it is complete; restore it, or {ADVICE}")]
    WatermarkMissing(PathBuf),
    /// Neither slot of the watermark is readable.
    #[error("{0} is damaged in both slots and cannot prove that the log beside it is complete; {ADVICE}")]
    WatermarkDamaged(PathBuf),
    /// The storage engine or the file system refused; the reason names the file where there is one.
    #[error("cannot open {what}: {reason}; where the reason is damage: {ADVICE}")]
    Io { what: String, reason: io::Error },
}

impl LogError {
    /// For `map_err` on I/O of `what`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |reason| Self::Io { what, reason }
    }
}

/// Another error with the same kind and text; [`io::Error`] is not `Clone` and one failure is told to many waiters.
pub(crate) fn same_io_error(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}
