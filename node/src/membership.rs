//! Changes of the members that KV clients ask for, carried out by the leader, one at a time.
//!
//! The registry is what counts: a member is added to or removed from it by a command, and the reconciler of members then
//! brings consensus in line. So a new member always starts as a learner of consensus, and costs no quorum before it has
//! caught up, even where a client added it as a voter at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use quorate_etcd_api::{MAX_LEARNERS, MemberChange, MemberError, MemberKeeper};
use quorate_machine::{Command, NodeRecord, RefusalCode, RemoveNode, UpsertNode};
use quorate_raft::{CallError, Handle, Member};
use tokio::sync::Mutex;

use crate::reconcilers::{Heartbeats, ProposeError, peer_address, propose};

/// First byte of a change of the members among the leader's requests.
pub const MEMBER_REQUEST_TAG: u8 = b'M';
/// Time for one change.
const CHANGE_DEADLINE: Duration = Duration::from_secs(7);
/// A member that has not answered for this long is not there.
const PEER_SILENCE: Duration = Duration::from_millis(1_500);
/// Part of the leader's log that a learner must hold to become a voter, per cent, as in etcd.
const READY_PERCENT: u64 = 90;

/// How new members are numbered.
#[derive(Debug, Clone)]
pub enum Numbering {
    /// One after the other, as in an appliance.
    Consecutive,
    /// As etcd computes it, from this token.
    Etcd { token: String },
}

/// The desk where changes of the members are asked for.
#[derive(Clone)]
pub struct Membership {
    handle: Handle,
    heartbeats: Arc<Heartbeats>,
    numbering: Numbering,
    one_at_a_time: Arc<Mutex<()>>,
}

/// A change on its way to the leader.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct ChangeMessage {
    #[prost(oneof = "ChangeKind", tags = "1, 2, 3, 4")]
    kind: Option<ChangeKind>,
}

#[derive(Clone, PartialEq, Eq, prost::Oneof)]
enum ChangeKind {
    #[prost(message, tag = "1")]
    Add(AddMessage),
    #[prost(uint64, tag = "2")]
    Remove(u64),
    #[prost(message, tag = "3")]
    Update(UpdateMessage),
    #[prost(uint64, tag = "4")]
    Promote(u64),
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct AddMessage {
    #[prost(string, repeated, tag = "1")]
    peer_urls: Vec<String>,
    #[prost(bool, tag = "2")]
    learner: bool,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct UpdateMessage {
    #[prost(uint64, tag = "1")]
    node: u64,
    #[prost(string, repeated, tag = "2")]
    peer_urls: Vec<String>,
}

/// What the leader answers: the node, or the number of a refusal.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct ChangeAnswer {
    #[prost(uint64, tag = "1")]
    node: u64,
    #[prost(uint32, optional, tag = "2")]
    refused: Option<u32>,
}

impl Membership {
    /// A desk over this node's consensus.
    pub fn new(handle: Handle, heartbeats: Arc<Heartbeats>, numbering: Numbering) -> Self {
        Self {
            handle,
            heartbeats,
            numbering,
            one_at_a_time: Arc::default(),
        }
    }

    /// Answers another node's request while this one leads; `request` without its first byte.
    pub async fn answer(&self, request: &[u8]) -> Result<Bytes, String> {
        let message =
            ChangeMessage::decode(request).map_err(|error| format!("malformed change of members: {error}"))?;
        let change = message.kind.ok_or("a change of members without a kind")?;
        let answer = match self.carry_out(change).await {
            Ok(node) => ChangeAnswer { node, refused: None },
            Err(error) => {
                let number = error.number().ok_or_else(|| error.to_string())?;
                ChangeAnswer {
                    node: 0,
                    refused: Some(number),
                }
            }
        };
        Ok(answer.encode_to_vec().into())
    }

