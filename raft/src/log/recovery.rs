//! Opening a log: read all of it once, check it against itself and against the watermark, keep the tail.
//!
//! The whole log is read because a flipped bit must be found now and not when a lagging peer asks; snapshots bound its
//! length.

use openraft::LogIdOptionExt;

use super::engine::{Acknowledged, Location, LogReads, StoredMeta};
use super::error::LogError;
use super::tail::Tail;
use crate::codec::{self, Entry, LogId, Vote};

/// Bytes read from the engine at a time.
const SCAN_BYTES: usize = 4 << 20;

/// What an opened log holds.
pub(crate) struct Recovered {
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    pub tail: Tail,
}

/// Reads and checks everything.
pub(crate) fn recover(engine: &impl LogReads) -> Result<Recovered, LogError> {
    let location = engine.location();
    let meta = engine.meta().map_err(LogError::io(&location.log))?;
    let (purged, vote) = decode_meta(&location, &meta)?;
    let committed = decode(&location, "the committed log id", &meta.committed, codec::decode_log_id)?;

    let mut tail = Tail::new(purged);
    loop {
        let next = tail.end();
        let found = engine
            .read(next..u64::MAX, SCAN_BYTES)
            .map_err(LogError::io(&location.log))?;
        if found.is_empty() {
            break;
        }
        for (index, encoded) in found {
            let entry = codec::decode_entry(&encoded).map_err(|reason| LogError::Record {
                log: location.log.clone(),
                what: format!("entry {index}"),
                reason,
            })?;
            check_next(&location, &tail, index, &entry)?;
            tail.recovered(entry, encoded);
        }
    }
    check_watermark(&location, engine.acknowledged(), tail.end(), vote.as_ref())?;
    // The record may run ahead of the log when a snapshot was being installed; less is always safe.
    let committed = committed.min(tail.last_log_id());
    Ok(Recovered { vote, committed, tail })
}

fn check_next(location: &Location, tail: &Tail, index: u64, entry: &Entry) -> Result<(), LogError> {
    let log = || location.log.clone();
    let expected = tail.last_log_id().next_index();
    if index != expected || entry.log_id.index != index {
        return Err(LogError::Hole {
            log: log(),
            expected,
            found: index.max(entry.log_id.index),
        });
    }
    if tail.last_log_id() > Some(entry.log_id) {
        return Err(LogError::TermFalls { log: log(), index });
    }
    Ok(())
}

/// Decodes the log id of the last purged entry, and the vote.
pub(crate) fn decode_meta(location: &Location, meta: &StoredMeta) -> Result<(Option<LogId>, Option<Vote>), LogError> {
    let purged = decode(location, "the purged log id", &meta.purged, codec::decode_log_id)?;
    let vote = decode(location, "the vote", &meta.vote, codec::decode_vote)?;
    Ok((purged, vote))
}

fn decode<T>(
    location: &Location,
    what: &str,
    bytes: &Option<bytes::Bytes>,
    decode: fn(&bytes::Bytes) -> Result<T, codec::DecodeError>,
) -> Result<Option<T>, LogError> {
    bytes
        .as_ref()
        .map(decode)
        .transpose()
        .map_err(|reason| LogError::Record {
            log: location.log.clone(),
            what: what.into(),
            reason,
        })
}

/// Refuses a log that ends below the watermark or lacks the vote that it records.
pub(crate) fn check_watermark(
    location: &Location,
    acknowledged: Acknowledged,
    end: u64,
    vote: Option<&Vote>,
) -> Result<(), LogError> {
    let Location {
        log,
        watermark,
        write_ahead,
    } = location.clone();
    if end < acknowledged.end {
        return Err(LogError::EndsBelowWatermark {
            log,
            watermark,
            end,
            acknowledged: acknowledged.end,
            suspects: write_ahead,
        });
    }
    let Some((term, candidate)) = acknowledged.vote else {
        return Ok(());
    };
    let kept = vote.is_some_and(|vote| {
        let found = vote.leader_id;
        found.term > term || (found.term == term && found.voted_for == candidate)
    });
    if kept {
        return Ok(());
    }
    Err(LogError::VoteLost {
        log,
        watermark,
        term,
        suspects: write_ahead,
    })
}
