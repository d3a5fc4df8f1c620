//! Writes a snapshot of a state that was frozen at one log index, while newer entries are applied to its successor.
//!
//! One that cannot be written is no reason to stop: the log still holds everything, and of all times a node must not go when
//! its disk runs full. openraft takes an error here for the end of the node, so it is told of a snapshot of nothing instead,
//! which it takes for none, after a pause: it would ask again at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::{AsyncRuntime, Instant, RaftSnapshotBuilder};
use quorate_machine::State;

use super::{Snapshot, SnapshotBlob, SnapshotMeta, SnapshotStore, run_behind, write_snapshot};
use crate::codec::StoredMembership;
use crate::growth::LogGrowth;
use crate::measures::Measures;
use crate::types::TypeConfig;

/// Pause after a snapshot that could not be written; no other one is begun meanwhile.
const FAILURE_PAUSE_MS: u64 = 5_000;

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
    pub growth: LogGrowth,
}

impl<RT: AsyncRuntime> RaftSnapshotBuilder<TypeConfig<RT>> for Builder {
    type SnapshotData = SnapshotBlob;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let content = self
            .content
            .take()
            .ok_or_else(|| io::Error::other("a builder writes one snapshot"))?;
        let begun = RT::Instant::now();
        match self.write(content).await {
            Ok(built) => {
                self.measures.snapshot_build.record(begun.elapsed());
                self.growth.snapshot_is(built.snapshot.length);
                Ok(built)
            }
            Err(error) => {
                self.measures.snapshots_failed.fetch_add(1, Ordering::Relaxed);
                self.growth.snapshot_is(0);
                tracing::error!("no snapshot was written, and the log cannot be shortened: {error}");
                RT::sleep(Duration::from_millis(FAILURE_PAUSE_MS)).await;
                Ok(nothing())
            }
        }
    }
}

impl Builder {
    async fn write(&self, content: SnapshotContent) -> io::Result<Snapshot> {
        let store = self.store.clone();
        let cluster_id = self.cluster_id.clone();
        run_behind(self.store.as_ref(), move || {
            let mut sink = store.create_behind()?;
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
        .await
    }
}

/// A snapshot of no entry: older than every other one.
fn nothing() -> Snapshot {
    Snapshot {
        meta: SnapshotMeta {
            last_log_id: None,
            last_membership: StoredMembership::default(),
        },
        snapshot: SnapshotBlob {
            name: "none".to_owned(),
            length: 0,
            open: Arc::new(|_| Err(io::ErrorKind::NotFound.into())),
        },
    }
}