    async fn carry_out(&self, change: ChangeKind) -> Result<u64, MemberError> {
        let _turn = self.one_at_a_time.lock().await;
        self.handle.read_index(CHANGE_DEADLINE).await?;
        let nodes: Vec<NodeRecord> = self.handle.read(|state| state.nodes().cloned().collect());
        let find = |id: u64| nodes.iter().find(|node| node.id == id).ok_or(MemberError::NotFound);
        match change {
            ChangeKind::Add(add) => self.add(&nodes, add).await,
            ChangeKind::Remove(id) => {
                let node = find(id)?;
                self.check_remove(&nodes, node)?;
                self.propose(Command::RemoveNode(RemoveNode { node: id })).await?;
                // The one that leads hands leadership over and is removed by its successor (`reconcilers::members`).
                if id != self.handle.node_id()
                    && let Err(error) = self.handle.remove(vec![id], CHANGE_DEADLINE).await
                {
                    tracing::warn!(node = id, "removed, and still in consensus for now: {error}");
                }
                Ok(id)
            }
            ChangeKind::Update(update) => {
                let mut node = find(update.node)?.clone();
                let others = nodes.iter().filter(|other| other.id != node.id);
                if shares_url(others, &update.peer_urls) {
                    return Err(MemberError::PeerUrlExists);
                }
                node.peer = self.registered(&update.peer_urls);
                let member = Member {
                    name: node.name.clone(),
                    zone: node.zone.clone(),
                    peer: peer_address(&node.peer),
                };
                let id = node.id;
                let new = Some(false);
                self.propose(Command::UpsertNode(UpsertNode {
                    node,
                    new,
                    keeps_place: false,
                }))
                .await?;
                self.handle.update_member(id, member, CHANGE_DEADLINE).await?;
                Ok(id)
            }
            ChangeKind::Promote(id) => {
                let mut node = find(id)?.clone();
                self.check_promote(&nodes, &node)?;
                node.learner = false;
                let new = Some(false);
                self.propose(Command::UpsertNode(UpsertNode {
                    node,
                    new,
                    keeps_place: false,
                }))
                .await?;
                self.handle.promote(vec![id], CHANGE_DEADLINE).await?;
                Ok(id)
            }
        }
    }

    async fn add(&self, nodes: &[NodeRecord], add: AddMessage) -> Result<u64, MemberError> {
        if shares_url(nodes.iter(), &add.peer_urls) {
            return Err(match add.learner {
                true => MemberError::IdExists,
                false => MemberError::PeerUrlExists,
            });
        }
        if add.learner && nodes.iter().filter(|node| node.learner).count() >= MAX_LEARNERS {
            return Err(MemberError::TooManyLearners);
        }
        if !add.learner {
            check_started(nodes.iter().filter(|node| !node.learner), 1, true)?;
            self.check_connected(nodes)?;
        }
        let id = match &self.numbering {
            Numbering::Consecutive => self.handle.read(|state| state.next_node_id()),
            Numbering::Etcd { token } => {
                let now = jiff::Timestamp::now().as_second();
                crate::etcd::member_id(&add.peer_urls, token, Some(now))
            }
        };
        if nodes.iter().any(|node| node.id == id) {
            return Err(MemberError::IdExists);
        }
        let node = NodeRecord {
            id,
            peer: self.registered(&add.peer_urls),
            learner: add.learner,
            ..NodeRecord::default()
        };
        let new = Some(true);
        self.propose(Command::UpsertNode(UpsertNode {
            node,
            new,
            keeps_place: false,
        }))
        .await?;
        Ok(id)
    }

    /// As in etcd: what is left must have a quorum of members that have started.
    fn check_remove(&self, nodes: &[NodeRecord], node: &NodeRecord) -> Result<(), MemberError> {
        if node.learner {
            return Ok(());
        }
        let others = nodes.iter().filter(|other| !other.learner && other.id != node.id);
        check_started(others, 0, false)?;
        let alive = self.alive();
        let voters: Vec<&NodeRecord> = nodes.iter().filter(|node| !node.learner).collect();
        let active = voters.iter().filter(|voter| alive.contains(&voter.id)).count();
        // One that is down is no part of the quorum that works.
        if !alive.contains(&node.id) || active > (voters.len() - 1) / 2 + 1 {
            return Ok(());
        }
        Err(MemberError::Unhealthy)
    }

    fn check_promote(&self, nodes: &[NodeRecord], node: &NodeRecord) -> Result<(), MemberError> {
        if !node.learner {
            return Err(MemberError::NotLearner);
        }
        let status = self.handle.status();
        let committed = status.borrow().committed_index;
        let applied = self.heartbeats.applied_index(node.id).unwrap_or(0);
        let learns = status.borrow().learners.contains(&node.id);
        if !learns || applied.saturating_mul(100) < committed.saturating_mul(READY_PERCENT) {
            return Err(MemberError::LearnerNotReady);
        }
        check_started(
            nodes.iter().filter(|other| !other.learner || other.id == node.id),
            0,
            false,
        )
    }

