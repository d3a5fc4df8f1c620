//! The store over real and simulated disks: batches, callback order, reads behind the tail, failures, crashes.

mod log_common;

use std::future::Future;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use log_common::*;
use openraft::AsyncRuntime;
use openraft::storage::{RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft_rt_sim::SimRuntime;
use openraft_rt_tokio::TokioRuntime;
use quorate_raft::TypeConfig;
use quorate_raft::codec::{encode_entry, log_id};
use quorate_raft::log::*;

type Sim = TypeConfig<SimRuntime>;

/// An engine in front of another: counts writes and fails them on demand.
struct Watched<E> {
    inner: E,
    control: Arc<Control>,
}

#[derive(Default)]
struct Control {
    writes: AtomicUsize,
    full: AtomicBool,
}

impl<E: LogReads> LogReads for Watched<E> {
    fn meta(&self) -> io::Result<StoredMeta> {
        self.inner.meta()
    }
    fn read(&self, range: Range<u64>, max_bytes: usize) -> io::Result<Vec<(u64, Bytes)>> {
        self.inner.read(range, max_bytes)
    }
    fn acknowledged(&self) -> Acknowledged {
        self.inner.acknowledged()
    }
    fn location(&self) -> Location {
        self.inner.location()
    }
}

impl<E: LogEngine> LogEngine for Watched<E> {
    async fn write(&self, batch: Batch) -> io::Result<()> {
        self.control.writes.fetch_add(1, Ordering::SeqCst);
        if self.control.full.load(Ordering::SeqCst) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on device"));
        }
        self.inner.write(batch).await
    }
    fn note_acknowledged(&self, end: u64) -> io::Result<()> {
        self.inner.note_acknowledged(end)
    }
    fn raise_watermark(&self, end: u64, vote: (u64, u64)) -> impl Future<Output = io::Result<()>> + Send {
        self.inner.raise_watermark(end, vote)
    }
    fn lower_watermark(&self, end: u64) -> impl Future<Output = io::Result<()>> + Send {
        self.inner.lower_watermark(end)
    }
}

fn never_fatal() -> FatalHook {
    Box::new(|error| panic!("the log failed: {error}"))
}

fn simulated(disk: &SimDisk) -> LogStore<SimRuntime> {
    LogStore::in_task(disk.mount::<SimRuntime>(), never_fatal()).expect("a sound disk opens")
}

#[test]
fn appends_are_readable_at_once_and_share_one_sync_in_order() {
    SimRuntime::with_seed(2).block_on(async {
        let disk = SimDisk::new(SimDiskOptions::default());
        let control = Arc::new(Control::default());
        let engine = Watched {
            inner: disk.mount::<SimRuntime>(),
            control: control.clone(),
        };
        let mut store: LogStore<SimRuntime> = LogStore::in_task(engine, never_fatal()).expect("an empty disk opens");
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for index in 0..200 {
            let flushed = submit(&mut store, vec![entry(1, index)])
                .await
                .expect("the writer runs");
            let order = order.clone();
            tasks.push(Sim::spawn(async move {
                flushed.await.expect("an answer").expect("the disk works");
                order.lock().expect("one thread").push(index);
            }));
            let read = store
                .reader()
                .limited_get_log_entries(index, index + 1)
                .await
                .expect("readable");
            assert_eq!(read, vec![entry(1, index)], "before it is durable");
        }
        for task in tasks {
            task.await.expect("no panic");
        }
        assert_eq!(*order.lock().expect("one thread"), (0..200).collect::<Vec<_>>());
        assert!(
            control.writes.load(Ordering::SeqCst) <= 2,
            "what queues up is written together"
        );
        let stats = store.stats();
        assert_eq!(stats.queue_depth, 0);
        assert!(stats.last_fsync >= Duration::from_micros(80) && stats.last_flush_at.is_some());
    });
}

