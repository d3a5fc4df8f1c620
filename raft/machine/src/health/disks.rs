//! Disks of the members: while one runs full, clients of every keyspace may add no data.
//!
//! Every node keeps the whole log, so that one full disk takes that node out: better to refuse writes while all of them
//! still work. A node reports a change of its own disk; the fact ends with the report that says so, and does not count while
//! the node is out anyway.

use crate::apply::{Context, done};
use crate::command::ReportDisk;
use crate::events::{self, EventCode};
use crate::live::NodeDisk;
use crate::reply::*;
use crate::state::State;

impl State {
    /// Members that report too little free disk space, in order of id. One that lapsed or is no member does not count.
    pub fn nodes_short_of_disk(&self) -> impl Iterator<Item = u64> {
        self.disks
            .values()
            .filter(|disk| disk.short && self.nodes.contains_key(&disk.node))
            .filter(|disk| self.workers.get(&disk.node).is_none_or(|worker| !worker.lapsed))
            .map(|disk| disk.node)
    }

    /// What a member reported last about its disk.
    pub fn disk(&self, node: u64) -> Option<&NodeDisk> {
        self.disks.get(&node)
    }
}

pub(crate) fn disk_reported(
    state: &mut State,
    context: &mut Context<'_>,
    command: ReportDisk,
) -> Result<ReplyKind, Refusal> {
    if !state.nodes.contains_key(&command.node) {
        return Err(Refusal::new(RefusalCode::NotFound).with("node", command.node));
    }
    let present = state.disks.get(&command.node).copied().unwrap_or_default();
    let (reported, known) = (
        (command.incarnation, command.sequence),
        (present.incarnation, present.sequence),
    );
    if reported <= known {
        return Err(Refusal::new(RefusalCode::StaleReport).with("sequence", present.sequence));
    }
    let disk = NodeDisk {
        node: command.node,
        incarnation: command.incarnation,
        sequence: command.sequence,
        short: command.short,
        free_bytes: command.free_bytes,
        total_bytes: command.total_bytes,
        changed_ms: context.now_ms,
    };
    state.disks.insert(command.node, disk);
    if disk.short != present.short {
        let code = if disk.short {
            EventCode::DiskShort
        } else {
            EventCode::DiskRecovered
        };
        let params = vec![
            Param::new("node", command.node),
            Param::new("free_mib", command.free_bytes >> 20),
        ];
        events::record(state, context, code, None, params);
        context.wake.membership = true;
    }
    done()
}