    fn alive(&self) -> Vec<u64> {
        let mut alive = self.handle.reachable_peers(PEER_SILENCE);
        alive.push(self.handle.node_id());
        alive
    }

    /// As in etcd nobody is added while a voter is away.
    fn check_connected(&self, nodes: &[NodeRecord]) -> Result<(), MemberError> {
        let alive = self.alive();
        let mut voters = nodes.iter().filter(|node| !node.learner);
        match voters.all(|voter| alive.contains(&voter.id)) {
            true => Ok(()),
            false => Err(MemberError::Unhealthy),
        }
    }

    /// Peer URLs as the registry holds them.
    fn registered(&self, urls: &[String]) -> String {
        match self.numbering {
            Numbering::Etcd { .. } => urls.join(","),
            Numbering::Consecutive => urls.first().map(|url| peer_address(url)).unwrap_or_default(),
        }
    }

    async fn propose(&self, command: Command) -> Result<(), MemberError> {
        match propose(&self.handle, command).await {
            Ok(_) => Ok(()),
            Err(ProposeError::Call(error)) => Err(error.into()),
            // The registry changed since it was read: another node's desk admits newcomers too.
            Err(ProposeError::Refused(refusal)) => Err(match refusal.code() {
                RefusalCode::NotFound => MemberError::NotFound,
                RefusalCode::NodeIdTaken => MemberError::IdExists,
                other => CallError::Remote(other.code().to_string()).into(),
            }),
        }
    }
}

/// At least a quorum of these, and of `more` that have not started, must have started. A second member may join one that is
/// alone, as in etcd.
fn check_started<'a>(
    voters: impl Iterator<Item = &'a NodeRecord>,
    more: usize,
    joining: bool,
) -> Result<(), MemberError> {
    let (mut all, mut started) = (more, 0);
    for voter in voters {
        all += 1;
        started += usize::from(!voter.kv.is_empty());
    }
    if joining && started == 1 && all == 2 {
        return Ok(());
    }
    match all > 0 && started > all / 2 {
        true => Ok(()),
        false => Err(MemberError::NotEnoughStarted),
    }
}

fn shares_url<'a>(mut nodes: impl Iterator<Item = &'a NodeRecord>, urls: &[String]) -> bool {
    let addresses: Vec<String> = urls.iter().map(|url| peer_address(url)).collect();
    nodes.any(|node| node.peer.split(',').any(|url| addresses.contains(&peer_address(url))))
}

#[tonic::async_trait]
impl MemberKeeper for Membership {
    async fn change(&self, change: MemberChange) -> Result<u64, MemberError> {
        let leaves = matches!(change, MemberChange::Remove { node } if node == self.handle.node_id());
        let kind = match change {
            MemberChange::Add { peer_urls, learner } => ChangeKind::Add(AddMessage { peer_urls, learner }),
            MemberChange::Remove { node } => ChangeKind::Remove(node),
            MemberChange::Update { node, peer_urls } => ChangeKind::Update(UpdateMessage { node, peer_urls }),
            MemberChange::Promote { node } => ChangeKind::Promote(node),
        };
        let mut request = vec![MEMBER_REQUEST_TAG];
        let message = ChangeMessage { kind: Some(kind) };
        message.encode(&mut request).expect("a vector grows");
        let answer = self.handle.ask_leader(request.into(), CHANGE_DEADLINE).await?;
        let answer = ChangeAnswer::decode(answer)
            .map_err(|error| CallError::Remote(format!("the leader's answer cannot be understood: {error}")))?;
        match answer.refused {
            // A member that was removed hears no more of what is committed.
            None if leaves => Ok(answer.node),
            None => {
                self.handle.read_index(CHANGE_DEADLINE).await?;
                Ok(answer.node)
            }
            Some(number) => Err(MemberError::from_number(number)
                .unwrap_or_else(|| CallError::Remote(format!("it refused, with the unknown number {number}")).into())),
        }
    }
}
