//! Makes operations by chance: most of them sensible, many at an edge, some wrong in every way that a client can be wrong.
//!
//! One seed makes one sequence: what is made depends on the seed and on what real etcd answered before, which depends on
//! what was made.

mod access;
mod keys;
mod transactions;

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::operation::{Caller, Operation, Step};
use crate::wire::etcdserverpb as pb;

pub(super) use access::{endangers_root, password_of};

/// What is known of the state that both systems are in.
#[derive(Clone, Debug)]
pub(super) struct World {
    /// Newest revision.
    pub revision: i64,
    /// Revision of the last compaction.
    pub compacted: i64,
    /// Whether calls need a token.
    pub auth_enabled: bool,
    /// Users that were added, with the password of those that have one.
    pub passwords: BTreeMap<String, Option<String>>,
}

/// One operation that may change something, and then operations that change nothing, in any order.
#[derive(Clone, Debug)]
pub(super) struct Round {
    pub change: Step,
    pub reads: Vec<Step>,
}

/// Operations of one seed.
pub(super) struct Generator {
    random: StdRng,
    /// Logins that may still fail: ours shuts a source out that fails too often (`docs/etcd-differences.md`).
    failing_logins: u32,
    /// What is done first, so that there are users with permissions: the last one next.
    beginning: Vec<Operation>,
}

/// Most reads after one change.
const MAX_READS: usize = 8;

/// Watches come in one of so many rounds…
const WATCH_EVERY_ROUNDS: u32 = 150;
/// … and then so many at once.
const WATCHES_AT_ONCE: usize = 12;

/// Logins of a sequence that fail.
const MAX_FAILING_LOGINS: u32 = 9;

/// A key that the machine keeps for itself (difference 1 of `docs/etcd-differences.md`) lies from here…
const RESERVED_FROM: &[u8] = b"/mas-monitor/";
/// … to here.
const RESERVED_TO: &[u8] = b"/mas-monitor0";

/// Whether the operation is a transaction that names no key.
fn asks_nothing(operation: &Operation) -> bool {
    matches!(operation, Operation::Txn(txn) if transactions::asks_nothing(txn))
}

