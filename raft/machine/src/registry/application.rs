//! Applications (B1).

use crate::apply::{Context, done};
use crate::audit;
use crate::command::*;
use crate::model::*;
use crate::registry::describe::describe_application;
use crate::registry::{check_generation, check_quota, new_meta, not_found, object_reply};
use crate::reply::*;
use crate::state::State;
use crate::{validate, withhold};

pub(crate) fn create_application(
    state: &mut State,
    context: &mut Context<'_>,
    command: CreateApplication,
) -> Result<ReplyKind, Refusal> {
    let CreateApplication { id, instance, spec } = command;
    if state.instance(&instance).is_none() {
        return Err(Refusal::new(RefusalCode::UnknownInstance).with("instance", instance));
    }
    validate::application(&spec)?;
    check_name(state, &instance, &id, &spec.name)?;
    let present = state.applications(&instance).count();
    check_quota(
        "applications_per_instance",
        state.quotas.applications_per_instance,
        present,
    )?;
    if state.applications.contains_key(&id) {
        return Err(Refusal::new(RefusalCode::DuplicateName).with("id", id));
    }
    let application = Application {
        meta: new_meta(context, id),
        instance,
        spec,
    };
    let changes = audit::differences(&[], &describe_application(&application));
    audit::record(state, context, "create-application", Some(id), Vec::new(), changes);
    let reply = object_reply(&application.meta);
    state.applications.insert(id, application);
    reply
}

pub(crate) fn update_application(
    state: &mut State,
    context: &mut Context<'_>,
    command: UpdateApplication,
) -> Result<ReplyKind, Refusal> {
    let Some(present) = state.application(&command.id) else {
        return Err(not_found("application", command.id));
    };
    check_generation(&present.meta, command.generation)?;
    validate::application(&command.spec)?;
    check_name(state, &present.instance, &command.id, &command.spec.name)?;
    let mut application = present.clone();
    application.spec = command.spec;
    application.meta.generation += 1;
    let changes = audit::differences(&describe_application(present), &describe_application(&application));
    audit::record(
        state,
        context,
        "update-application",
        Some(command.id),
        Vec::new(),
        changes,
    );
    let reply = object_reply(&application.meta);
    state.applications.insert(command.id, application);
    reply
}

pub(crate) fn delete_application(
    state: &mut State,
    context: &mut Context<'_>,
    command: DeleteObject,
) -> Result<ReplyKind, Refusal> {
    let Some(present) = state.application(&command.id) else {
        return Err(not_found("application", command.id));
    };
    check_generation(&present.meta, command.generation)?;
    let monitors = state.monitors_of_application(&command.id).count();
    if monitors > 0 {
        let refusal = Refusal::new(RefusalCode::HasMonitors);
        return Err(refusal
            .with("application", &present.spec.name)
            .with("monitors", monitors));
    }
    let changes = audit::differences(&describe_application(present), &[]);
    audit::record(
        state,
        context,
        "delete-application",
        Some(command.id),
        Vec::new(),
        changes,
    );
    state.applications.remove(&command.id);
    withhold::forget_object(state, context, &command.id);
    done()
}

fn check_name(state: &State, instance: &Id, id: &Id, name: &str) -> Result<(), Refusal> {
    let taken = |other: &Application| other.meta.id != *id && other.spec.name == name;
    if state.applications(instance).any(taken) {
        return Err(Refusal::new(RefusalCode::DuplicateName).with("name", name));
    }
    Ok(())
}
