//! Console users (A4).

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use quorate_machine::{Action, Command, CreateUser, Object, Role, SetUserPassword, authorize};

use super::{created_unread, new_id, object_of};
use crate::auth::{Caller, check_new_password};
use crate::context::ApiContext;
use crate::dto::{Changed, NewUserBody, Page, PasswordBody, UserView};
use crate::extract::{Body, Query, Segments};
use crate::pages::ListQuery;
use crate::problem::Problem;

/// Lists the users; for administrators.
#[utoipa::path(get, path = "/users", tag = "access", params(ListQuery),
    responses((status = 200, body = Page<UserView>), (status = "default", body = Problem)))]
pub(crate) async fn list_users(
    State(context): State<ApiContext>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<UserView>>, Problem> {
    let window = query.window("users")?;
    let read = context.read(query.serializable, |state| {
        authorize(state, &caller.principal, Action::Users, Object::Cluster)?;
        Ok(window.page(state.users(), |user| user.name.clone(), UserView::from))
    });
    read.await?.map(Json).map_err(|refusal| Problem::from(&refusal))
}

/// Creates a user below the caller's own role.
#[utoipa::path(post, path = "/users", tag = "access", request_body = NewUserBody,
    responses((status = 201, body = Changed), (status = "default", body = Problem)))]
pub(crate) async fn create_user(
    State(context): State<ApiContext>,
    caller: Caller,
    Body(body): Body<NewUserBody>,
) -> Result<Response, Problem> {
    check_new_password("/password", &body.password)?;
    let command = Command::CreateUser(CreateUser {
        id: new_id(),
        name: body.name,
        password_hash: context.passwords().hash(&caller.user, body.password).await?,
        role: Role::from(body.role) as i32,
    });
    let object = object_of(context.propose(&caller, command).await?);
    Ok(created_unread(object))
}

/// Sets a password: one's own, or as an administrator that of a user below. Ends every session and API token of the user.
#[utoipa::path(put, path = "/users/{user}/password", tag = "access", request_body = PasswordBody,
    responses((status = 204), (status = "default", body = Problem)))]
pub(crate) async fn set_user_password(
    State(context): State<ApiContext>,
    caller: Caller,
    Segments(user): Segments<String>,
    Body(body): Body<PasswordBody>,
) -> Result<StatusCode, Problem> {
    check_new_password("/password", &body.password)?;
    let password_hash = context.passwords().hash(&caller.user, body.password).await?;
    let name = user;
    context
        .propose(
            &caller,
            Command::SetUserPassword(SetUserPassword { name, password_hash }),
        )
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