/// Whether the operation names a span whose end lies not beyond its start.
fn spans_nothing(operation: &Operation) -> bool {
    let empty = |key: &[u8], range_end: &[u8]| !range_end.is_empty() && *range_end != [0] && key >= range_end;
    match operation {
        Operation::Range(request) => empty(&request.key, &request.range_end),
        Operation::DeleteRange(request) => empty(&request.key, &request.range_end),
        Operation::Watch(creates) => creates.iter().any(|create| empty(&create.key, &create.range_end)),
        Operation::Txn(request) => transactions::any_span(request, &empty),
        _ => false,
    }
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            failing_logins: MAX_FAILING_LOGINS,
            beginning: access::beginning(),
        }
    }

    /// The next round.
    pub(super) fn round(&mut self, world: &World) -> Round {
        if let Some(operation) = self.beginning.pop() {
            let change = Step {
                caller: Caller::User("root".to_owned()),
                operation,
                base_revision: world.revision,
            };
            let reads = Vec::new();
            return Round { change, reads };
        }
        let change = self.change(world);
        // etcd looks after watches from history ten times a second only, so they come in bunches. None right after a
        // compaction: when those that now begin before history are cancelled is a matter of moments there.
        let compacts = matches!(change, Operation::Compact(_));
        if self.random.random_ratio(1, WATCH_EVERY_ROUNDS) && !compacts {
            return self.watch_round(world, change);
        }
        // Nobody has a token yet when authentication begins, and strangers are answered otherwise (difference 5 of
        // `docs/etcd-differences.md`).
        let no_tokens = matches!(change, Operation::AuthEnable(_));
        let reads = self.random.random_range(0..=MAX_READS);
        let change = self.step(change, world);
        let reads = (0..reads)
            .map(|_| {
                let read = self.read(world);
                self.step(read, world)
            })
            .filter(|read| !(no_tokens && asks_nothing(&read.operation)))
            .collect();
        Round { change, reads }
    }

    fn watch_round(&mut self, world: &World, change: Operation) -> Round {
        let watch = |this: &mut Self| {
            let watches = Operation::Watch(this.watches(world));
            this.step(watches, world)
        };
        Round {
            change: self.step(change, world),
            reads: (0..WATCHES_AT_ONCE).map(|_| watch(self)).collect(),
        }
    }

    fn step(&mut self, operation: Operation, world: &World) -> Step {
        Step {
            caller: self.caller(&operation, world),
            operation,
            base_revision: world.revision,
        }
    }

    fn caller(&mut self, operation: &Operation, world: &World) -> Caller {
        // A transaction that asks for nothing is answered to strangers by etcd (`docs/etcd-differences.md`).
        // Who may read a span that holds no key depends on the shape of a tree there.
        if asks_nothing(operation) || spans_nothing(operation) {
            return Caller::User("root".to_owned());
        }
        // Nothing may leave the sequence locked out for good.
        if matches!(operation, Operation::AuthEnable(_)) && !world.auth_enabled {
            return Caller::User("root".to_owned());
        }
        match self.random.random_range(0..100) {
            0..72 => Caller::User("root".to_owned()),
            72..95 => Caller::User(self.user()),
            95..98 => Caller::Nobody,
            _ => Caller::Impostor,
        }
    }

    fn change(&mut self, world: &World) -> Operation {
        match self.random.random_range(0..1000) {
            0..420 => Operation::Put(self.put()),
            420..530 => Operation::DeleteRange(self.delete_range()),
            530..790 => Operation::Txn(self.txn(world, true)),
            790..796 => Operation::Compact(self.compaction(world)),
            796..850 => Operation::LeaseGrant(self.lease_grant()),
            850..880 => Operation::LeaseRevoke(pb::LeaseRevokeRequest { id: self.lease() }),
            880..885 => Operation::LeaseOfServersChoice(self.ttl()),
            885..886 => Operation::Defragment(pb::DefragmentRequest {}),
            _ => self.access_change(world),
        }
    }

    fn read(&mut self, world: &World) -> Operation {
        match self.random.random_range(0..1000) {
            0..540 => Operation::Range(self.range(world)),
            540..640 => Operation::Txn(self.txn(world, false)),
            640..710 => {
                let (id, keys) = (self.lease(), self.random.random_bool(0.7));
                Operation::LeaseTimeToLive(pb::LeaseTimeToLiveRequest { id, keys })
            }
            710..740 => Operation::LeaseLeases(pb::LeaseLeasesRequest {}),
            740..765 => Operation::LeaseKeepAlive(self.lease()),
            765..775 => {
                let revision = self.revision(world);
                // etcd may answer with a hash that it remembers from before the compaction.
                let revision = if revision == world.compacted || revision < 0 {
                    0
                } else {
                    revision
                };
                Operation::HashKv(pb::HashKvRequest { revision })
            }
            775..780 => Operation::Alarm(pb::AlarmRequest::default()),
            _ => self.access_read(world),
        }
    }

    fn compaction(&mut self, world: &World) -> pb::CompactionRequest {
        let revision = match self.random.random_range(0..10) {
            0..7 => world.revision - self.random.random_range(0..60),
            _ => self.revision(world),
        };
        pb::CompactionRequest {
            revision,
            physical: self.random.random_bool(0.5),
        }
    }

    /// A revision: mostly of what can be read, else at and beyond its edges.
    fn revision(&mut self, world: &World) -> i64 {
        match self.random.random_range(0..20) {
            0..3 => 0,
            3 => -1,
            4 => world.compacted,
            5 => world.compacted - 1,
            6 => world.revision + 1,
            7 => world.revision + 1_000_000,
            8 => i64::MAX,
            9 => i64::MIN,
            10 => world.revision,
            _ => self.past(world),
        }
    }

    /// A revision that can be read.
    fn past(&mut self, world: &World) -> i64 {
        let oldest = world.compacted.max(1);
        self.random.random_range(oldest..=world.revision.max(oldest))
    }

    fn lease_grant(&mut self) -> pb::LeaseGrantRequest {
        // Id 0, the server's choice, is an operation of its own.
        let id = match self.lease() {
            0 => 1,
            id => id,
        };
        pb::LeaseGrantRequest { ttl: self.ttl(), id }
    }

    /// Long enough not to end by itself, or refused.
    fn ttl(&mut self) -> i64 {
        match self.random.random_range(0..20) {
            0 => 9_000_000_001,
            1 => i64::MAX,
            2 => 9_000_000_000,
            _ => self.random.random_range(100_000..200_000),
        }
    }

    fn lease(&mut self) -> i64 {
        match self.random.random_range(0..20) {
            0 => 0,
            1 => -1,
            2 => i64::MAX,
            3 => i64::MIN,
            _ => self.random.random_range(1..=8),
        }
    }

    fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        choices.choose(&mut self.random).expect("there is a choice")
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_ratio(percent, 100)
    }

    fn watches(&mut self, world: &World) -> Vec<pb::WatchCreateRequest> {
        // A watch that starts in the future, or before history begins, comes alone: it ends differently.
        let alone = self.chance(30);
        let count = if alone { 1 } else { self.random.random_range(1..=4) };
        (0..count).map(|_| self.watch_create(world, alone)).collect()
    }

    fn watch_create(&mut self, world: &World, any_start: bool) -> pb::WatchCreateRequest {
        let start_revision = match any_start {
            true => self.revision(world),
            false => self.past(world),
        };
        let (key, range_end) = self.key_range();
        let filters = match self.random.random_range(0..10) {
            0 | 1 => vec![0],
            2 | 3 => vec![1],
            4 => vec![0, 1],
            5 => vec![7],
            _ => Vec::new(),
        };
        pb::WatchCreateRequest {
            key,
            range_end,
            start_revision,
            progress_notify: self.chance(20),
            filters,
            prev_kv: self.chance(50),
            watch_id: if self.chance(20) {
                self.random.random_range(-1..4)
            } else {
                0
            },
            fragment: self.chance(30),
        }
    }
}
