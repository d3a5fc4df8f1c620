//! The leader's side: stamps the time, puts commands that may share an entry into one, and proposes in batches.
//!
//! It also sees to it that the first command of every term is `LeaderStarted`: automatic decisions build on that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use openraft::AsyncRuntime;
use openraft::async_runtime::watch::WatchReceiver;
use prost::Message;
use quorate_machine::{
    Batch, BatchedCommand, BatchedCommands, Command, Commands, Envelope, LeaderStarted, MAX_BATCH_BYTES,
    MAX_BATCH_COMMANDS, Principal, PrincipalKind, Proposal, Reply, SessionStamp, may_share_entry,
};
use tokio::sync::Mutex;

use crate::clock::{ClusterClock, WallClock};
use crate::types::{Applied, Raft, TypeConfig};

/// What is proposed: its de-duplication stamp and the encoded proposal.
pub(crate) struct DoorItem {
    pub stamp: Option<SessionStamp>,
    pub proposal: Bytes,
}

/// What became of consecutive items that went into one entry.
#[derive(Debug, PartialEq)]
pub(crate) struct EntryOutcome {
    /// How many items.
    pub items: usize,
    /// Their replies in order and the log index, or `None` if they have to be sent to the leader again.
    pub applied: Option<(Vec<Reply>, u64)>,
}

/// The outcomes of all items, in order.
pub(crate) type DoorOutcomes = BoxStream<'static, EntryOutcome>;

/// Where proposals enter the log of a leader.
pub(crate) struct LeaderDoor<RT: AsyncRuntime> {
    node_id: u64,
    raft: Raft<RT>,
    clock: Arc<ClusterClock<RT>>,
    wall: Arc<dyn WallClock>,
    /// Held while a batch is handed over, so that batches enter in the order of their stamps' times.
    order: Mutex<()>,
    /// Term whose `LeaderStarted` was proposed last.
    started_term: Arc<AtomicU64>,
    /// The node is fenced: what it would answer is not to be trusted.
    closed: AtomicBool,
}

impl<RT: AsyncRuntime> LeaderDoor<RT> {
    pub fn new(node_id: u64, raft: Raft<RT>, clock: Arc<ClusterClock<RT>>, wall: Arc<dyn WallClock>) -> Self {
        Self {
            node_id,
            raft,
            clock,
            wall,
            order: Mutex::new(()),
            started_term: Arc::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// True if `LeaderStarted` of this term was proposed and not refused.
    pub fn has_begun(&self, term: u64) -> bool {
        self.started_term.load(Ordering::Relaxed) == term
    }

    /// From now on nothing is proposed here, as if this node did not lead.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Proposes a batch; `None` if this node does not lead. An empty batch only begins the term. The
    /// outcomes have to be read to their end.
    pub async fn submit(&self, items: Vec<DoorItem>) -> Option<DoorOutcomes> {
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        let _order = self.order.lock().await;
        let term = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            (metrics.state.is_leader() && metrics.current_leader == Some(self.node_id))
                .then_some(metrics.current_term)?
        };
        let begins = self.started_term.load(Ordering::Relaxed) != term;
        let time_ms = self.clock.now_ms();
        let wall_ms = self.wall.now_ms();
        let mut entries = Vec::new();
        if begins {
            let started = DoorItem {
                stamp: None,
                proposal: leader_started(term, self.node_id),
            };
            entries.push((0, one(time_ms, wall_ms, started)));
        }
        entries.extend(share_entries(time_ms, wall_ms, items));
        if entries.is_empty() {
            return Some(futures_util::stream::empty().boxed());
        }
        let (counts, entries): (Vec<usize>, Vec<Commands>) = entries.into_iter().unzip();
        let written = self.raft.client_write_many(entries).await.ok()?;
        let outcomes = futures_util::stream::iter(counts)
            .zip(written)
            .map(|(items, written)| outcome::<RT>(items, written));
        if !begins {
            return Some(outcomes.boxed());
        }
        self.started_term.store(term, Ordering::Relaxed);
        let started_term = self.started_term.clone();
        let outcomes = outcomes.filter(move |outcome| {
            let began = outcome.items == 0;
            if began && outcome.applied.is_none() {
                // Not taken, for example during a hand-over that may yet fail: try again with the next batch.
                let _ = started_term.compare_exchange(term, 0, Ordering::Relaxed, Ordering::Relaxed);
            }
            futures_util::future::ready(!began)
        });
        Some(outcomes.boxed())
    }
}

fn one(time_ms: u64, wall_ms: i64, item: DoorItem) -> Commands {
    Commands::One(Envelope {
        time_ms,
        wall_ms,
        session: item.stamp,
        proposal: item.proposal,
    })
}

/// Puts items into entries in their order, neighbours that may share an entry into one; with each entry comes how many.
fn share_entries(time_ms: u64, wall_ms: i64, items: Vec<DoorItem>) -> Vec<(usize, Commands)> {
    let mut entries = Vec::new();
    let mut items = items.into_iter().peekable();
    while let Some(first) = items.next() {
        if !may_share_entry(&first.proposal) {
            entries.push((1, one(time_ms, wall_ms, first)));
            continue;
        }
        let mut bytes = first.proposal.len();
        let mut shared = vec![first];
        while shared.len() < MAX_BATCH_COMMANDS
            && let Some(next) =
                items.next_if(|next| bytes + next.proposal.len() <= MAX_BATCH_BYTES && may_share_entry(&next.proposal))
        {
            bytes += next.proposal.len();
            shared.push(next);
        }
        let count = shared.len();
        let commands = match <[DoorItem; 1]>::try_from(shared) {
            Ok([only]) => one(time_ms, wall_ms, only),
            Err(shared) => many(time_ms, wall_ms, shared),
        };
        entries.push((count, commands));
    }
    entries
}

fn many(time_ms: u64, wall_ms: i64, items: Vec<DoorItem>) -> Commands {
    let commands = items.into_iter().map(|item| BatchedCommand {
        session: item.stamp,
        proposal: item.proposal,
    });
    let commands = BatchedCommands {
        commands: commands.collect(),
    };
    Commands::Many(Batch {
        time_ms,
        wall_ms,
        commands: commands.encode_to_vec().into(),
    })
}

fn leader_started(term: u64, node: u64) -> Bytes {
    let author = Principal {
        kind: Some(PrincipalKind::Node(node)),
        source: String::new(),
    };
    let command = Command::LeaderStarted(LeaderStarted { term, node });
    Proposal {
        author: Some(author),
        command: Some(command),
    }
    .encode_to_vec()
    .into()
}

type Written<RT> = Result<openraft::raft::WriteResult<TypeConfig<RT>>, openraft::error::Fatal<TypeConfig<RT>>>;

/// Everything but an applied entry is tried again: under its stamp that is safe, whatever became of the first attempt.
fn outcome<RT: AsyncRuntime>(items: usize, written: Written<RT>) -> EntryOutcome {
    let applied = written.ok().and_then(Result::ok).map(|written| {
        let Applied { replies } = written.response;
        (replies, written.log_id.index)
    });
    EntryOutcome { items, applied }
}

#[cfg(test)]
mod tests {
    use quorate_machine::{Id, KvCommand, Tick};

