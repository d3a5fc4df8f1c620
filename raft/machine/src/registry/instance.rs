//! Instances (A5): isolated resource spaces, each with a keyspace, users, an authority and a port of its own on every node (G3);
//! what nodes say of these ports, and who was given a client certificate.
//!
//! The bootstrapped instance is made in `bootstrap`. Ports are opened and certificates issued by nodes; here is only what all of
//! them agree on. Network and zones of an instance (A5's further fields) are not there yet.

use crate::apply::{Context, done};
use crate::audit;
use crate::command::*;
use crate::events::{self, EventCode};
use crate::model::*;
use crate::registry::bootstrap::{DEFAULT_NAME, MAX_HASH_BYTES, new_keyspace};
use crate::registry::{check_generation, check_quota, new_meta, not_found, object_reply};
use crate::reply::*;
use crate::state::State;
use crate::validate::Problems;
use crate::{history, validate, withhold};

/// Instances that have a port: the table of ports ends there, whatever the quota says.
pub(crate) const MAX_ORDINAL: u32 = 10;
/// Bytes of an authority's certificate in PEM.
const MAX_CA_BYTES: usize = 8 << 10;

/// Gives a new instance its place in the table of ports, the lowest that is free, and its keyspace.
pub(crate) fn create_instance(
    state: &mut State,
    context: &mut Context<'_>,
    command: CreateInstance,
) -> Result<ReplyKind, Refusal> {
    if state.namespace(&command.namespace).is_none() {
        return Err(not_found("namespace", command.namespace));
    }
    check(&command)?;
    check_name(state, &command.id, &command.spec.name)?;
    let most = state.quotas.instances.min(MAX_ORDINAL);
    check_quota("instances", most, state.instances.len())?;
    if state.instances.contains_key(&command.id) {
        return Err(Refusal::new(RefusalCode::DuplicateName).with("id", command.id));
    }
    let taken = |ordinal: &u32| state.instances.values().any(|instance| instance.ordinal == *ordinal);
    let ordinal = (1..=MAX_ORDINAL)
        .find(|ordinal| !taken(ordinal))
        .expect("fewer instances than ordinals");
    let instance = Instance {
        meta: new_meta(context, command.id),
        name: command.spec.name,
        description: command.spec.description,
        namespace: command.namespace,
        ordinal,
        site_switch: false,
        kv_ca: command.kv_ca,
        kv_ca_key: Some(command.kv_ca_key),
        ports: Vec::new(),
    };
    let changes = audit::differences(&[], &describe(&instance));
    audit::record(state, context, "create-instance", Some(command.id), Vec::new(), changes);
    let reply = object_reply(&instance.meta);
    let keyspace = new_keyspace(&command.kv_root_password_hash, &command.kv_sdk_password_hash);
    state.keyspaces.insert(command.id, keyspace);
    state.instances.insert(command.id, instance);
    context.wake.membership = true;
    reply
}

/// Sets name and description; everything else of an instance stays as it was made.
pub(crate) fn update_instance(
    state: &mut State,
    context: &mut Context<'_>,
    command: UpdateInstance,
) -> Result<ReplyKind, Refusal> {
    let Some(present) = state.instance(&command.id) else {
        return Err(not_found("instance", command.id));
    };
    check_generation(&present.meta, command.generation)?;
    let mut problems = Problems::default();
    validate::instance(&mut problems, &command.spec);
    problems.into_result()?;
    check_name(state, &command.id, &command.spec.name)?;
    let mut instance = present.clone();
    instance.name = command.spec.name;
    instance.description = command.spec.description;
    instance.meta.generation += 1;
    let changes = audit::differences(&describe(present), &describe(&instance));
    audit::record(state, context, "update-instance", Some(command.id), Vec::new(), changes);
    let reply = object_reply(&instance.meta);
    state.instances.insert(command.id, instance);
    reply
}

/// Everything goes at once: applications, monitors with their histories, settings, pauses, windows and the keyspace. The bootstrapped
/// instance stays: the cluster's own port is its.
pub(crate) fn delete_instance(
    state: &mut State,
    context: &mut Context<'_>,
    command: DeleteInstance,
) -> Result<ReplyKind, Refusal> {
    let Some(present) = state.instance(&command.id) else {
        return Err(not_found("instance", command.id));
    };
    check_generation(&present.meta, command.generation)?;
    if present.ordinal == 1 {
        return Err(Refusal::new(RefusalCode::FirstInstance).with("instance", &present.name));
    }
    if present.name != command.name {
        return Err(Refusal::invalid_field(
            "/name",
            "mismatch",
            "type the name of the instance that is to go",
        ));
    }
    let monitors: Vec<Id> = state.monitors(&command.id).map(|monitor| monitor.id()).collect();
    let applications: Vec<Id> = state.applications(&command.id).map(|found| found.meta.id).collect();
    let params = vec![
        Param::new("applications", applications.len()),
        Param::new("monitors", monitors.len()),
    ];
    let changes = audit::differences(&describe(present), &[]);
    audit::record(state, context, "delete-instance", Some(command.id), params, changes);
    for id in &monitors {
        state.monitors.remove(id);
        history::forget(state, id);
        withhold::forget_object(state, context, id);
    }
    for id in &applications {
        state.applications.remove(id);
        withhold::forget_object(state, context, id);
    }
    withhold::forget_object(state, context, &command.id);
    withhold::forget_pause(state, context, command.id);
    let settings = state
        .kind_settings
        .keys()
        .filter(|(instance, _)| *instance == command.id);
    for key in settings.cloned().collect::<Vec<_>>() {
        state.kind_settings.remove(&key);
    }
    state.keyspaces.remove(&command.id);
    state.instances.remove(&command.id);
    context.wake.membership = true;
    context.wake.monitors = true;
    context.wake.work = true;
    context.wake.deadline = true;
    done()
}

