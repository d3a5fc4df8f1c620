//! API tokens (A4): shown once, kept as a hash.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use quorate_machine::catalog::edge;
use quorate_machine::{Action, ApiToken, Command, CreateApiToken, DeleteObject, Id, Object, Role, authorize};

use super::{may_see, new_id, object_of};
use crate::auth::{Caller, TOKEN_PREFIX, token_hash};
use crate::context::ApiContext;
use crate::dto::{NewTokenBody, NewTokenView, Page, TokenView, rfc3339};
use crate::extract::{Body, Query, Segments};
use crate::language::text;
use crate::limits::MAX_TOKEN_LIFE_SECONDS;
use crate::pages::ListQuery;
use crate::problem::Problem;

/// Shortest life of a token, seconds.
const MIN_TOKEN_LIFE_SECONDS: i64 = 60;

/// Lists the caller's tokens; administrators see everybody's.
#[utoipa::path(get, path = "/tokens", tag = "access", params(ListQuery),
    responses((status = 200, body = Page<TokenView>), (status = "default", body = Problem)))]
pub(crate) async fn list_tokens(
    State(context): State<ApiContext>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<TokenView>>, Problem> {
    let window = query.window("tokens")?;
    let read = context.read(query.serializable, |state| {
        let visible = |token: &&ApiToken| may_see(state, &caller, Object::OwnedBy(&token.user));
        let tokens = state.api_tokens().filter(visible);
        window.page(tokens, |token| token.meta.id.to_string(), TokenView::from)
    });
    Ok(Json(read.await?))
}

/// Creates a token for the caller. Its text is in this answer and nowhere else.
#[utoipa::path(post, path = "/tokens", tag = "access", request_body = NewTokenBody,
    responses((status = 201, body = NewTokenView), (status = "default", body = Problem)))]
pub(crate) async fn create_token(
    State(context): State<ApiContext>,
    caller: Caller,
    Body(body): Body<NewTokenBody>,
) -> Result<Response, Problem> {
    if !(MIN_TOKEN_LIFE_SECONDS..=MAX_TOKEN_LIFE_SECONDS).contains(&body.expires_in_seconds) {
        let detail = text(
            edge::TOKEN_LIFE,
            &[("least", &MIN_TOKEN_LIFE_SECONDS), ("most", &MAX_TOKEN_LIFE_SECONDS)],
        );
        return Err(Problem::field("/expires_in_seconds", "out-of-range", detail));
    }
    let token = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
    let expires_at_ms = context.now_ms() + body.expires_in_seconds * 1000;
    // Said here in the caller's words; the machine holds to it whatever an edge says.
    if caller.token.is_some() && expires_at_ms > caller.expires_ms {
        let detail = text(edge::TOKEN_OUTLIVES_ITS_MAKER, &[]);
        return Err(Problem::field("/expires_in_seconds", "out-of-range", detail));
    }
    let applications = body.application_ids()?;
    let command = Command::CreateApiToken(CreateApiToken {
        id: new_id(),
        name: body.name,
        hash: token_hash(&token).to_vec().into(),
        role: Role::from(body.role) as i32,
        expires_at_ms,
        applications,
    });
    let object = object_of(context.propose(&caller, command).await?);
    let view = NewTokenView {
        id: object.id.to_string(),
        token,
        expires_at: rfc3339(expires_at_ms),
    };
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// Revokes a token: one's own, or as an administrator anybody's.
#[utoipa::path(delete, path = "/tokens/{token}", tag = "access",
    responses((status = 204), (status = "default", body = Problem)))]
pub(crate) async fn revoke_token(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments(token): Segments<String>,
) -> Result<StatusCode, Problem> {
    let read = context.read(false, |state| {
        let found = Id::parse(&token).and_then(|id| state.api_token(&id));
        let visible = found.filter(|found| {
            let all = authorize(state, &caller.principal, Action::Users, Object::Cluster).is_ok();
            all || may_see(state, &caller, Object::OwnedBy(&found.user))
        });
        visible
            .map(|found| found.meta.id)
            .ok_or_else(|| Problem::not_found("token", &token))
    });
    let id = read.await??;
    context
        .propose(&caller, Command::RevokeApiToken(DeleteObject { id, generation: 0 }))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
