//! Members: admits newcomers to the registry, and brings consensus in line with the registry while this node leads.
//!
//! A node that the registry names and consensus does not know yet becomes a learner; a learner that has caught up becomes a
//! voter, unless it is to stay one. A member that the registry no longer names is removed from consensus.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quorate_machine::{Command, NodeRecord, RefusalCode, UpsertNode};
use quorate_raft::{Handle, Member};
use tokio::sync::Mutex;

use super::{Heartbeats, ProposeError, propose};
use crate::identity::{NodeProfile, Registrar, node_record};

/// From one look to the next; membership changes rarely.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Time for one change of the membership.
const CHANGE_DEADLINE: Duration = Duration::from_secs(10);
/// Entries that a learner may be behind when it becomes a voter…
const CAUGHT_UP_ENTRIES: u64 = 256;
/// … what was committed so many looks ago: what it says of itself is a heartbeat old, and thousands of entries come meanwhile.
const LOOKS_BACK: usize = 2;
/// Members that a cluster may have, learners included.
const MAX_MEMBERS: usize = 9;
/// Times that another id is tried when two nodes join at once.
const MAX_ID_ATTEMPTS: usize = 8;

/// Admits newcomers: gives each an id that no node has had, and writes it to the registry. Refuses while `handle` is empty.
pub fn registrar(handle: Arc<OnceLock<Handle>>) -> Registrar {
    let one_at_a_time = Arc::new(Mutex::new(()));
    Arc::new(move |profile: NodeProfile| {
        let (handle, one_at_a_time) = (handle.clone(), one_at_a_time.clone());
        Box::pin(async move {
            let _turn = one_at_a_time.lock().await;
            let handle = handle.get().ok_or("this node is still starting: try again")?;
            register(handle, profile).await
        })
    })
}

