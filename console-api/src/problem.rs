//! RFC 9457 problems: how every refusal and failure of the REST edge looks.
//!
//! `code` is the stable name that programs test; `title` and `detail` are for people and may change their wording.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use quorate_machine::catalog::{Locale, edge, field_text};
use quorate_machine::{Refusal, RefusalCode};
use quorate_raft::CallError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::language::{current, text};
use crate::limits::RETRY_AFTER_SECONDS;

/// What is wrong with one field of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) into the body, for example `/timing/retry_interval_ms`; `?name` for a query parameter.
    pub pointer: String,
    /// Stable code such as `out-of-range` or `unknown-field`.
    pub code: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

/// A problem (RFC 9457, `application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:quorate:problem:` and the code.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub type_uri: Box<str>,
    /// Short summary that does not change from one occurrence to the next.
    #[schema(value_type = String)]
    pub title: Box<str>,
    /// HTTP status.
    pub status: u16,
    /// What happened and what to do about it.
    pub detail: String,
    /// Stable code, for example `generation-conflict`.
    #[schema(value_type = String)]
    pub code: Box<str>,
    /// Problems with single fields; empty when the request as a whole is meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Seconds after which the same request may succeed; sent as `Retry-After` as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
}

impl Problem {
    /// A problem of its own code; the title is the code's words.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            type_uri: format!("urn:quorate:problem:{code}").into(),
            title: edge::title(current(), code).into(),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.into(),
            errors: Vec::new(),
            retry_after_seconds: None,
        }
    }

    /// With the time after which a repetition makes sense, in seconds.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// 422 about single fields.
    pub fn fields(errors: Vec<FieldError>) -> Self {
        let mut problem = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid-spec",
            text(edge::INVALID_FIELDS, &[]),
        );
        problem.errors = errors;
        problem
    }

    /// 422 about one field.
    pub fn field(pointer: &str, code: &str, detail: impl Into<String>) -> Self {
        Self::fields(vec![FieldError {
            pointer: pointer.to_owned(),
            code: code.to_owned(),
            detail: detail.into(),
        }])
    }

    /// The same problem about an object that stands at `pointer` of the body, for the fields that `nested` admits.
    pub(crate) fn under(mut self, pointer: &str, nested: impl Fn(&str) -> bool) -> Self {
        for error in self.errors.iter_mut().filter(|error| nested(&error.pointer)) {
            error.pointer.insert_str(0, pointer);
        }
        self
    }

    /// 404 for an object that does not exist or that the caller may not see; the two are not told apart.
    pub fn not_found(what: &str, id: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            text(edge::NOT_FOUND, &[("what", &what), ("id", &id)]),
        )
    }

    /// 401 with the reason; the answer carries `WWW-Authenticate`.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after_seconds;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        let reason = match &error {
            CallError::Remote(reason) => reason.clone(),
            _ => String::new(),
        };
        let (status, code, texts) = match error {
            CallError::NoLeader => (StatusCode::SERVICE_UNAVAILABLE, "no-leader", edge::NO_LEADER),
            CallError::Stopped => (StatusCode::SERVICE_UNAVAILABLE, "stopping", edge::STOPPING),
            CallError::TooManyRequests => {
                let code = "too-many-requests";
                (StatusCode::TOO_MANY_REQUESTS, code, edge::TOO_MANY_REQUESTS)
            }
            CallError::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "timed-out", edge::TIMED_OUT),
            CallError::TimedOutLeaderLost => (StatusCode::GATEWAY_TIMEOUT, "outcome-unknown", edge::OUTCOME_UNKNOWN),
            CallError::Remote(_) => (StatusCode::BAD_GATEWAY, "leader-failed", edge::LEADER_FAILED),
        };
        let problem = Self::new(status, code, text(texts, &[("reason", &reason)]));
        problem.retry_after(RETRY_AFTER_SECONDS)
    }
}

/// HTTP status of a refusal.
fn status_of(code: RefusalCode) -> StatusCode {
    match code {
        RefusalCode::NotBootstrapped | RefusalCode::StateHashesDiffer => StatusCode::SERVICE_UNAVAILABLE,
        RefusalCode::ResendOutsideWindow => StatusCode::GATEWAY_TIMEOUT,
        RefusalCode::PermissionDenied | RefusalCode::ReservedPrefix | RefusalCode::OutsideTokenScope => {
            StatusCode::FORBIDDEN
        }
        RefusalCode::CredentialsChanged => StatusCode::UNAUTHORIZED,
        RefusalCode::NotFound | RefusalCode::UnknownInstance => StatusCode::NOT_FOUND,
        RefusalCode::GenerationConflict => StatusCode::PRECONDITION_FAILED,
        RefusalCode::InvalidSpec
        | RefusalCode::InvalidBatch
        | RefusalCode::ReasonRequired
        | RefusalCode::PauseReasonRequired
        | RefusalCode::TestOverrideReasonRequired
        | RefusalCode::SecretNeededAgain
        | RefusalCode::NotOfThisKind
        | RefusalCode::NoActiveSide
        | RefusalCode::FenceUnsupported => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::CONFLICT,
    }
}

impl From<&Refusal> for Problem {
    fn from(refusal: &Refusal) -> Self {
        let code = refusal.code();
        let mut problem = Self::new(status_of(code), code.code(), refusal.text(current()));
        let fields = refusal.fields.iter().map(|field| FieldError {
            pointer: field.pointer.clone(),
            code: field.code.clone(),
            detail: match current() {
                // The machine's own words are English; the code's meaning is there in every language.
                Locale::EnUs => field.detail.clone(),
                locale => field_text(locale, &field.code).to_owned(),
            },
        });
        problem.errors = fields.collect();
        problem
    }
}
