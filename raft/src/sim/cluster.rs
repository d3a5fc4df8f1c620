//! Three simulated nodes and a run of them.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::{AsyncRuntime, Instant};
use openraft_rt_sim::{SimInstant, SimRuntime};

use super::engine::BuggyEngine;
use super::faults::inject;
use super::history::History;
use super::network::{SimNetwork, SimTransport};
use super::workload::{bootstrap, get, read, write};
use super::{Random, SimOptions, SimReport};
use crate::clock::WallClock;
use crate::core::{Core, CoreParts, Retention, Timers};
use crate::log::{LogStore, SimDisk, SimDiskOptions};
use crate::propose::WithoutQuorum;
use crate::snapshot::MemoryStore;
use crate::types::Member;
use crate::watchdog::watch_stalls;

const NODES: u64 = 3;
/// Puts that each writer proposes at once.
const LANES_OF_WRITERS: [u64; 3] = [1, 1, 6];
/// Puts under way at most.
const WRITES_AT_ONCE: u64 = 8;
const READERS: u64 = 3;
/// Small, so that snapshots and purges happen within a run.
const SNAPSHOT_EVERY_ENTRIES: u64 = 150;
const KEPT_ENTRIES: u64 = 20;
/// How long the healed cluster may take to agree.
const SETTLE_LIMIT: Duration = Duration::from_secs(20);
/// How often states and leaders are looked at.
const OBSERVE_PAUSE: Duration = Duration::from_millis(50);
const CALL: Duration = Duration::from_secs(5);

pub(crate) type SimCore = Core<SimRuntime, SimTransport>;

struct VirtualWall(SimInstant);