#[test]
fn a_stalled_disk_shows_in_the_stats() {
    SimRuntime::with_seed(3).block_on(async {
        let disk = SimDisk::new(SimDiskOptions::default());
        let mut store = simulated(&disk);
        disk.stall_next(Duration::from_secs(2));
        let flushed = submit(&mut store, vec![entry(1, 0)]).await.expect("the writer runs");
        Sim::sleep(Duration::from_millis(300)).await;
        let since = store.stats().in_flight_since.expect("a sync is under way");
        assert!(Sim::now() - since >= Duration::from_millis(299));
        flushed.await.expect("an answer").expect("the disk works");
        assert!(store.stats().last_fsync >= Duration::from_secs(2));
        assert_eq!(store.stats().in_flight_since, None);
    });
}

/// More entries than the tail holds: older ones come from disk, and all of them are the same as before.
#[test]
fn entries_behind_the_tail_are_read_from_disk() {
    run(async {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut store = open(directory.path()).expect("an empty directory opens");
        let end = MAX_TAIL_ENTRIES as u64 + 5_000;
        for start in (0..end).step_by(1000) {
            fill(&mut store, 1, start..end.min(start + 1000)).await;
        }
        let mut reader = store.reader();
        assert_eq!(reader.encoded(log_id(1, 10)), None, "no longer in memory");
        let newest = log_id(1, end - 1);
        assert_eq!(reader.encoded(newest), Some(encode_entry(&entry(1, end - 1))));
        assert_eq!(
            reader.encoded(log_id(2, end - 1)),
            None,
            "another term's entry is another entry"
        );

        let some = reader.limited_get_log_entries(4_990, end).await.expect("readable");
        assert!(!some.is_empty() && some.len() <= MAX_READ_ENTRIES.max(MAX_READ_BYTES / 32));
        let (mut expected, mut stream) = (4_990, std::pin::pin!(reader.entries_stream(4_990..5_100).await));
        while let Some(found) = stream.next().await {
            assert_eq!(found.expect("readable"), entry(1, expected));
            expected += 1;
        }
        assert_eq!(expected, 5_100, "across the border between disk and memory");

        store.purge(log_id(1, 6_000)).await.expect("the writer runs");
        let all = read_all(&store).await.expect("readable");
        assert_eq!((all[0].log_id, all.len() as u64), (log_id(1, 6_001), end - 6_001));
        store.close().await.expect("the disk works");

        let mut store = open(directory.path()).expect("a sound log opens");
        let state = store.get_log_state().await.expect("readable");
        assert_eq!(state.last_purged_log_id, Some(log_id(1, 6_000)));
        assert_eq!(state.last_log_id, Some(newest));
        assert_eq!(read_all(&store).await.expect("readable"), all);
    });
}

#[test]
fn votes_commits_and_truncations_survive_a_restart() {
    run(async {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut store = open(directory.path()).expect("an empty directory opens");
        fill(&mut store, 1, 0..50).await;
        store.save_vote(&vote(4, 2, true)).await.expect("the disk works");
        store
            .save_committed(Some(log_id(1, 20)))
            .await
            .expect("the writer runs");
        store
            .truncate_after(Some(log_id(1, 30)))
            .await
            .expect("the writer runs");
        fill(&mut store, 4, 31..35).await;
        store.close().await.expect("the disk works");

        let mut store = open(directory.path()).expect("a sound log opens");
        assert_eq!(
            store.reader().read_vote().await.expect("readable"),
            Some(vote(4, 2, true))
        );
        assert_eq!(store.read_committed().await.expect("readable"), Some(log_id(1, 20)));
        let all = read_all(&store).await.expect("readable");
        let expected: Vec<_> = (0..31)
            .map(|i| entry(1, i))
            .chain((31..35).map(|i| entry(4, i)))
            .collect();
        assert_eq!(all, expected);

        store.purge(log_id(9, 99)).await.expect("the writer runs");
        store.close().await.expect("the disk works");
        let mut store = open(directory.path()).expect("a log may be purged beyond its end");
        let state = store.get_log_state().await.expect("readable");
        assert_eq!(
            (state.last_purged_log_id, state.last_log_id),
            (Some(log_id(9, 99)), Some(log_id(9, 99)))
        );
        fill(&mut store, 9, 100..102).await;
    });
}

