//! The simulated log engine with the planted bugs of a disk.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use openraft_rt_sim::SimRuntime;

use super::PlantedBug;
use crate::log::{Acknowledged, Batch, Location, LogEngine, LogReads, Operation, SimEngine, StoredMeta};

/// A [`SimEngine`] that may have a bug.
pub(crate) struct BuggyEngine {
    pub engine: SimEngine<SimRuntime>,
    pub bug: Option<PlantedBug>,
}

impl BuggyEngine {
    fn has(&self, bug: PlantedBug) -> bool {
        self.bug == Some(bug)
    }
}

impl LogReads for BuggyEngine {
    fn meta(&self) -> io::Result<StoredMeta> {
        self.engine.meta()
    }

    fn read(&self, range: Range<u64>, max_bytes: usize) -> io::Result<Vec<(u64, Bytes)>> {
        self.engine.read(range, max_bytes)
    }

    fn acknowledged(&self) -> Acknowledged {
        // The watermark would notice either bug of the disk.
        match self.bug {
            Some(PlantedBug::AckBeforeFlush | PlantedBug::ForgottenVote) => Acknowledged::default(),
            _ => self.engine.acknowledged(),
        }
    }

    fn location(&self) -> Location {
        self.engine.location()
    }
}

impl LogEngine for BuggyEngine {
    async fn write(&self, mut batch: Batch) -> io::Result<()> {
        if self.has(PlantedBug::AckBeforeFlush) {
            batch.sync = batch
                .operations
                .iter()
                .any(|operation| matches!(operation, Operation::Vote(_)));
        }
        if self.has(PlantedBug::ForgottenVote) {
            batch
                .operations
                .retain(|operation| !matches!(operation, Operation::Vote(_)));
        }
        self.engine.write(batch).await
    }

    fn note_acknowledged(&self, end: u64) -> io::Result<()> {
        self.engine.note_acknowledged(end)
    }

    async fn raise_watermark(&self, end: u64, vote: (u64, u64)) -> io::Result<()> {
        self.engine.raise_watermark(end, vote).await
    }

    async fn lower_watermark(&self, end: u64) -> io::Result<()> {
        self.engine.lower_watermark(end).await
    }
}
