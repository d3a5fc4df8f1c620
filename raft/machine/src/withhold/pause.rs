//! The kill switch: all automatic switching of the cluster, or of one instance, until it is lifted.

use crate::apply::{Context, done};
use crate::audit::{self, Change};
use crate::command::SetPause;
use crate::events::{self, EventCode};
use crate::health;
use crate::model::*;
use crate::reply::*;
use crate::state::State;
use crate::validate;
use crate::withhold::MAX_REASON_CHARS;

/// A pause that is in force keeps its beginning, and takes another reason.
pub(crate) fn set_pause(state: &mut State, context: &mut Context<'_>, command: SetPause) -> Result<ReplyKind, Refusal> {
    let scope = match ScopeKind::try_from(command.scope.kind) {
        Ok(ScopeKind::Cluster) => Scope::CLUSTER,
        Ok(ScopeKind::Instance) if state.instance(&command.scope.object).is_some() => command.scope,
        Ok(ScopeKind::Instance) => {
            return Err(Refusal::new(RefusalCode::UnknownInstance).with("instance", command.scope.object));
        }
        _ => return Err(Refusal::invalid_field("/scope", "unsupported", "cluster or instance")),
    };
    validate::remark("/reason", &command.reason, MAX_REASON_CHARS)?;
    if command.paused && command.reason.trim().is_empty() {
        return Err(Refusal::new(RefusalCode::PauseReasonRequired));
    }
    let before = state.pause(&scope).cloned();
    if before.is_none() && !command.paused {
        return done();
    }
    let actor = audit::actor(context.author);
    let change = Change {
        field: "paused".to_owned(),
        before: before.is_some().to_string(),
        after: command.paused.to_string(),
    };
    let (code, name) = if command.paused {
        let (since_ms, since_wall_ms) = match &before {
            Some(pause) => (pause.since_ms, pause.since_wall_ms),
            None => (context.now_ms, context.wall_ms),
        };
        let pause = Pause {
            scope,
            reason: command.reason.clone(),
            actor: actor.clone(),
            since_ms,
            since_wall_ms,
        };
        state.pauses.insert(scope, pause);
        (EventCode::SwitchingPaused, "pause")
    } else {
        state.pauses.remove(&scope);
        (EventCode::SwitchingResumed, "resume")
    };
    let params = vec![
        Param::new("scope", scope.kind().code()),
        Param::new("actor", actor),
        Param::new("reason", &command.reason),
    ];
    let object = state.instance_of(&scope);
    audit::record(state, context, name, object, params.clone(), vec![change]);
    events::record_of_instance(state, context, code, object, params);
    context.wake.monitors = true;
    health::evaluate_all(state, context);
    done()
}

/// The pause of an instance goes with it, and whoever heard of it hears of its end.
pub(crate) fn forget_pause(state: &mut State, context: &mut Context<'_>, instance: Id) {
    let scope = Scope::of(ScopeKind::Instance, instance);
    if state.pauses.remove(&scope).is_none() {
        return;
    }
    let params = vec![
        Param::new("scope", scope.kind().code()),
        Param::new("actor", audit::actor(context.author)),
        Param::new("reason", ""),
    ];
    events::record_of_instance(state, context, EventCode::SwitchingResumed, Some(instance), params);
}
