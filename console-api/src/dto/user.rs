//! Sessions, users and API tokens (A4).

use quorate_machine::catalog::edge;
use quorate_machine::{ApiToken, Id, User};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::words::RoleName;
use super::{MetaView, rfc3339};
use crate::language::text;
use crate::problem::Problem;

/// User and password.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginBody {
    pub(crate) user: String,
    #[schema(write_only)]
    pub(crate) password: String,
}

/// A session.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct LoginView {
    /// Send it as `Authorization: Bearer …`.
    pub(crate) session: String,
    pub(crate) user: String,
    pub(crate) role: RoleName,
    pub(crate) expires_at: String,
}

/// Who the caller is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct MeView {
    pub(crate) user: String,
    /// The role in force, narrowed by the API token if one is used.
    pub(crate) role: RoleName,
    /// Id of the API token used, if no session is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    pub(crate) expires_at: String,
}

/// A new console user.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUserBody {
    /// 1 to 64 characters; fixed.
    pub(crate) name: String,
    /// At least 8 characters.
    #[schema(write_only)]
    pub(crate) password: String,
    /// `viewer`, `operator` or `admin`.
    pub(crate) role: RoleName,
}

/// A new password.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordBody {
    /// At least 8 characters.
    #[schema(write_only)]
    pub(crate) password: String,
}

/// A console user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct UserView {
    #[serde(flatten)]
    pub(crate) meta: MetaView,
    pub(crate) name: String,
    pub(crate) role: RoleName,
}

impl From<&User> for UserView {
    fn from(user: &User) -> Self {
        Self {
            meta: MetaView::from(&user.meta),
            name: user.name.clone(),
            role: user.role().into(),
        }
    }
}

/// A new API token of the caller.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTokenBody {
    /// 1 to 64 characters.
    pub(crate) name: String,
    /// The token acts with this role or the user's, whichever is lower.
    pub(crate) role: RoleName,
    /// Life from now on in seconds: 60 to 31622400 (366 days); of a token made with a token, no longer than that one's.
    pub(crate) expires_in_seconds: i64,
    /// Ids of applications, at most 32: the token reaches them and their monitors alone. Left out or empty: whatever its
    /// user reaches.
    #[serde(default)]
    applications: Vec<String>,
}

impl NewTokenBody {
    /// The applications; 422 for what is no id.
    pub(crate) fn application_ids(&self) -> Result<Vec<Id>, Problem> {
        let parse = |(position, id): (usize, &String)| {
            let bad = || Problem::field(&format!("/applications/{position}"), "bad-id", text(edge::BAD_ID, &[]));
            Id::parse(id).ok_or_else(bad)
        };
        self.applications.iter().enumerate().map(parse).collect()
    }
}

/// A created API token with its text, which is shown this once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct NewTokenView {
    pub(crate) id: String,
    /// Send it as `Authorization: Bearer …`. It cannot be shown again.
    pub(crate) token: String,
    pub(crate) expires_at: String,
}

/// An API token without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct TokenView {
    #[serde(flatten)]
    pub(crate) meta: MetaView,
    pub(crate) name: String,
    pub(crate) user: String,
    pub(crate) role: RoleName,
    pub(crate) expires_at: String,
    /// Ids of the applications that it is bound to; empty: whatever its user reaches.
    pub(crate) applications: Vec<String>,
}

impl From<&ApiToken> for TokenView {
    fn from(token: &ApiToken) -> Self {
        Self {
            meta: MetaView::from(&token.meta),
            name: token.name.clone(),
            user: token.user.clone(),
            role: token.role().into(),
            expires_at: rfc3339(token.expires_at_ms),
            applications: token.applications.iter().map(Id::to_string).collect(),
        }
    }
}
