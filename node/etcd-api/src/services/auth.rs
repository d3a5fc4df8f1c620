//! Service Auth: logins, users and roles.

use base64::Engine;
use bytes::Bytes;
use quorate_kv::{KvError, KvOp, Nothing, Permission, RolePermission, UserCredential, UserRole};
use tonic::{Request, Response, Status};

use super::Services;
use crate::attempts::name;
use crate::caller::Client;
use crate::credentials::{Attempt, Credentials};
use crate::errors::kv_status;
use crate::pb::etcdserverpb as pb;
use crate::token::Claims;

/// etcd's answer where it has only the key that checks tokens.
const VERIFY_ONLY: &str = "auth: token signing attempted with verify-only key";
/// etcd's answer to a login of a user without a password; it forgot to give it a code.
const NO_PASSWORD_USER: &str = "auth: authentication failed, password was given for no password user";

/// Methods that change users or roles: propose the operation, answer with a header.
macro_rules! change {
    ($self:ident, $request:ident, $response:ident, $op:expr) => {{
        let client = $self.0.client(&$request);
        let make: fn(_) -> KvOp = $op;
        let header = $self.change(&client, make($request.into_inner())).await?;
        Ok(Response::new(pb::$response { header: Some(header) }))
    }};
}

impl Services {
    async fn change(&self, client: &Client, op: KvOp) -> Result<pb::ResponseHeader, Status> {
        let (_, revision) = self.0.propose(client, op).await?;
        Ok(self.0.header(revision))
    }

    /// Waits for the newest state, for answers about users and roles.
    async fn newest(&self, client: &Client) -> Result<(), Status> {
        self.0.ensure_serving(client)?;
        self.0.read_index().await
    }

    /// bcrypt of the password.
    async fn password_hash(&self, client: &Client, password: String) -> Result<Bytes, Status> {
        // Nobody but root may spend this node's time on hashing.
        self.0.authorize_admin(client).await?;
        self.0.credentials.hash_password(password).await
    }

    /// The hash to store for a changed password: of the password, or without one what the client hashed itself.
    async fn changed_hash(&self, client: &Client, password: String, hashed: String) -> Result<Bytes, Status> {
        if !password.is_empty() || hashed.is_empty() {
            return self.password_hash(client, password).await;
        }
        self.0.authorize_admin(client).await?;
        let hash = base64::engine::general_purpose::STANDARD.decode(hashed);
        let hash = hash.map_err(|_| Status::invalid_argument("quorate: hashedPassword is not base64"))?;
        Credentials::accept_hash(hash)
    }
}

#[tonic::async_trait]
impl pb::auth_server::Auth for Services {
    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Result<Response<pb::AuthenticateResponse>, Status> {
        let context = &self.0;
        let client = context.client(&request);
        let request = request.into_inner();
        self.newest(&client).await?;
        let (enabled, user, revision) = context.keyspace(|keyspace| {
            (
                keyspace.auth_enabled(),
                keyspace.user(&request.name),
                keyspace.revision(),
            )
        })?;
        if !enabled {
            return Err(kv_status(KvError::AuthNotEnabled));
        }
        let attempt = Attempt {
            password: &request.password,
            source: &client.source,
        };
        let verified = context
            .credentials
            .verify(context.instance, &request.name, user.as_ref(), attempt)
            .await?;
        // As etcd answers, and only after as long as every other refusal takes.
        if user.as_ref().is_some_and(|user| user.no_password) {
            return Err(Status::unknown(NO_PASSWORD_USER));
        }
        let Some(user) = user.filter(|_| verified) else {
            tracing::warn!(user = name(&request.name), client = %client.source, "KV login refused");
            return Err(kv_status(KvError::AuthFailed));
        };
        let claims = Claims {
            user: user.name,
            user_revision: user.revision,
            issued_ms: context.handle.cluster_time_ms(),
            expires_unix_seconds: None,
        };
        let token = match &context.jwt {
            Some(jwt) => jwt.issue(&claims).ok_or_else(|| Status::unknown(VERIFY_ONLY))?,
            None => context.tokens.issue(context.instance, &claims),
        };
        Ok(Response::new(pb::AuthenticateResponse {
            header: Some(context.header(revision)),
            token,
        }))
    }