#[test]
fn a_leader_bounded_stream_ends_with_the_leadership() {
    SimRuntime::with_seed(4).block_on(async {
        let disk = SimDisk::new(SimDiskOptions::default());
        let mut store = simulated(&disk);
        fill(&mut store, 1, 0..10_000).await;
        store.save_vote(&vote(1, 1, true)).await.expect("the disk works");
        let mut reader = store.reader();
        let mut stream = std::pin::pin!(
            reader
                .leader_bounded_stream(vote(1, 1, true).leader_id, 0..10_000)
                .await
        );
        let first = stream.next().await.expect("an entry").expect("the leader leads");
        assert_eq!(first.log_id, log_id(1, 0));
        store.save_vote(&vote(2, 3, false)).await.expect("the disk works");
        let rest: Vec<_> = stream.collect().await;
        assert!(
            rest.len() < 9_999,
            "what was read already may still come, nothing after it"
        );
        assert!(rest.last().is_some_and(Result::is_err));
    });
}

#[test]
fn a_full_disk_is_told_once_to_everyone_and_never_retried() {
    run(async {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let control = Arc::new(Control::default());
        let engine = Watched {
            inner: RocksEngine::open(&directory.path().join("log"), &directory.path().join("watermark"))
                .expect("an empty directory opens"),
            control: control.clone(),
        };
        let fatal = Arc::new(AtomicUsize::new(0));
        let counted = fatal.clone();
        let hook: FatalHook = Box::new(move |error| {
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let mut store: LogStore<TokioRuntime> = LogStore::on_thread(engine, hook).expect("an empty log opens");
        fill(&mut store, 1, 0..10).await;
        control.full.store(true, Ordering::SeqCst);
        let error = append(&mut store, vec![entry(1, 10)])
            .await
            .expect_err("the disk is full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let writes = control.writes.load(Ordering::SeqCst);
        control.full.store(false, Ordering::SeqCst);
        append(&mut store, vec![entry(1, 11)])
            .await
            .expect_err("a failed log stays failed");
        store
            .save_vote(&vote(3, 1, false))
            .await
            .expect_err("a failed log stays failed");
        assert_eq!(
            store.reader().read_vote().await.expect("readable"),
            None,
            "no vote without a disk"
        );
        store.close().await.expect_err("closing tells it too");
        assert_eq!(
            control.writes.load(Ordering::SeqCst),
            writes,
            "nothing is written after a failure"
        );
        assert_eq!(fatal.load(Ordering::SeqCst), 1);

        let store = open(directory.path()).expect("what was acknowledged is there");
        assert!(read_all(&store).await.expect("readable").len() >= 10);
    });
}

#[test]
fn a_simulated_disk_that_lost_or_damaged_entries_does_not_open() {
    SimRuntime::with_seed(5).block_on(async {
        let disk = SimDisk::new(SimDiskOptions::default());
        let mut store = simulated(&disk);
        fill(&mut store, 1, 0..10).await;
        store.save_vote(&vote(2, 1, false)).await.expect("the disk works");
        store.close().await.expect("the disk works");
        let refused = || match LogStore::<SimRuntime>::in_task(disk.mount::<SimRuntime>(), never_fatal()) {
            Ok(_) => panic!("it must not open"),
            Err(error) => error,
        };
        assert!(disk.flip_bit(4, 100));
        assert!(matches!(refused(), LogError::Record { .. }));
        assert!(disk.flip_bit(4, 100));
        simulated(&disk).close().await.expect("whole again");
        disk.lose_from(9);
        assert!(matches!(
            refused(),
            LogError::EndsBelowWatermark {
                end: 9,
                acknowledged: 10,
                ..
            }
        ));
    });
}

#[test]
fn an_input_output_error_stops_a_simulated_log_for_good() {
    SimRuntime::with_seed(6).block_on(async {
        let disk = SimDisk::new(SimDiskOptions::default());
        let fatal = Arc::new(AtomicUsize::new(0));
        let counted = fatal.clone();
        let hook: FatalHook = Box::new(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let mut store: LogStore<SimRuntime> =
            LogStore::in_task(disk.mount::<SimRuntime>(), hook).expect("an empty disk opens");
        fill(&mut store, 1, 0..10).await;
        disk.set_failing(true);
        store.save_vote(&vote(2, 1, false)).await.expect_err("the disk fails");
        disk.set_failing(false);
        append(&mut store, vec![entry(1, 10)])
            .await
            .expect_err("a failed log stays failed");
        assert_eq!(fatal.load(Ordering::SeqCst), 1);
        disk.crash();
        let found = read_all(&simulated(&disk)).await.expect("readable");
        assert_eq!(
            found.len(),
            10,
            "what was acknowledged is there, and nothing after the failure"
        );
    });
}

/// What a crashing node has promised: nothing of it may be lost.
#[derive(Default)]
struct Promised {
    /// Term of each acknowledged entry.
    terms: Vec<u64>,
    purged: u64,
    vote: Option<(u64, u64)>,
}

#[test]
fn whatever_was_acknowledged_survives_every_crash() {
    for seed in 0..150 {
        SimRuntime::with_seed(seed).block_on(async {
            let mut random = Random(seed);
            let disk = SimDisk::new(SimDiskOptions {
                seed,
                ..SimDiskOptions::default()
            });
            let mut promised = Promised::default();
            for life in 1..6 {
                live_and_crash(&disk, &mut random, life, &mut promised).await;
            }
        });
    }
}

async fn live_and_crash(disk: &SimDisk, random: &mut Random, term: u64, promised: &mut Promised) {
    // The crash itself makes the writer's next call fail.
    let engine = disk.mount::<SimRuntime>();
    let mut store: LogStore<SimRuntime> =
        LogStore::in_task(engine, Box::new(|_| ())).unwrap_or_else(|error| panic!("{error}"));
    let found = read_all(&store).await.expect("readable");
    for (index, term) in (0..).zip(&promised.terms).skip(promised.purged as usize) {
        let entry_found = found.iter().find(|found| found.log_id.index == index);
        assert_eq!(entry_found, Some(&entry(*term, index)), "an acknowledged entry");
    }
    let vote_found = store.reader().read_vote().await.expect("readable");
    if let Some(promise) = promised.vote {
        let found = vote_found.expect("a vote was given").leader_id;
        assert!((found.term, found.voted_for) >= promise, "a vote given");
    }

    let mut end = found.last().map_or(promised.purged, |last| last.log_id.index + 1);
    promised.terms.resize(end as usize, 0);
    for known in found {
        promised.terms[known.log_id.index as usize] = *known.log_id.leader_id;
    }
    let mut pending = Vec::new();
    for _ in 0..random.below(40) {
        match random.below(10) {
            0 => {
                let candidate = random.below(3);
                if store.save_vote(&vote(term, candidate, false)).await.is_ok() {
                    promised.vote = Some((term, candidate));
                }
            }
            1 if end > promised.purged + 1 => {
                let keep = promised.purged + random.below(end - promised.purged);
                let last = keep.checked_sub(1).filter(|last| *last >= promised.purged);
                let known = |index: u64| store_term(&promised.terms, index, term);
                if let Some(last) = last {
                    // Cutting takes back the promise.
                    let last_id = log_id(known(last), last);
                    pending.clear();
                    promised.terms.truncate(keep as usize);
                    store.truncate_after(Some(last_id)).await.expect("the writer runs");
                    end = keep;
                }
            }
            2 if promised.terms.len() as u64 > promised.purged + 4 => {
                let upto = promised.purged + random.below(3);
                store
                    .purge(log_id(promised.terms[upto as usize], upto))
                    .await
                    .expect("the writer runs");
                promised.purged = upto + 1;
            }
            3 => Sim::sleep(Duration::from_micros(random.below(1000))).await,
            _ => {
                let count = 1 + random.below(5);
                let entries: Vec<_> = (end..end + count).map(|index| entry(term, index)).collect();
                end += count;
                pending.push((end, submit(&mut store, entries).await.expect("the writer runs")));
            }
        }
    }
    // Wait for some of them; the disk loses power with the others under way.
    let acknowledged = random.below(pending.len() as u64 + 1) as usize;
    for (end, flushed) in pending.into_iter().take(acknowledged) {
        flushed.await.expect("an answer").expect("the disk works");
        promised
            .terms
            .resize((promised.terms.len() as u64).max(end) as usize, term);
    }
    disk.crash();
}

/// Term of an entry that may not be acknowledged yet.
fn store_term(acknowledged: &[u64], index: u64, current: u64) -> u64 {
    acknowledged.get(index as usize).copied().unwrap_or(current)
}
