//! Logging in and out, and who one is.

use axum::Json;
use axum::extract::{FromRequestParts, State};
use http::StatusCode;
use http::request::Parts;
use quorate_machine::catalog::edge;

use crate::auth::{Caller, Session, source};
use crate::context::ApiContext;
use crate::dto::{LoginBody, LoginView, MeView, rfc3339};
use crate::extract::Body;
use crate::language::text;
use crate::limits::{LOGIN_BODY_DEADLINE_SECONDS, MAX_LOGIN_BODY_BYTES, MAX_NAME_CHARACTERS, MAX_PASSWORD_BYTES};
use crate::places::Place;
use crate::problem::Problem;

/// Exchanges user and password for a session. Attempts are limited per source address, and per user from one address.
#[utoipa::path(post, path = "/login", tag = "access", request_body = LoginBody, security(()),
    responses((status = 200, body = LoginView), (status = "default", body = Problem)))]
pub(crate) async fn login(
    State(context): State<ApiContext>,
    // Before the body is read: whoever has not logged in yet takes little.
    place: LoginPlace,
    Body(body): Body<LoginBody, MAX_LOGIN_BODY_BYTES, LOGIN_BODY_DEADLINE_SECONDS>,
) -> Result<Json<LoginView>, Problem> {
    let source = place.source.as_str();
    if body.user.chars().count() > MAX_NAME_CHARACTERS || body.password.len() > MAX_PASSWORD_BYTES {
        context.login_limits().attempt(source, "")?;
        return Err(wrong());
    }
    let pause = context.login_limits().attempt(source, &body.user)?;
    tokio::time::sleep(pause).await;
    let caught_up = context.catch_up().await;
    // Without a quorum the state as it stands here has to do: the operator wants to see the cluster most then.
    if context.handle().read(|state| state.cluster().is_none()) {
        caught_up?;
    }
    let user = context.handle().read(|state| state.user(&body.user).cloned());
    let hash = user.as_ref().map(|user| user.password_hash.clone());
    let fits = context.passwords().verify(body.password, hash).await?;
    let Some(user) = user.filter(|_| fits) else {
        tracing::warn!(source, "login refused");
        return Err(wrong());
    };
    let session = Session::begin(&user.name, user.auth_revision, context.now_ms());
    Ok(Json(LoginView {
        session: session.encode(&context.settings().session_key),
        user: user.name.clone(),
        role: user.role().into(),
        expires_at: rfc3339(session.expires_ms),
    }))
}

/// One of the places for logins of the client's address.
pub(crate) struct LoginPlace {
    source: String,
    _place: Place,
}

impl FromRequestParts<ApiContext> for LoginPlace {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, context: &ApiContext) -> Result<Self, Problem> {
        let source = source(&parts.extensions);
        let place = context.login_limits().place(&source)?;
        Ok(Self { source, _place: place })
    }
}

fn wrong() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "login-refused",
        text(edge::LOGIN_REFUSED, &[]),
    )
}

/// Ends a session on the client's side: forget it. Sessions are not stored, so one that leaked ends when it expires or
/// when the user's password changes.
#[utoipa::path(post, path = "/logout", tag = "access",
    responses((status = 204), (status = "default", body = Problem)))]
pub(crate) async fn logout(_caller: Caller) -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Who the caller is.
#[utoipa::path(get, path = "/me", tag = "access",
    responses((status = 200, body = MeView), (status = "default", body = Problem)))]
pub(crate) async fn read_me(caller: Caller) -> Json<MeView> {
    Json(MeView {
        user: caller.user,
        role: caller.role.into(),
        token: caller.token.map(|id| id.to_string()),
        expires_at: rfc3339(caller.expires_ms),
    })
}