    async fn auth_enable(
        &self,
        request: Request<pb::AuthEnableRequest>,
    ) -> Result<Response<pb::AuthEnableResponse>, Status> {
        change!(self, request, AuthEnableResponse, |_| KvOp::AuthEnable(Nothing {}))
    }

    async fn auth_disable(
        &self,
        request: Request<pb::AuthDisableRequest>,
    ) -> Result<Response<pb::AuthDisableResponse>, Status> {
        change!(self, request, AuthDisableResponse, |_| KvOp::AuthDisable(Nothing {}))
    }

    async fn auth_status(
        &self,
        request: Request<pb::AuthStatusRequest>,
    ) -> Result<Response<pb::AuthStatusResponse>, Status> {
        let client = self.0.client(&request);
        self.newest(&client).await?;
        self.0.authorize_admin(&client).await?;
        let header = Some(self.0.current_header()?);
        let (enabled, auth_revision) = self
            .0
            .keyspace(|keyspace| (keyspace.auth_enabled(), keyspace.auth_revision()))?;
        Ok(Response::new(pb::AuthStatusResponse {
            header,
            enabled,
            auth_revision,
        }))
    }

    async fn user_add(
        &self,
        request: Request<pb::AuthUserAddRequest>,
    ) -> Result<Response<pb::AuthUserAddResponse>, Status> {
        let client = self.0.client(&request);
        let request = request.into_inner();
        let no_password = request.options.is_some_and(|options| options.no_password);
        if !no_password {
            Credentials::check_length(&request.password)?;
        }
        self.0.ensure_serving(&client)?;
        self.0.authorize_admin(&client).await?;
        if request.name.is_empty() {
            return Err(kv_status(KvError::UserEmpty));
        }
        let password_hash = match no_password {
            true => Bytes::new(),
            // As in etcd, a hash that the client brings does not count here.
            false => self.password_hash(&client, request.password).await?,
        };
        let name = request.name;
        let credential = UserCredential {
            name,
            password_hash,
            no_password,
        };
        let header = Some(self.change(&client, KvOp::UserAdd(credential)).await?);
        Ok(Response::new(pb::AuthUserAddResponse { header }))
    }

    /// Users may look at themselves, root at everybody.
    async fn user_get(
        &self,
        request: Request<pb::AuthUserGetRequest>,
    ) -> Result<Response<pb::AuthUserGetResponse>, Status> {
        let client = self.0.client(&request);
        let name = request.into_inner().name;
        self.newest(&client).await?;
        let user = self.0.authorize(&client, |keyspace, caller| {
            if caller.user != name {
                keyspace.check_admin(Some(&caller))?;
            }
            keyspace.user(&name).ok_or(KvError::UserNotFound)
        });
        let roles = user.await?.roles;
        let header = Some(self.0.current_header()?);
        Ok(Response::new(pb::AuthUserGetResponse { header, roles }))
    }

    async fn user_list(
        &self,
        request: Request<pb::AuthUserListRequest>,
    ) -> Result<Response<pb::AuthUserListResponse>, Status> {
        let client = self.0.client(&request);
        self.newest(&client).await?;
        self.0.authorize_admin(&client).await?;
        let header = Some(self.0.current_header()?);
        let users = self.0.keyspace(|keyspace| keyspace.users())?;
        Ok(Response::new(pb::AuthUserListResponse { header, users }))
    }

    async fn user_delete(
        &self,
        request: Request<pb::AuthUserDeleteRequest>,
    ) -> Result<Response<pb::AuthUserDeleteResponse>, Status> {
        change!(
            self,
            request,
            AuthUserDeleteResponse,
            |request: pb::AuthUserDeleteRequest| { KvOp::UserDelete(request.name) }
        )
    }

    async fn user_change_password(
        &self,
        request: Request<pb::AuthUserChangePasswordRequest>,
    ) -> Result<Response<pb::AuthUserChangePasswordResponse>, Status> {
        let client = self.0.client(&request);
        let request = request.into_inner();
        Credentials::check_length(&request.password)?;
        self.0.ensure_serving(&client)?;
        let password_hash = self
            .changed_hash(&client, request.password, request.hashed_password)
            .await?;
        let name = request.name;
        let credential = UserCredential {
            name,
            password_hash,
            no_password: false,
        };
        let header = Some(self.change(&client, KvOp::UserChangePassword(credential)).await?);
        Ok(Response::new(pb::AuthUserChangePasswordResponse { header }))
    }

