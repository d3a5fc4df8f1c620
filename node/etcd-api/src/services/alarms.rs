//! Alarms of the port's keyspace, as Maintenance tells, raises and disarms them.
//!
//! Beside the alarms that stay until they are disarmed, `NOSPACE` is told for every member whose disk runs full. That one
//! ends by itself, with the shortage; disarming it does nothing. So does `CORRUPT` of every member while no majority of the
//! nodes has the same state: nobody can say which of them is the corrupt one.

use std::collections::BTreeSet;

use quorate_kv::{AlarmAction, AlarmKind, AlarmRequest, KvOp, KvResult};
use tonic::Status;

use super::kv::wrong_result;
use crate::caller::Client;
use crate::context::{Context, member_id};
use crate::errors;
use crate::pb::etcdserverpb as pb;

/// Carries out an alarm request. Telling needs any user, the rest the role `root`, as in etcd.
pub(super) async fn alarm(
    context: &Context,
    client: &Client,
    request: pb::AlarmRequest,
) -> Result<pb::AlarmResponse, Status> {
    let wanted = AlarmRequest {
        action: request.action,
        member: request.member_id,
        kind: request.alarm,
    };
    if wanted.action == AlarmAction::Get as i32 {
        context.ensure_serving(client)?;
        context.authorize_user(client).await?;
        context.read_index().await?;
        let mut alarms = active(context)?;
        alarms.retain(|alarm| [alarm.alarm, AlarmKind::None as i32].contains(&wanted.kind));
        let header = Some(context.current_header()?);
        return Ok(pb::AlarmResponse { header, alarms });
    }
    match context.propose(client, KvOp::Alarm(wanted)).await? {
        (KvResult::Alarm(response), revision) => Ok(pb::AlarmResponse {
            header: Some(context.header(revision)),
            alarms: response.alarms.iter().map(told).collect(),
        }),
        _ => Err(wrong_result()),
    }
}

/// Every alarm in force, in order of kind and member; one of several reasons is told once.
pub(crate) fn active(context: &Context) -> Result<Vec<pb::AlarmMember>, Status> {
    let alarms = context.handle.read(|state| {
        let keyspace = state.keyspace(&context.instance)?;
        let short = state
            .nodes_short_of_disk()
            .map(|node| (AlarmKind::NoSpace as i32, member_id(context.cluster_id, node)));
        let lost = state.hash_majority_lost();
        let corrupt = state
            .nodes()
            .filter(|_| lost)
            .map(|node| (AlarmKind::Corrupt as i32, member_id(context.cluster_id, node.id)));
        let raised = keyspace.alarms().map(|alarm| (alarm.kind, alarm.member));
        Some(raised.chain(short).chain(corrupt).collect::<BTreeSet<_>>())
    });
    let alarms = alarms.ok_or_else(errors::unknown_instance)?;
    let told = |(alarm, member_id)| pb::AlarmMember { member_id, alarm };
    Ok(alarms.into_iter().map(told).collect())
}

/// Name of an alarm's kind.
pub(crate) fn name(alarm: &pb::AlarmMember) -> &'static str {
    pb::AlarmType::try_from(alarm.alarm).map_or("UNKNOWN", |kind| kind.as_str_name())
}

/// As etcd's Status writes an alarm among its errors, the blank at the end included.
pub(super) fn text(alarm: &pb::AlarmMember) -> String {
    format!("memberID:{} alarm:{} ", alarm.member_id, alarm.alarm().as_str_name())
}

fn told(alarm: &quorate_kv::Alarm) -> pb::AlarmMember {
    pb::AlarmMember {
        member_id: alarm.member,
        alarm: alarm.kind,
    }
}
