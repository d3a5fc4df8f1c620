//! Instances: create, edit, delete, their KV passwords and client certificates (A5).

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use quorate_kv::{KvError, KvOp, KvResult, UserCredential};
use quorate_machine::catalog::edge;
use quorate_machine::{
    Action, Command, CreateInstance, DeleteInstance, Id, InstanceSpec, IssueClientCertificate, KvCommand, Object,
    ReplyKind, State as MachineState, UpdateInstance, authorize,
};

use super::{changed, created, find_instance, new_id, object_of};
use crate::auth::Caller;
use crate::context::ApiContext;
use crate::dto::{Changed, ClientFilesView, DeleteInstanceBody, InstanceBody, KvPasswordBody, NewInstanceBody};
use crate::extract::{Body, IfMatch, Segments};
use crate::instance_keys::KvPasswords;
use crate::language::text;
use crate::problem::Problem;

/// Bytes of a KV user's password: bcrypt looks at no more than 72.
const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 8..=72;

/// Creates an instance: a keyspace with users, an authority and a KV port of its own on every node. It is `creating` until every
/// node has opened the port.
#[utoipa::path(post, path = "/instances", tag = "registry", request_body = NewInstanceBody,
    responses((status = 201, body = Changed), (status = "default", body = Problem)))]
pub(crate) async fn create_instance(
    State(context): State<ApiContext>,
    caller: Caller,
    Body(body): Body<NewInstanceBody>,
) -> Result<Response, Problem> {
    check_kv_password("/kv_root_password", &body.kv_root_password)?;
    check_kv_password("/kv_sdk_password", &body.kv_sdk_password)?;
    let find = |state: &MachineState| {
        // Before any work is done for the caller.
        authorize(state, &caller.principal, Action::Settings, Object::Cluster)?;
        Ok(find_namespace(state, body.namespace.as_deref()))
    };
    let namespace = context
        .read(false, find)
        .await?
        .map_err(|refusal| Problem::from(&refusal))??;
    let id = new_id();
    let passwords = KvPasswords {
        root: body.kv_root_password,
        sdk: body.kv_sdk_password,
    };
    let secrets = context.settings().instance_keys.make(id, passwords).await;
    let secrets = secrets.map_err(failed)?;
    let command = CreateInstance {
        id,
        namespace,
        spec: InstanceSpec {
            name: body.name,
            description: body.description,
        },
        kv_root_password_hash: secrets.kv_root_password_hash,
        kv_sdk_password_hash: secrets.kv_sdk_password_hash,
        kv_ca: secrets.kv_ca,
        kv_ca_key: secrets.kv_ca_key,
    };
    let object = object_of(
        context
            .propose(&caller, Command::CreateInstance(Box::new(command)))
            .await?,
    );
    Ok(created(object, "/api/v1/instances"))
}

/// Changes name or description; `If-Match` names the generation that was read.
#[utoipa::path(put, path = "/instances/{instance}", tag = "registry",
    params(("If-Match" = String, Header)), request_body = InstanceBody,
    responses((status = 200, body = Changed), (status = "default", body = Problem)))]
pub(crate) async fn update_instance(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments(instance): Segments<String>,
    IfMatch(generation): IfMatch,
    Body(body): Body<InstanceBody>,
) -> Result<Response, Problem> {
    let id = instance_id(&context, &instance).await?;
    let spec = InstanceSpec {
        name: body.name,
        description: body.description,
    };
    let command = Command::UpdateInstance(UpdateInstance { id, generation, spec });
    Ok(changed(object_of(context.propose(&caller, command).await?)))
}

/// Deletes an instance with its applications, monitors and keyspace; its name has to be typed once more.
#[utoipa::path(delete, path = "/instances/{instance}", tag = "registry",
    params(("If-Match" = String, Header)), request_body = DeleteInstanceBody,
    responses((status = 204), (status = "default", body = Problem)))]
pub(crate) async fn delete_instance(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments(instance): Segments<String>,
    IfMatch(generation): IfMatch,
    Body(body): Body<DeleteInstanceBody>,
) -> Result<StatusCode, Problem> {
    let id = instance_id(&context, &instance).await?;
    let name = body.name;
    let command = Command::DeleteInstance(DeleteInstance { id, generation, name });
    context.propose(&caller, command).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets the password of a KV user of the instance; the old one is refused at once (A5.3). For administrators who are logged in, not for
/// API tokens; of users with the KV role `root` of the first instance, who command members, for `root` alone.
#[utoipa::path(put, path = "/instances/{instance}/kv-password", tag = "registry", request_body = KvPasswordBody,
    responses((status = 204), (status = "default", body = Problem)))]
