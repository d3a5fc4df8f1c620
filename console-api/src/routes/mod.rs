//! The routes of `/api/v1`, one file per noun. Handlers only convert: body → command → reply → JSON.

pub(crate) mod applications;
pub(crate) mod cluster;
pub(crate) mod connection;
pub(crate) mod deletion;
pub(crate) mod export;
mod gate;
pub(crate) mod history;
pub(crate) mod instances;
pub(crate) mod login;
pub(crate) mod monitors;
mod preview;
pub(crate) mod processes;
pub(crate) mod records;
pub(crate) mod registry;
pub(crate) mod settings;
pub(crate) mod sites;
pub(crate) mod streams;
pub(crate) mod switches;
pub(crate) mod tokens;
pub(crate) mod users;
pub(crate) mod withhold;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use quorate_machine::{
    Action, Application, Id, Instance, MonitorRecord, Object, ObjectReply, ReplyKind, State, authorize,
};
use serde::Serialize;

use crate::auth::Caller;
use crate::dto::Changed;
use crate::problem::Problem;

/// A fresh id: UUIDv7.
fn new_id() -> Id {
    Id::from_u128(uuid::Uuid::now_v7().as_u128())
}

/// The instance of a path segment: its id, or `default` for the bootstrapped one.
fn find_instance<'a>(state: &'a State, segment: &str) -> Result<&'a Instance, Problem> {
    let found = match segment {
        "default" => state.default_instance(),
        other => Id::parse(other).and_then(|id| state.instance(&id)),
    };
    found.ok_or_else(|| Problem::not_found("instance", segment))
}

/// The application of a path segment, if it is in that instance and the caller may see it.
fn find_application<'a>(
    state: &'a State,
    caller: &Caller,
    instance: &str,
    segment: &str,
) -> Result<&'a Application, Problem> {
    let instance = find_instance(state, instance)?.meta.id;
    Id::parse(segment)
        .and_then(|id| state.application(&id))
        .filter(|found| found.instance == instance && may_see(state, caller, found.as_object()))
        .ok_or_else(|| Problem::not_found("application", segment))
}

/// The monitor of a path segment, if it is in that instance and the caller may see it.
fn find_monitor<'a>(
    state: &'a State,
    caller: &Caller,
    instance: &str,
    segment: &str,
) -> Result<&'a MonitorRecord, Problem> {
    let instance = find_instance(state, instance)?.meta.id;
    Id::parse(segment)
        .and_then(|id| state.monitor(&id))
        .filter(|found| found.instance == instance && may_see(state, caller, found.as_object()))
        .ok_or_else(|| Problem::not_found("monitor", segment))
}

/// The machine's own rule of who sees what (A4).
fn may_see(state: &State, caller: &Caller, object: Object<'_>) -> bool {
    authorize(state, &caller.principal, Action::Read, object).is_ok()
}

/// What the machine says an object is now, after a change.
fn object_of(reply: ReplyKind) -> ObjectReply {
    match reply {
        ReplyKind::Object(object) => object,
        other => unreachable!("a change of an object is answered with the object, not {other:?}"),
    }
}

/// 200 with the object and its ETag.
fn with_etag<T: Serialize>(generation: u64, body: T) -> Response {
    ([(header::ETAG, etag(generation))], Json(body)).into_response()
}

/// 200 for an edit.
fn changed(object: ObjectReply) -> Response {
    with_etag(object.generation, Changed::new(object.id, object.generation))
}

/// 201 for a creation, with the object's address.
fn created(object: ObjectReply, location: &str) -> Response {
    let location = header_value(format!("{location}/{}", object.id));
    ([(header::LOCATION, location)], created_unread(object)).into_response()
}

/// The same for an object that is read in lists only: there is nothing at an address of its own.
fn created_unread(object: ObjectReply) -> Response {
    let headers = [(header::ETAG, etag(object.generation))];
    let body = Json(Changed::new(object.id, object.generation));
    (StatusCode::CREATED, headers, body).into_response()
}

fn etag(generation: u64) -> HeaderValue {
    header_value(format!("\"{generation}\""))
}

fn header_value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("ids, numbers and path segments that were found are visible ASCII")
}