async fn register(handle: &Handle, mut profile: NodeProfile) -> Result<u64, String> {
    for _ in 0..MAX_ID_ATTEMPTS {
        handle
            .read_index(CHANGE_DEADLINE)
            .await
            .map_err(|error| error.to_string())?;
        let nodes: Vec<NodeRecord> = handle.read(|state| state.nodes().cloned().collect());
        if nodes.len() >= MAX_MEMBERS {
            return Err(format!("the cluster has {MAX_MEMBERS} members already"));
        }
        if let Some(same) = nodes.iter().find(|node| node.peer == profile.peer) {
            if !same.kv.is_empty() {
                return Err(format!("{} is the peer address of {} already", profile.peer, same.name));
            }
            // Added by a client of the KV endpoint, and waited for since.
            return take_place(handle, profile, same).await;
        }
        profile.node_id = handle.read(quorate_machine::State::next_node_id);
        let mut record = node_record(&profile);
        if record.name.is_empty() {
            record.name = format!("node-{}", profile.node_id);
        }
        let command = Command::UpsertNode(UpsertNode {
            node: record,
            new: Some(true),
            keeps_place: false,
        });
        match propose(handle, command).await {
            Ok(_) => return Ok(profile.node_id),
            // Another node's desk gave the same id in the same moment, and was first.
            Err(ProposeError::Refused(refusal)) if refusal.code() == RefusalCode::NodeIdTaken => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Err("several nodes join at once: try again".to_string())
}

/// Fills the place of a member that was added before it came.
async fn take_place(handle: &Handle, mut profile: NodeProfile, place: &NodeRecord) -> Result<u64, String> {
    profile.node_id = place.id;
    let mut node = node_record(&profile);
    if node.name.is_empty() {
        node.name = format!("node-{}", place.id);
    }
    node.learner = place.learner;
    let command = Command::UpsertNode(UpsertNode {
        node,
        new: Some(false),
        keeps_place: false,
    });
    propose(handle, command).await.map_err(|error| error.to_string())?;
    Ok(place.id)
}

/// Looks for ever.
pub async fn run(handle: Handle, heartbeats: Arc<Heartbeats>) {
    let mut interval = tokio::time::interval(LOOK_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut commits = Commits::default();
    loop {
        interval.tick().await;
        commits.note(handle.status().borrow().committed_index);
        if !handle.is_leader() {
            continue;
        }
        if let Err(error) = align(&handle, &heartbeats, &commits).await {
            tracing::warn!("cannot change the members of consensus: {error}");
        }
    }
}

/// What was committed at the last looks, the oldest first.
#[derive(Default)]
struct Commits(VecDeque<u64>);

impl Commits {
    fn note(&mut self, committed: u64) {
        self.0.push_back(committed);
        if self.0.len() > LOOKS_BACK + 1 {
            self.0.pop_front();
        }
    }

    /// True for a learner that said some time ago that it had applied so much.
    fn has_caught_up(&self, applied: u64) -> bool {
        let before = self.0.front();
        before.is_some_and(|before| applied.saturating_add(CAUGHT_UP_ENTRIES) >= *before)
    }
}

async fn align(handle: &Handle, heartbeats: &Heartbeats, commits: &Commits) -> Result<(), quorate_raft::CallError> {
    let Some(nodes) = registry(handle) else {
        return Ok(());
    };
    let members = handle.members();
    for node in nodes {
        // One that cannot be brought in line keeps no other waiting.
        if let Err(error) = align_node(handle, heartbeats, commits, &node, members.get(&node.id)).await {
            tracing::warn!(node = node.id, "cannot change the members of consensus: {error}");
        }
    }
    remove_unregistered(handle).await
}

async fn align_node(
    handle: &Handle,
    heartbeats: &Heartbeats,
    commits: &Commits,
    node: &NodeRecord,
    present: Option<&Member>,
) -> Result<(), quorate_raft::CallError> {
    let member = Member {
        name: node.name.clone(),
        zone: node.zone.clone(),
        peer: peer_address(&node.peer),
    };
    let Some(present) = present else {
        tracing::info!(node = node.id, "a new node becomes a learner");
        return handle.add_learner(node.id, member, CHANGE_DEADLINE).await;
    };
    // A record without an address says nothing of where the node is.
    if !member.peer.is_empty() && present.peer != member.peer {
        // The registry of a leader that has just begun may be older than consensus.
        handle.read_index(CHANGE_DEADLINE).await?;
        let now = handle.read(|state| state.node(node.id).map(|node| peer_address(&node.peer)));
        let known = handle.members().remove(&node.id).map(|known| known.peer);
        if now.as_ref() == Some(&member.peer) && known.is_some() && known != now {
            tracing::info!(node = node.id, from = known, to = now, "a node has moved");
            handle.update_member(node.id, member, CHANGE_DEADLINE).await?;
        }
    }
    let caught_up = |applied| commits.has_caught_up(applied);
    let votes = handle.status().borrow().voters.contains(&node.id);
    if !votes && !node.learner && heartbeats.applied_index(node.id).is_some_and(caught_up) {
        tracing::info!(node = node.id, "a learner has caught up and becomes a voter");
        handle.promote(vec![node.id], CHANGE_DEADLINE).await?;
    }
    Ok(())
}

/// The registry; `None` before the bootstrap.
fn registry(handle: &Handle) -> Option<Vec<NodeRecord>> {
    handle.read(|state| state.cluster_id().map(|_| state.nodes().cloned().collect()))
}

/// Members that left the registry leave consensus; if this leader is one of them, another one sees to it.
async fn remove_unregistered(handle: &Handle) -> Result<(), quorate_raft::CallError> {
    let unregistered = || {
        let nodes = registry(handle).unwrap_or_default();
        let members = handle.members().into_keys();
        members
            .filter(|id| !nodes.iter().any(|node| node.id == *id))
            .collect::<Vec<u64>>()
    };
    if unregistered().is_empty() {
        return Ok(());
    }
    // The registry of a leader that has just begun may lack what its predecessor wrote there.
    handle.read_index(CHANGE_DEADLINE).await?;
    let gone = unregistered();
    if gone.is_empty() || registry(handle).is_none() {
        return Ok(());
    }
    if gone.contains(&handle.node_id()) {
        return handle.transfer_leadership(None, CHANGE_DEADLINE).await;
    }
    tracing::info!(?gone, "members leave consensus");
    handle.remove(gone, CHANGE_DEADLINE).await
}

/// `host:port` of a node's peer address, which is a list of URLs in a cluster that stands in for etcd.
pub(crate) fn peer_address(registered: &str) -> String {
    let first = registered.split(',').next().unwrap_or_default();
    let address = first.split_once("://").map_or(first, |(_, address)| address);
    address.trim_end_matches('/').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_learner_catches_up_under_steady_writes_and_not_by_standing_still() {
        const PER_LOOK: u64 = 2_000;
        let mut commits = Commits::default();
        assert!(!commits.has_caught_up(0), "nothing is known yet");
        commits.note(PER_LOOK);
        assert!(!commits.has_caught_up(PER_LOOK - CAUGHT_UP_ENTRIES - 1));
        assert!(commits.has_caught_up(PER_LOOK - CAUGHT_UP_ENTRIES));
        for look in 2..=10 {
            commits.note(look * PER_LOOK);
        }
        assert!(commits.has_caught_up(9 * PER_LOOK), "its word is a look old");
        assert!(!commits.has_caught_up(7 * PER_LOOK));
    }
}