/// A node opened an instance's port, or could not. Of nodes that are no members nothing is kept: nobody waits for them.
pub(crate) fn instance_port_reported(
    state: &mut State,
    context: &mut Context<'_>,
    command: ReportInstancePort,
) -> Result<ReplyKind, Refusal> {
    let ReportInstancePort { instance: id, port } = command;
    let Some(present) = state.instance(&id) else {
        return Err(not_found("instance", id));
    };
    if state.node(port.node).is_none() {
        return Err(not_found("node", port.node));
    }
    let port = InstancePort::new(port.node, &port.problem);
    let mut instance = present.clone();
    let place = instance.ports.binary_search_by_key(&port.node, |known| known.node);
    let before = place.ok().map(|at| instance.ports[at].clone());
    match place {
        Ok(at) => instance.ports[at] = port.clone(),
        Err(at) => instance.ports.insert(at, port.clone()),
    }
    if before.as_ref() == Some(&port) {
        return done();
    }
    let failed_before = before.is_some_and(|before| !before.problem.is_empty());
    if !port.problem.is_empty() && !failed_before {
        let params = vec![
            Param::new("instance", &instance.name),
            Param::new("node", port.node),
            Param::new("problem", &port.problem),
        ];
        events::record_of_instance(state, context, EventCode::InstanceFailed, Some(id), params);
    }
    state.instances.insert(id, instance);
    // The instance may be in another state now: whoever shows it looks again.
    context.wake.membership = true;
    done()
}

/// Somebody is given a client certificate of the instance: the record of it is all there is to keep.
pub(crate) fn issue_client_certificate(
    state: &mut State,
    context: &mut Context<'_>,
    command: IssueClientCertificate,
) -> Result<ReplyKind, Refusal> {
    let Some(present) = state.instance(&command.instance) else {
        return Err(not_found("instance", command.instance));
    };
    let params = vec![Param::new("instance", &present.name)];
    let object = Some(command.instance);
    audit::record(state, context, "issue-client-certificate", object, params, Vec::new());
    done()
}

impl State {
    /// State of an instance: what the nodes of the cluster say of its port. A member that has never served is not waited for: no
    /// client reaches it, and perhaps it never comes. Once it serves it has to open the port like any other.
    pub fn instance_status(&self, instance: &Instance) -> InstanceStatus {
        if instance.ordinal == 1 {
            return InstanceStatus::Running;
        }
        let said = |node: &NodeRecord| instance.ports.iter().find(|port| port.node == node.id);
        let failed = |node: &NodeRecord| said(node).is_some_and(|port| !port.problem.is_empty());
        let awaited = |node: &NodeRecord| said(node).is_none() && self.worker(node.id).is_some();
        if self.nodes().any(failed) {
            InstanceStatus::Failed
        } else if !instance.ports.is_empty() && !self.nodes().any(awaited) {
            InstanceStatus::Running
        } else {
            InstanceStatus::Creating
        }
    }
}

/// What a removed node said of ports goes with it.
pub(super) fn forget_node(state: &mut State, node: u64) {
    let named = |instance: &&Instance| instance.ports.iter().any(|port| port.node == node);
    let concerned: Vec<Instance> = state.instances.values().filter(named).cloned().collect();
    for mut instance in concerned {
        instance.ports.retain(|port| port.node != node);
        state.instances.insert(instance.meta.id, instance);
    }
}

fn check(command: &CreateInstance) -> Result<(), Refusal> {
    let mut problems = Problems::default();
    validate::instance(&mut problems, &command.spec);
    let hashes = [&command.kv_root_password_hash, &command.kv_sdk_password_hash];
    if hashes.iter().any(|hash| hash.is_empty() || hash.len() > MAX_HASH_BYTES) {
        problems.add(
            "/kv_root_password_hash",
            "out-of-range",
            format!("both KV users need a password; a hash has at most {MAX_HASH_BYTES} bytes"),
        );
    }
    if command.kv_ca.is_empty() || command.kv_ca.len() > MAX_CA_BYTES {
        problems.add(
            "/kv_ca",
            "out-of-range",
            format!("an authority of 1 to {MAX_CA_BYTES} bytes is needed"),
        );
    }
    problems.secret("/kv_ca_key", &command.kv_ca_key);
    problems.into_result()
}

/// A name is one instance's alone, and `default` the bootstrapped one's whatever that is called: paths and the command line know
/// it by this word.
fn check_name(state: &State, id: &Id, name: &str) -> Result<(), Refusal> {
    let first = state.default_instance().is_some_and(|first| first.meta.id == *id);
    if name == DEFAULT_NAME && !first {
        return Err(Refusal::invalid_field(
            "/name",
            "reserved",
            "`default` stands for the instance that the cluster began with",
        ));
    }
    let taken = |other: &Instance| other.meta.id != *id && other.name == name;
    if state.instances.values().any(taken) {
        return Err(Refusal::new(RefusalCode::DuplicateName).with("name", name));
    }
    Ok(())
}

fn describe(instance: &Instance) -> Vec<(String, String)> {
    vec![
        ("name".to_owned(), instance.name.clone()),
        ("description".to_owned(), instance.description.clone()),
        ("namespace".to_owned(), instance.namespace.to_string()),
        ("ordinal".to_owned(), instance.ordinal.to_string()),
    ]
}