    use super::*;

    fn item(command: Command, source: &str) -> DoorItem {
        let author = Principal {
            kind: Some(PrincipalKind::Node(1)),
            source: source.to_owned(),
        };
        let proposal = Proposal {
            author: Some(author),
            command: Some(command),
        };
        DoorItem {
            stamp: Some(SessionStamp::default()),
            proposal: proposal.encode_to_vec().into(),
        }
    }

    fn kv(value_bytes: usize) -> DoorItem {
        let put = quorate_kv::PutRequest {
            value: vec![0; value_bytes].into(),
            ..Default::default()
        };
        let command = KvCommand {
            instance: Id::from_u128(1),
            op: Some(quorate_kv::KvOp::Put(put)),
        };
        item(Command::Kv(command), "test")
    }

    fn tick() -> DoorItem {
        item(Command::Tick(Tick {}), "")
    }

    fn counts(items: Vec<DoorItem>) -> Vec<usize> {
        let entries = share_entries(5, 6, items);
        entries.into_iter().map(|(count, _)| count).collect()
    }

    #[test]
    fn commands_on_keyspaces_share_an_entry_and_others_never_do() {
        assert!(counts(vec![]).is_empty());
        assert_eq!(
            counts(vec![kv(1), kv(2), tick(), tick(), kv(3), kv(4), kv(5)]),
            [2, 1, 1, 3]
        );
        let entries = share_entries(5, 6, vec![kv(1), kv(2), tick()]);
        let [(_, Commands::Many(batch)), (_, Commands::One(envelope))] = &entries[..] else {
            panic!("{entries:?}");
        };
        assert_eq!((batch.time_ms, batch.wall_ms), (5, 6));
        let inside = BatchedCommands::decode(batch.commands.clone()).expect("it was just encoded");
        let proposals: Vec<Bytes> = inside.commands.into_iter().map(|one| one.proposal).collect();
        assert_eq!(proposals, [kv(1).proposal, kv(2).proposal]);
        assert_eq!(envelope.proposal, tick().proposal);
    }

    #[test]
    fn one_command_alone_is_encoded_as_before_there_were_batches() {
        let entries = share_entries(5, 6, vec![kv(1)]);
        assert!(matches!(entries[..], [(1, Commands::One(_))]), "{entries:?}");
    }

    #[test]
    fn an_entry_is_bounded_by_commands_and_by_bytes() {
        let many: Vec<DoorItem> = (0..2 * MAX_BATCH_COMMANDS + 1).map(|_| kv(1)).collect();
        assert_eq!(counts(many), [MAX_BATCH_COMMANDS, MAX_BATCH_COMMANDS, 1]);
        let half = MAX_BATCH_BYTES / 2;
        assert_eq!(
            counts(vec![kv(half), kv(half), kv(1), kv(2 * half), kv(1)]),
            [1, 2, 1, 1]
        );
    }
}