pub(crate) async fn set_kv_password(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments(instance): Segments<String>,
    Body(body): Body<KvPasswordBody>,
) -> Result<StatusCode, Problem> {
    check_kv_password("/password", &body.password)?;
    let find = |state: &MachineState| {
        authorize(state, &caller.principal, Action::Settings, Object::Cluster)?;
        Ok(find_instance(state, &instance).map(|found| found.meta.id))
    };
    let id = context
        .read(false, find)
        .await?
        .map_err(|refusal| Problem::from(&refusal))??;
    let hash = context.settings().instance_keys.hash(body.password).await;
    let op = KvOp::UserChangePassword(UserCredential {
        name: body.user.clone(),
        password_hash: hash.map_err(failed)?,
        no_password: false,
    });
    let command = Command::Kv(KvCommand {
        instance: id,
        op: Some(op),
    });
    match context.propose(&caller, command).await? {
        ReplyKind::Kv(reply) => match reply.result {
            Some(KvResult::Refused(code)) => Err(kv_refused(code, &body.user)),
            _ => Ok(StatusCode::NO_CONTENT),
        },
        other => unreachable!("an operation on a keyspace is not answered with {other:?}"),
    }
}

/// A client certificate of the instance with its key and the authority, by file name (A5.2). Of a further instance each
/// call issues a new one. For administrators who are logged in, not for API tokens; the audit log keeps who took one.
#[utoipa::path(get, path = "/instances/{instance}/client-certificate", tag = "registry",
    responses((status = 200, body = ClientFilesView), (status = "default", body = Problem)))]
pub(crate) async fn read_client_certificate(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments(instance): Segments<String>,
) -> Result<Json<ClientFilesView>, Problem> {
    let find = |state: &MachineState| find_instance(state, &instance).cloned();
    let found = context.read(false, find).await??;
    // Who may have it is for the machine to say, and its record comes before the key.
    let command = IssueClientCertificate {
        instance: found.meta.id,
    };
    context
        .propose(&caller, Command::IssueClientCertificate(command))
        .await?;
    let files = context.settings().instance_keys.client_files(&found).await;
    let files = files.map_err(failed)?;
    Ok(Json(ClientFilesView {
        ca: files.ca,
        certificate: files.certificate,
        key: files.key,
    }))
}

async fn instance_id(context: &ApiContext, segment: &str) -> Result<Id, Problem> {
    let find = |state: &MachineState| find_instance(state, segment).map(|found| found.meta.id);
    context.read(false, find).await?
}

/// The namespace of an id or a name; the bootstrapped one where none is named.
fn find_namespace(state: &MachineState, named: Option<&str>) -> Result<Id, Problem> {
    let Some(named) = named else {
        let first = state.default_instance().map(|first| first.namespace);
        return first.ok_or_else(|| Problem::not_found("namespace", "default"));
    };
    let by_id = Id::parse(named).filter(|id| state.namespace(id).is_some());
    let by_name = || {
        state
            .namespaces()
            .find(|found| found.name == named)
            .map(|found| found.meta.id)
    };
    by_id
        .or_else(by_name)
        .ok_or_else(|| Problem::not_found("namespace", named))
}

fn check_kv_password(pointer: &str, password: &str) -> Result<(), Problem> {
    if PASSWORD_BYTES.contains(&password.len()) {
        return Ok(());
    }
    let (least, most) = (PASSWORD_BYTES.start(), PASSWORD_BYTES.end());
    let detail = text(edge::KV_PASSWORD_LENGTH, &[("least", least), ("most", most)]);
    Err(Problem::field(pointer, "out-of-range", detail))
}

fn kv_refused(code: i32, user: &str) -> Problem {
    match KvError::try_from(code).unwrap_or(KvError::Unspecified) {
        KvError::UserNotFound => Problem::not_found("KV user", user),
        error => Problem::field("/user", "refused", error.text()),
    }
}

/// The node could not make what was asked for: nothing was changed.
fn failed(problem: String) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", problem)
}
