//! openraft's conformance suite on the log on disk and on the simulated one.

mod log_common;

use std::io;
use std::marker::PhantomData;

use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot, SnapshotMeta};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::alias::SnapshotMetaOf;
use openraft::{AsyncRuntime, EntryPayload, OptionalSend, StorageError};
use openraft_rt_sim::SimRuntime;
use openraft_rt_tokio::TokioRuntime;
use quorate_machine::Reply;
use quorate_raft::codec::{LogId, StoredMembership};
use quorate_raft::log::{LogStore, SimDisk, SimDiskOptions};
use quorate_raft::{Applied, Member, TypeConfig};
use tempfile::TempDir;

type Meta = SnapshotMeta<quorate_raft::codec::CommittedLeaderId, u64, Member>;

/// A state machine that remembers only how far it is.
#[derive(Default)]
struct Position<RT> {
    applied: Option<LogId>,
    membership: StoredMembership,
    snapshot: Option<Meta>,
    runtime: PhantomData<fn() -> RT>,
}

impl<RT: AsyncRuntime> RaftStateMachine<TypeConfig<RT>> for Position<RT> {
    type SnapshotData = ();
    type SnapshotBuilder = Cut;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig<RT>>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            self.applied = Some(entry.log_id);
            if let EntryPayload::Membership(membership) = entry.payload {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
            }
            if let Some(responder) = responder {
                responder.send(Applied {
                    replies: vec![Reply::default()],
                });
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Cut {
        let meta = Meta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
        };
        self.snapshot = Some(meta.clone());
        Cut(meta)
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<TypeConfig<RT>>, _: ()) -> Result<(), io::Error> {
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.snapshot = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<openraft::type_config::alias::SnapshotOf<TypeConfig<RT>, ()>>, io::Error> {
        Ok(self.snapshot.clone().map(|meta| Snapshot { meta, snapshot: () }))
    }
}

struct Cut(Meta);

impl<RT: AsyncRuntime> RaftSnapshotBuilder<TypeConfig<RT>> for Cut {
    type SnapshotData = ();

    async fn build_snapshot(
        &mut self,
    ) -> Result<openraft::type_config::alias::SnapshotOf<TypeConfig<RT>, ()>, io::Error> {
        Ok(Snapshot {
            meta: self.0.clone(),
            snapshot: (),
        })
    }
}

fn position<RT>() -> Position<RT> {
    Position {
        applied: None,
        membership: StoredMembership::default(),
        snapshot: None,
        runtime: PhantomData,
    }
}

struct OnDisk;

impl StoreBuilder<TypeConfig<TokioRuntime>, LogStore<TokioRuntime>, Position<TokioRuntime>, TempDir> for OnDisk {
    async fn build(
        &self,
    ) -> Result<(TempDir, LogStore<TokioRuntime>, Position<TokioRuntime>), StorageError<TypeConfig<TokioRuntime>>> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = log_common::open(directory.path()).expect("an empty directory opens");
        Ok((directory, store, position()))
    }
}

struct Simulated;

impl StoreBuilder<TypeConfig<SimRuntime>, LogStore<SimRuntime>, Position<SimRuntime>> for Simulated {
    async fn build(
        &self,
    ) -> Result<((), LogStore<SimRuntime>, Position<SimRuntime>), StorageError<TypeConfig<SimRuntime>>> {
        let disk = SimDisk::new(SimDiskOptions::default());
        let fatal = Box::new(|error: &io::Error| panic!("the log failed: {error}"));
        let store = LogStore::in_task(disk.mount::<SimRuntime>(), fatal).expect("an empty disk opens");
        Ok(((), store, position()))
    }
}

#[test]
fn conformance_on_disk() {
    log_common::run(async { Suite::test_all(OnDisk).await.expect("the suite passes") });
}

#[test]
fn conformance_simulated() {
    SimRuntime::with_seed(1).block_on(async { Suite::test_all(Simulated).await.expect("the suite passes") });
}