impl WallClock for VirtualWall {
    fn now_ms(&self) -> i64 {
        i64::try_from(self.0.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

/// What survives the process, and the process if it lives.
struct Node {
    disk: SimDisk,
    snapshots: MemoryStore,
    incarnation: u64,
    core: Option<Arc<SimCore>>,
}

pub(crate) struct Shared {
    pub options: SimOptions,
    pub network: SimNetwork,
    pub history: History,
    nodes: Mutex<BTreeMap<u64, Node>>,
    over: AtomicBool,
    gaps_ms: Mutex<Vec<u64>>,
    hand_overs: AtomicU64,
    busy: AtomicU64,
}

/// The cluster as its tasks share it.
#[derive(Clone)]
pub(crate) struct SimCluster {
    shared: Arc<Shared>,
}

impl Deref for SimCluster {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl SimCluster {
    fn new(options: SimOptions) -> Self {
        let node = |id: u64| {
            let disk = SimDiskOptions {
                seed: options.seed.wrapping_mul(31).wrapping_add(id),
                ..SimDiskOptions::default()
            };
            Node {
                disk: SimDisk::new(disk),
                snapshots: MemoryStore::default(),
                incarnation: 0,
                core: None,
            }
        };
        let shared = Shared {
            options,
            network: SimNetwork::new(options.seed),
            history: History::default(),
            nodes: Mutex::new((1..=NODES).map(|id| (id, node(id))).collect()),
            over: AtomicBool::new(false),
            gaps_ms: Mutex::default(),
            hand_overs: AtomicU64::new(0),
            busy: AtomicU64::new(0),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<u64, Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// The running core of a node.
    pub fn core(&self, id: u64) -> Option<Arc<SimCore>> {
        self.nodes().get(&id)?.core.clone()
    }

    pub fn disk(&self, id: u64) -> SimDisk {
        self.nodes()[&id].disk.clone()
    }

    /// Who leads with the highest term, as far as nodes know of themselves.
    pub fn leader(&self) -> Option<u64> {
        let cores = (1..=NODES).filter_map(|id| self.core(id));
        let standings = cores.map(|core| (core.node_id, core.standings.now()));
        standings
            .filter(|(_, standing)| standing.leading)
            .max_by_key(|(_, standing)| standing.term)
            .map(|(id, _)| id)
    }

    /// Starts a node on what its disk holds.
    pub async fn start_node(&self, id: u64) {
        let transport = self.network.transport(id);
        let (engine, snapshots, incarnation) = {
            let mut nodes = self.nodes();
            let Some(node) = nodes.get_mut(&id) else { return };
            node.incarnation += 1;
            (node.disk.mount(), node.snapshots.clone(), node.incarnation)
        };
        let engine = BuggyEngine {
            engine,
            bug: self.options.bug,
        };
        let log = match LogStore::in_task(engine, Box::new(|_| {})) {
            Ok(log) => log,
            Err(error) => {
                self.history.violated(format!("node {id} cannot open its log: {error}"));
                return;
            }
        };
        let log_reader = log.reader();
        let parts = CoreParts {
            node_id: id,
            incarnation,
            cluster_id: "sim".into(),
            log,
            store: Arc::new(snapshots),
            transport,
            wall: Arc::new(VirtualWall(SimInstant::now())),
            timers: Timers::default(),
            retention: Retention {
                snapshot_every_entries: SNAPSHOT_EVERY_ENTRIES,
                kept_entries: KEPT_ENTRIES,
                ..Retention::default()
            },
            fast_elections: self.options.fast_elections,
        };
        match Core::start(parts).await {
            Ok(core) => {
                let core = Arc::new(core);
                let _detached = SimRuntime::spawn(core.standings.clone().run(core.raft.clone(), |_, _| ()));
                let _detached = SimRuntime::spawn(watch_stalls(core.clone(), log_reader));
                self.network.listen(id, Arc::new(core.server.clone()));
                if let Some(node) = self.nodes().get_mut(&id) {
                    node.core = Some(core);
                }
            }
            Err(error) => self.history.violated(format!("node {id} cannot start: {error}")),
        }
    }

    /// The node's machine loses power: what was not synced is gone, connections are reset.
    pub fn crash(&self, id: u64) {
        self.network.kill(id);
        let core = {
            let mut nodes = self.nodes();
            let Some(node) = nodes.get_mut(&id) else { return };
            node.disk.crash();
            node.core.take()
        };
        if let Some(core) = core {
            let _detached = SimRuntime::spawn(async move {
                // The process is gone already; this only ends its tasks.
                let _ = core.raft.shutdown().await;
            });
        }
        for other in (1..=NODES).filter_map(|other| self.core(other)) {
            let _detached = SimRuntime::spawn(async move { other.elections.connection_lost(id).await });
        }
    }

    /// A leader whose disk stalls leads no more.
    pub fn note_hand_over(&self) {
        self.hand_overs.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes how long it takes until the next write is acknowledged.
    pub fn measure_gap(&self) {
        let cluster = self.clone();
        let _detached = SimRuntime::spawn(async move {
            let (begun, before) = (SimInstant::now(), cluster.history.acknowledged());
            // Writes under way at this moment may still be answered by the dead leader's followers.
            while cluster.history.acknowledged() <= before + WRITES_AT_ONCE {
                SimRuntime::sleep(Duration::from_millis(1)).await;
            }
            let gap = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            cluster.gaps_ms.lock().unwrap_or_else(PoisonError::into_inner).push(gap);
        });
    }

    /// Looks at every node: equal states after equal indexes, one leader per term.
    fn observe(&self) {
        for core in (1..=NODES).filter_map(|id| self.core(id)) {
            let (index, hash) = {
                let state = core.state.read();
                (state.applied_index(), state.state_hash())
            };
            self.history.state_seen(core.node_id, index, hash);
            let standing = core.standings.now();
            if standing.leading {
                self.history.leader_seen(standing.term, core.node_id);
            }
        }
    }

    fn client(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.busy.fetch_add(1, Ordering::Relaxed);
        let cluster = self.clone();
        let _detached = SimRuntime::spawn(async move {
            task.await;
            cluster.busy.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// Waits until every client has ended and every node has applied everything that was ever committed.
    async fn settle(&self) {
        let begun = SimInstant::now();
        loop {
            SimRuntime::sleep(OBSERVE_PAUSE).await;
            self.observe();
            let cores: Vec<_> = (1..=NODES).filter_map(|id| self.core(id)).collect();
            let applied: Vec<u64> = cores.iter().map(|core| core.observers.applied_index()).collect();
            let equal = applied.len() as u64 == NODES && applied.iter().all(|index| *index == applied[0]);
            if equal && self.busy.load(Ordering::Relaxed) == 0 && all_read(&cores).await {
                return;
            }
            if begun.elapsed() > SETTLE_LIMIT {
                let standings: Vec<_> = cores.iter().map(|core| core.standings.now()).collect();
                self.history.violated(format!(
                    "the healed cluster does not settle: applied {applied:?}, {standings:?}"
                ));
                return;
            }
        }
    }
}

/// True if every node answers a linearizable read: after a restart of all nodes, equal states alone say nothing about entries
/// that are stored everywhere and that the new leader has yet to commit.
async fn all_read(cores: &[Arc<SimCore>]) -> bool {
    for core in cores {
        if core.read_index(CALL).await.is_err() {
            return false;
        }
    }
    true
}

/// One run, from an empty disk to the last check.
pub(crate) async fn run(options: SimOptions) -> SimReport {
    let mut random = Random::new(options.seed ^ 0x5151);
    let cluster = SimCluster::new(options);
    for id in 1..=NODES {
        cluster.start_node(id).await;
    }
    let member = |id: u64| Member {
        name: format!("node-{id}"),
        ..Member::default()
    };
    let members: BTreeMap<u64, Member> = (1..=NODES).map(|id| (id, member(id))).collect();
    let first = cluster.core(1).expect("the nodes were just started");
    first
        .raft
        .initialize(members)
        .await
        .expect("an empty cluster can be initialised");
    while first.propose(bootstrap(), CALL, WithoutQuorum::Fail).await.is_err() {
        SimRuntime::sleep(OBSERVE_PAUSE).await;
    }
    for (writer, lanes) in (0..).zip(LANES_OF_WRITERS) {
        cluster.client(write(cluster.clone(), writer, lanes, Random::new(random.next())));
    }
    for _ in 0..READERS {
        cluster.client(read(cluster.clone(), Random::new(random.next())));
    }
    cluster.client(inject(cluster.clone(), Random::new(random.next())));
    let begun = SimInstant::now();
    while begun.elapsed() < options.duration {
        SimRuntime::sleep(OBSERVE_PAUSE).await;
        cluster.observe();
    }
    cluster.over.store(true, Ordering::Relaxed);
    cluster.settle().await;
    report(&cluster)
}

fn report(cluster: &SimCluster) -> SimReport {
    let cores: Vec<_> = (1..=NODES).filter_map(|id| cluster.core(id)).collect();
    for core in &cores {
        let state = core.state.read();
        cluster.history.check_end(core.node_id, |key| get(&state, key));
    }
    let (violations, acknowledged, reads) = cluster.history.outcome();
    SimReport {
        violations,
        acknowledged,
        reads,
        term: cores.iter().map(|core| core.standings.now().term).max().unwrap_or(0),
        write_gaps_ms: cluster.gaps_ms.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        hand_overs: cluster.hand_overs.load(Ordering::Relaxed),
        state_hash: cores.first().map_or([0; 32], |core| core.state.read().state_hash()),
        trace: None,
    }
}
