//! Console users and their API tokens (A4). Hashes are made at the edge; nothing here sees a password or a token.

use crate::access::{Action, authorize};
use crate::apply::{Context, done};
use crate::audit::{self, Change};
use crate::command::*;
use crate::model::*;
use crate::registry::{check_quota, new_meta, not_found, object_reply, owner};
use crate::reply::*;
use crate::state::State;
use crate::validate;

const MAX_USERS: u32 = 1_000;
const MAX_TOKENS_PER_USER: u32 = 100;
const MAX_HASH_BYTES: usize = 512;
/// Applications that one token can be bound to.
const MAX_TOKEN_APPLICATIONS: usize = 32;

pub(crate) fn create_user(
    state: &mut State,
    context: &mut Context<'_>,
    command: CreateUser,
) -> Result<ReplyKind, Refusal> {
    validate::user_name(&command.name)?;
    check_password_hash(&command.password_hash)?;
    if state.users.contains_key(&command.name) {
        return Err(Refusal::new(RefusalCode::DuplicateName).with("name", &command.name));
    }
    check_quota("users", MAX_USERS, state.users.len())?;
    let meta = new_meta(context, command.id);
    let user = User {
        meta,
        name: command.name,
        password_hash: command.password_hash,
        role: command.role,
        auth_revision: 1,
    };
    let params = vec![Param::new("name", &user.name), Param::new("role", user.role().code())];
    audit::record(state, context, "create-user", Some(command.id), params, Vec::new());
    let reply = object_reply(&user.meta);
    state.users.insert(user.name.clone(), user);
    reply
}

pub(crate) fn set_user_password(
    state: &mut State,
    context: &mut Context<'_>,
    command: SetUserPassword,
) -> Result<ReplyKind, Refusal> {
    check_password_hash(&command.password_hash)?;
    let Some(user) = state.users.get_mut(&command.name) else {
        return Err(not_found("user", &command.name));
    };
    user.password_hash = command.password_hash;
    user.auth_revision += 1;
    user.meta.generation += 1;
    let (id, reply) = (user.meta.id, object_reply(&user.meta));
    let revision = user.auth_revision;
    let change = Change {
        field: "auth_revision".to_owned(),
        before: (revision - 1).to_string(),
        after: revision.to_string(),
    };
    // Whatever was made under the old password is void, tokens included.
    let tokens: Vec<Id> = state
        .api_tokens()
        .filter(|token| token.user == command.name)
        .map(|t| t.meta.id)
        .collect();
    for token in &tokens {
        state.api_tokens.remove(token);
    }
    let params = vec![
        Param::new("name", &command.name),
        Param::new("revoked_tokens", tokens.len()),
    ];
    audit::record(state, context, "set-user-password", Some(id), params, vec![change]);
    reply
}

pub(crate) fn create_api_token(
    state: &mut State,
    context: &mut Context<'_>,
    command: CreateApiToken,
) -> Result<ReplyKind, Refusal> {
    validate::user_name(&command.name)?;
    let mut problems = validate::Problems::default();
    if command.hash.len() != 32 {
        problems.add("/hash", "invalid-hash", "a SHA-256 has 32 bytes");
    }
    if Role::try_from(command.role).is_err() {
        problems.add("/role", "unsupported", "unknown role");
    }
    if command.applications.len() > MAX_TOKEN_APPLICATIONS {
        problems.add("/applications", "too-many", format!("at most {MAX_TOKEN_APPLICATIONS}"));
    }
    for (position, id) in command.applications.iter().enumerate() {
        let pointer = format!("/applications/{position}");
        let visible = state
            .application(id)
            .is_some_and(|found| authorize(state, context.author, Action::Read, found.as_object()).is_ok());
        if !visible {
            problems.add(pointer, "not-found", "there is no such application that you may see");
        } else if command.applications[..position].contains(id) {
            problems.add(pointer, "duplicate", "this application is listed already");
        }
    }
    // Otherwise whoever holds a token for an hour would hold one for ever.
    if let Some(parent) = used_token(state, context.author)
        && command.expires_at_ms > parent.expires_at_ms
    {
        let detail = "a token made with a token ends no later than that one; log in to make a longer one";
        problems.add("/expires_in_seconds", "out-of-range", detail);
    }
    problems.into_result()?;
    let user = owner(context.author);
    let own = state.api_tokens().filter(|token| token.user == user);
    check_quota("api_tokens_per_user", MAX_TOKENS_PER_USER, own.count())?;
    if state.api_tokens.contains_key(&command.id) || state.token_by_hash(&command.hash).is_some() {
        return Err(Refusal::new(RefusalCode::DuplicateName).with("id", command.id));
    }
    let token = ApiToken {
        meta: new_meta(context, command.id),
        name: command.name,
        user,
        hash: command.hash,
        role: command.role,
        expires_at_ms: command.expires_at_ms,
        applications: command.applications,
    };
    let mut params = vec![
        Param::new("name", &token.name),
        Param::new("role", token.role().code()),
        Param::new("expires_at_ms", token.expires_at_ms),
    ];
    if !token.applications.is_empty() {
        let bound: Vec<String> = token.applications.iter().map(Id::to_string).collect();
        params.push(Param::new("applications", bound.join(" ")));
    }
    audit::record(state, context, "create-api-token", Some(command.id), params, Vec::new());
    let reply = object_reply(&token.meta);
    state.api_tokens.insert(command.id, token);
    reply
}

pub(crate) fn revoke_api_token(
    state: &mut State,
    context: &mut Context<'_>,
    command: DeleteObject,
) -> Result<ReplyKind, Refusal> {
    let Some(token) = state.api_tokens.remove(&command.id) else {
        return Err(not_found("token", command.id));
    };
    let params = vec![Param::new("name", &token.name), Param::new("user", &token.user)];
    audit::record(state, context, "revoke-api-token", Some(command.id), params, Vec::new());
    done()
}

/// The API token that a command came with.
fn used_token<'a>(state: &'a State, author: &Principal) -> Option<&'a ApiToken> {
    match &author.kind {
        Some(PrincipalKind::User(user)) => state.api_token(user.token.as_ref()?),
        _ => None,
    }
}

fn check_password_hash(hash: &str) -> Result<(), Refusal> {
    let mut problems = validate::Problems::default();
    if hash.is_empty() || hash.len() > MAX_HASH_BYTES {
        problems.add("/password_hash", "invalid-hash", "an argon2 hash is expected");
    }
    problems.into_result()
}
