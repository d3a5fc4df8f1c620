//! Writes a snapshot of a state that was frozen at one log index, while newer entries are applied to its successor.

use std::io;
use std::sync::Arc;

use openraft::{AsyncRuntime, Instant, RaftSnapshotBuilder};
use quorate_machine::State;

use super::{Snapshot, SnapshotBlob, SnapshotMeta, SnapshotStore, run, write_snapshot};
use crate::measures::Measures;
use crate::types::TypeConfig;

/// What is written: the cut and its place in the log.
pub(crate) struct SnapshotContent {
    pub meta: SnapshotMeta,
    pub state: State,
}

/// Writes one snapshot.
pub(crate) struct Builder {
    pub store: Arc<dyn SnapshotStore>,
    pub cluster_id: Arc<str>,
    /// Taken by the first build.
    pub content: Option<SnapshotContent>,
    pub measures: Arc<Measures>,
}

impl<RT: AsyncRuntime> RaftSnapshotBuilder<TypeConfig<RT>> for Builder {
    type SnapshotData = SnapshotBlob;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let content = self
            .content
            .take()
            .ok_or_else(|| io::Error::other("a builder writes one snapshot"))?;
        let begun = RT::Instant::now();
        let store = self.store.clone();
        let cluster_id = self.cluster_id.clone();
        let built = run(self.store.as_ref(), move || {
            let mut sink = store.create()?;
            let SnapshotContent { meta, state } = content;
            write_snapshot(&mut sink, &cluster_id, &meta, &state).map_err(io::Error::other)?;
            let (term, index) = meta.last_log_id.map_or((0, 0), |id| (id.leader_id.term, id.index));
            let snapshot = sink.finish(term, index)?;
            tracing::info!(
                "wrote the snapshot {}: {} bytes, index {index}",
                snapshot.name,
                snapshot.length
            );
            Ok(Snapshot { meta, snapshot })
        })
        .await?;
        self.measures.snapshot_build.record(begun.elapsed());
        Ok(built)
    }
}
