//! What an operator sets beside switches: the read/write state (C9), and the acknowledgement that lifts a repeat block.

use crate::apply::{Context, done};
use crate::audit::{self, Change};
use crate::command::*;
use crate::events::{self, EventCode};
use crate::health;
use crate::keyspaces::system_write;
use crate::model::*;
use crate::reply::*;
use crate::sdk_keys::{changes, sdk_keys};
use crate::state::State;
use crate::switch::plan::{MAX_REASON_CHARS, not_of_this_kind};
use crate::validate;

pub(crate) fn set_read_write(
    state: &mut State,
    context: &mut Context<'_>,
    command: SetReadWrite,
) -> Result<ReplyKind, Refusal> {
    let Some(monitor) = state.monitor(&command.monitor) else {
        return Err(Refusal::new(RefusalCode::NotFound).with("monitor", command.monitor));
    };
    if !monitor.spec.has_read_write() {
        return Err(not_of_this_kind(monitor, "read-write-state"));
    }
    let Ok(dc) = DataCenter::try_from(command.data_center) else {
        return Err(Refusal::invalid_field("/data_center", "unsupported", "dc1 or dc2"));
    };
    let (instance, keys, before) = (monitor.instance, sdk_keys(monitor), monitor.side(dc).read_write);
    let monitor = state.monitor_mut(&command.monitor);
    monitor.side_mut(dc).read_write = command.state;
    let generation = monitor.meta.generation;
    let writes = changes(&keys, &sdk_keys(monitor));
    if !writes.is_empty() {
        system_write(state, context, instance, &writes);
    }
    let fields = |flags: &ReadWrite| {
        vec![
            (format!("{}.readable", dc.name()), flags.readable.to_string()),
            (format!("{}.writable", dc.name()), flags.writable.to_string()),
        ]
    };
    let changed = audit::differences(&fields(&before), &fields(&command.state));
    audit::record(
        state,
        context,
        "set-read-write",
        Some(command.monitor),
        Vec::new(),
        changed,
    );
    Ok(ReplyKind::Object(ObjectReply {
        id: command.monitor,
        generation,
    }))
}

pub(crate) fn acknowledge(
    state: &mut State,
    context: &mut Context<'_>,
    command: AcknowledgeMonitor,
) -> Result<ReplyKind, Refusal> {
    let Some(monitor) = state.monitor(&command.monitor) else {
        return Err(Refusal::new(RefusalCode::NotFound).with("monitor", command.monitor));
    };
    validate::remark("/comment", &command.comment, MAX_REASON_CHARS)?;
    if !monitor.needs_acknowledgement {
        return Err(Refusal::new(RefusalCode::NothingToAcknowledge).with("monitor", &monitor.spec.name));
    }
    state.monitor_mut(&command.monitor).needs_acknowledgement = false;
    let id = Some(command.monitor);
    let params = vec![
        Param::new("comment", &command.comment),
        Param::new("actor", audit::actor(context.author)),
    ];
    let change = Change {
        field: "needs_acknowledgement".to_owned(),
        before: "true".to_owned(),
        after: "false".to_owned(),
    };
    audit::record(state, context, "acknowledge-monitor", id, params.clone(), vec![change]);
    events::record(state, context, EventCode::Acknowledged, id, params);
    health::evaluate(state, context, &[command.monitor]);
    done()
}
