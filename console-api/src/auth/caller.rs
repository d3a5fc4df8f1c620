//! The authenticated caller of a request.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::request::Parts;
use http::{Extensions, HeaderMap, header};
use quorate_machine::catalog::edge;
use quorate_machine::{Id, Principal, PrincipalKind, Role, UserPrincipal};
use sha2::{Digest, Sha256};

use super::session::{Session, TOKEN_PREFIX};
use crate::context::{ApiContext, source_key};
use crate::language::text;
use crate::problem::Problem;

/// Who calls, as established for this request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    pub(crate) user: String,
    pub(crate) auth_revision: u64,
    pub(crate) role: Role,
    /// The API token used, if no session was.
    pub(crate) token: Option<Id>,
    /// When the session or token ends, wall time in milliseconds.
    pub(crate) expires_ms: i64,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Self>().cloned();
        Ok(caller.expect("every route with a caller is behind `authenticate`"))
    }
}

/// Middleware: refuses requests without a valid session or API token and hands the [`Caller`] on.
pub(crate) async fn authenticate(
    State(context): State<ApiContext>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let caller = match identify(&context, request.headers(), request.extensions()) {
        Ok(caller) => caller,
        Err(Denied::Finally(problem)) => return Err(problem),
        // This node may only be behind: the user or token was made a moment ago on another one.
        Err(Denied::Unknown(_)) => {
            context.catch_up().await?;
            identify(&context, request.headers(), request.extensions()).map_err(Denied::into_problem)?
        }
    };
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// Why nobody is admitted.
enum Denied {
    /// Nothing that this node may still learn would change it.
    Finally(Problem),
    /// The state of this node does not know the user, the revision or the token.
    Unknown(Problem),
}

impl Denied {
    fn into_problem(self) -> Problem {
        match self {
            Denied::Finally(problem) | Denied::Unknown(problem) => problem,
        }
    }
}

/// The bearer credential of a request.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credential) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim())
}

/// SHA-256 of an API token: what the state keeps of it.
pub(crate) fn token_hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Address of the client, as the server noted it; empty when the router is called without a connection.
pub(crate) fn source(extensions: &Extensions) -> String {
    let connection = extensions.get::<ConnectInfo<SocketAddr>>();
    connection
        .map(|ConnectInfo(address)| source_key(address.ip()))
        .unwrap_or_default()
}

fn identify(context: &ApiContext, headers: &HeaderMap, extensions: &Extensions) -> Result<Caller, Denied> {
    let Some(credential) = bearer(headers) else {
        return Err(Denied::Finally(Problem::unauthenticated(text(
            edge::NO_CREDENTIAL,
            &[],
        ))));
    };
    let source = source(extensions);
    if credential.starts_with(TOKEN_PREFIX) {
        return by_token(context, credential, source);
    }
    let session = Session::decode(credential, &context.settings().session_key, context.now_ms());
    let session = session.map_err(|reason| Denied::Finally(Problem::unauthenticated(text(reason, &[]))))?;
    let role = context.handle().read(|state| {
        let user = state.user(&session.user)?;
        (user.auth_revision == session.auth_revision).then(|| user.role())
    });
    let Some(role) = role else {
        return Err(Denied::Unknown(Problem::unauthenticated(text(edge::USER_CHANGED, &[]))));
    };
    Ok(Caller {
        principal: principal(&session.user, session.auth_revision, None, source),
        user: session.user,
        auth_revision: session.auth_revision,
        role,
        token: None,
        expires_ms: session.expires_ms,
    })
}

fn by_token(context: &ApiContext, credential: &str, source: String) -> Result<Caller, Denied> {
    let hash = token_hash(credential);
    let found = context.handle().read(|state| {
        let token = state
            .api_tokens()
            .find(|token| token.hash.as_ref() == hash.as_slice())?;
        let user = state.user(&token.user)?;
        Some((
            token.meta.id,
            token.role().min(user.role()),
            token.expires_at_ms,
            user.name.clone(),
            user.auth_revision,
        ))
    });
    let Some((id, role, expires_ms, user, auth_revision)) = found else {
        return Err(Denied::Unknown(Problem::unauthenticated(text(
            edge::TOKEN_UNKNOWN,
            &[],
        ))));
    };
    if context.now_ms() >= expires_ms {
        return Err(Denied::Finally(Problem::unauthenticated(text(
            edge::TOKEN_EXPIRED,
            &[],
        ))));
    }
    Ok(Caller {
        principal: principal(&user, auth_revision, Some(id), source),
        user,
        auth_revision,
        role,
        token: Some(id),
        expires_ms,
    })
}

fn principal(user: &str, auth_revision: u64, token: Option<Id>, source: String) -> Principal {
    Principal {
        kind: Some(PrincipalKind::User(UserPrincipal {
            name: user.to_owned(),
            auth_revision,
            token,
        })),
        source,
    }
}

/// Whether a caller admitted earlier would be admitted now: asked by long-lived streams.
pub(crate) fn still_valid(context: &ApiContext, caller: &Caller) -> bool {
    context.now_ms() < caller.expires_ms
        && context.handle().read(|state| {
            let unchanged = state
                .user(&caller.user)
                .is_some_and(|user| user.auth_revision == caller.auth_revision);
            unchanged && caller.token.is_none_or(|id| state.api_token(&id).is_some())
        })
}
