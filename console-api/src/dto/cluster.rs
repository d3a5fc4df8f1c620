//! Standing of the cluster as this node sees it.

use quorate_machine::{PartitionState, State};
use quorate_raft::ClusterStatus;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::PauseView;

/// The cluster as the answering node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct ClusterView {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cluster_id: Option<String>,
    /// Node that answered.
    pub(crate) answered_by: u64,
    /// Raft term.
    pub(crate) term: u64,
    /// Absent while there is no leader.
    pub(crate) leader: Option<u64>,
    /// This node serves clients: it has been in contact with a quorum within 800 ms.
    pub(crate) serving: bool,
    /// This node keeps watch streams: in contact with a quorum within 2 s.
    pub(crate) watchable: bool,
    /// Milliseconds since this node's last contact with a leader or, leading, with a quorum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_contact_ms_ago: Option<u64>,
    pub(crate) last_log_index: u64,
    pub(crate) committed_index: u64,
    pub(crate) applied_index: u64,
    pub(crate) snapshot_index: u64,
    /// Cluster time, milliseconds.
    pub(crate) cluster_time_ms: u64,
    /// A fatal error stopped consensus on this node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fatal: Option<String>,
    pub(crate) nodes: Vec<NodeView>,
    /// Pauses of automatic switching in force, the cluster's first.
    pub(crate) pauses: Vec<PauseView>,
    /// Open maintenance windows.
    pub(crate) open_windows: usize,
    /// Sites that are not normal, as `site: state`.
    pub(crate) troubled_sites: Vec<String>,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct NodeView {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) zone: String,
    /// `dc1`, `dc2` or `arbiter`.
    pub(crate) site: String,
    pub(crate) peer: String,
    pub(crate) kv: String,
    pub(crate) console: String,
    /// `leader`, `follower`, `learner` or `none`.
    pub(crate) role: String,
    /// This node has had an answer of it lately; always true for itself.
    pub(crate) reachable: bool,
    /// `seen`, `lapsed` or `unknown`: the probing role of the node, as the log knows it.
    pub(crate) worker: String,
}

/// What the consensus layer says beside the state.
pub(crate) struct Standing {
    pub(crate) status: ClusterStatus,
    pub(crate) reachable: Vec<u64>,
    pub(crate) cluster_time_ms: u64,
}

/// Puts the state's members and this node's standing together.
pub(crate) fn cluster_view(state: &State, standing: &Standing) -> ClusterView {
    let status = &standing.status;
    let role = |id: u64| match id {
        id if status.leader == Some(id) => "leader",
        id if status.voters.contains(&id) => "follower",
        id if status.learners.contains(&id) => "learner",
        _ => "none",
    };
    let worker = |id: u64| match state.worker(id) {
        Some(worker) if worker.lapsed => "lapsed",
        Some(_) => "seen",
        None => "unknown",
    };
    let nodes = state.nodes().map(|node| NodeView {
        id: node.id,
        name: node.name.clone(),
        zone: node.zone.clone(),
        site: node.site.clone(),
        peer: node.peer.clone(),
        kv: node.kv.clone(),
        console: node.console.clone(),
        role: role(node.id).to_owned(),
        reachable: node.id == status.node_id || standing.reachable.contains(&node.id),
        worker: worker(node.id).to_owned(),
    });
    ClusterView {
        cluster_id: state.cluster_id().map(|id| id.to_string()),
        answered_by: status.node_id,
        term: status.term,
        leader: status.leader,
        serving: status.serving,
        watchable: status.watchable,
        last_contact_ms_ago: status.last_contact.map(|contact| contact.elapsed().as_millis() as u64),
        last_log_index: status.last_log_index,
        committed_index: status.committed_index,
        applied_index: status.applied_index,
        snapshot_index: status.snapshot_index,
        cluster_time_ms: standing.cluster_time_ms,
        fatal: status.fatal.clone(),
        nodes: nodes.collect(),
        pauses: state.pauses().map(PauseView::from).collect(),
        open_windows: state.windows().filter(|window| window.open).count(),
        troubled_sites: state
            .sites()
            .filter(|site| site.state() != PartitionState::Normal)
            .map(|site| format!("{}: {}", site.site, site.state().code()))
            .collect(),
    }
}