    async fn user_grant_role(
        &self,
        request: Request<pb::AuthUserGrantRoleRequest>,
    ) -> Result<Response<pb::AuthUserGrantRoleResponse>, Status> {
        change!(
            self,
            request,
            AuthUserGrantRoleResponse,
            |request: pb::AuthUserGrantRoleRequest| {
                KvOp::UserGrantRole(UserRole {
                    user: request.user,
                    role: request.role,
                })
            }
        )
    }

    async fn user_revoke_role(
        &self,
        request: Request<pb::AuthUserRevokeRoleRequest>,
    ) -> Result<Response<pb::AuthUserRevokeRoleResponse>, Status> {
        change!(
            self,
            request,
            AuthUserRevokeRoleResponse,
            |request: pb::AuthUserRevokeRoleRequest| {
                KvOp::UserRevokeRole(UserRole {
                    user: request.name,
                    role: request.role,
                })
            }
        )
    }

    async fn role_add(
        &self,
        request: Request<pb::AuthRoleAddRequest>,
    ) -> Result<Response<pb::AuthRoleAddResponse>, Status> {
        change!(self, request, AuthRoleAddResponse, |request: pb::AuthRoleAddRequest| {
            KvOp::RoleAdd(request.name)
        })
    }

    /// Users may look at the roles they hold, root at every role.
    async fn role_get(
        &self,
        request: Request<pb::AuthRoleGetRequest>,
    ) -> Result<Response<pb::AuthRoleGetResponse>, Status> {
        let client = self.0.client(&request);
        let role = request.into_inner().role;
        self.newest(&client).await?;
        let permissions = self.0.authorize(&client, |keyspace, caller| {
            let holds_it = keyspace
                .user(&caller.user)
                .is_some_and(|user| user.roles.contains(&role));
            if !holds_it {
                keyspace.check_admin(Some(&caller))?;
            }
            keyspace.role(&role).ok_or(KvError::RoleNotFound)
        });
        let perm = permissions.await?.into_iter().map(Into::into).collect();
        let header = Some(self.0.current_header()?);
        Ok(Response::new(pb::AuthRoleGetResponse { header, perm }))
    }

    async fn role_list(
        &self,
        request: Request<pb::AuthRoleListRequest>,
    ) -> Result<Response<pb::AuthRoleListResponse>, Status> {
        let client = self.0.client(&request);
        self.newest(&client).await?;
        self.0.authorize_admin(&client).await?;
        let header = Some(self.0.current_header()?);
        let roles = self.0.keyspace(|keyspace| keyspace.roles())?;
        Ok(Response::new(pb::AuthRoleListResponse { header, roles }))
    }

    async fn role_delete(
        &self,
        request: Request<pb::AuthRoleDeleteRequest>,
    ) -> Result<Response<pb::AuthRoleDeleteResponse>, Status> {
        change!(
            self,
            request,
            AuthRoleDeleteResponse,
            |request: pb::AuthRoleDeleteRequest| { KvOp::RoleDelete(request.role) }
        )
    }

    async fn role_grant_permission(
        &self,
        request: Request<pb::AuthRoleGrantPermissionRequest>,
    ) -> Result<Response<pb::AuthRoleGrantPermissionResponse>, Status> {
        change!(
            self,
            request,
            AuthRoleGrantPermissionResponse,
            |request: pb::AuthRoleGrantPermissionRequest| {
                let permission = request.perm.map(Into::into);
                KvOp::RoleGrantPermission(RolePermission {
                    role: request.name,
                    permission,
                })
            }
        )
    }

    async fn role_revoke_permission(
        &self,
        request: Request<pb::AuthRoleRevokePermissionRequest>,
    ) -> Result<Response<pb::AuthRoleRevokePermissionResponse>, Status> {
        change!(
            self,
            request,
            AuthRoleRevokePermissionResponse,
            |request: pb::AuthRoleRevokePermissionRequest| {
                let (key, range_end) = (request.key, request.range_end);
                let permission = Some(Permission {
                    perm_type: 0,
                    key,
                    range_end,
                });
                KvOp::RoleRevokePermission(RolePermission {
                    role: request.role,
                    permission,
                })
            }
        )
    }
}
