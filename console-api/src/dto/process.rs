//! Connected application processes (B3).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::rfc3339;
use crate::context::ConnectedProcess;

/// SDK processes of an application, counted from their authenticated watch streams on every node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct ProcessesView {
    /// Processes that are connected, on the nodes that answered.
    pub(crate) connected: usize,
    /// How many an application may have (A1).
    pub(crate) quota: u32,
    /// Nodes that did not answer: what is connected to them is missing here.
    pub(crate) silent_nodes: Vec<u64>,
    pub(crate) items: Vec<ProcessView>,
    /// Pass it as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_cursor: Option<String>,
}

/// One SDK process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct ProcessView {
    /// Node that it is connected to.
    pub(crate) node: u64,
    /// Address of the process, `ip:port`.
    pub(crate) source: String,
    /// KV user that it authenticated as.
    pub(crate) user: String,
    /// Keys of the application that it watches.
    pub(crate) watches: u32,
    /// When its stream began to watch, by the node's clock.
    pub(crate) since: String,
}

impl ProcessView {
    pub(crate) fn new(node: u64, process: ConnectedProcess) -> Self {
        Self {
            node,
            source: process.source,
            user: process.user,
            watches: process.watches,
            since: rfc3339(process.since_wall_ms),
        }
    }
}
