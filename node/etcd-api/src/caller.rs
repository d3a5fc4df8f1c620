//! Who asks, and whether they may: tokens, callers, and checks on the state of this node.
//!
//! What an operation may do is decided by `apply`, with the state of its moment. The checks here are for what is not logged, and
//! spare the log what is refused anyhow.

use std::sync::Arc;

use quorate_kv::{Keyspace, KvCaller, KvError};
use tonic::{Extensions, Request, Status, metadata::MetadataMap};

use crate::context::Context;
use crate::errors;
use crate::token::Claims;

/// What the connection says of the client; set once per connection.
#[derive(Clone)]
pub(crate) struct Connection {
    /// Address of the client, `ip:port`.
    pub(crate) source: Arc<str>,
    /// Common name of the verified client certificate, where the port demands one: the user of calls without a token.
    pub(crate) common_name: Option<Arc<str>>,
}

impl Connection {
    /// Who calls without a token.
    pub(crate) fn token(&self) -> Token {
        self.common_name.clone().map_or(Token::None, Token::CommonName)
    }
}

/// Who sent a request, before the state was asked about it.
#[derive(Clone)]
pub(crate) struct Client {
    token: Token,
    pub(crate) source: Arc<str>,
    /// The client wants an error rather than waiting while there is no leader (`hasleader`).
    pub(crate) requires_leader: bool,
}

/// What a request's token says. Whether the user still has that revision is asked of the state at every call.
#[derive(Clone)]
pub(crate) enum Token {
    None,
    /// The verified certificate names a user.
    CommonName(Arc<str>),
    Valid(Arc<Claims>),
    Invalid,
}

impl Client {
    pub(crate) fn new(token: Token, source: Arc<str>, requires_leader: bool) -> Client {
        Client {
            token,
            source,
            requires_leader,
        }
    }

    /// The user as the keyspace knows it now. Without a token an empty user, which the checks refuse.
    pub(crate) fn caller(&self, keyspace: &Keyspace) -> Result<KvCaller, KvError> {
        if !keyspace.auth_enabled() {
            return Ok(KvCaller::default());
        }
        match &self.token {
            Token::None => Ok(KvCaller::default()),
            // A name that is no user has no permission, as in etcd.
            Token::CommonName(name) => Ok(KvCaller {
                user: name.as_ref().to_owned(),
                auth_revision: keyspace.auth_revision(),
            }),
            Token::Invalid => Err(KvError::InvalidAuthToken),
            Token::Valid(claims) => {
                let ended = |end| crate::jwt::now_unix_seconds() >= end;
                if claims.expires_unix_seconds.is_some_and(ended) {
                    return Err(KvError::InvalidAuthToken);
                }
                let user = keyspace.user(&claims.user);
                user.filter(|user| user.revision == claims.user_revision)
                    .ok_or(KvError::InvalidAuthToken)?;
                Ok(KvCaller {
                    user: claims.user.clone(),
                    auth_revision: keyspace.auth_revision(),
                })
            }
        }
    }

    /// The user that this client once proved to be, as the keyspace knows it now, whatever became of its password.
    pub(crate) fn named_caller(&self, keyspace: &Keyspace) -> KvCaller {
        let user = match &self.token {
            Token::Valid(claims) => claims.user.clone(),
            Token::CommonName(name) => name.as_ref().to_owned(),
            Token::None | Token::Invalid => String::new(),
        };
        KvCaller {
            user,
            auth_revision: keyspace.auth_revision(),
        }
    }

    fn has_valid_token(&self) -> bool {
        matches!(self.token, Token::Valid(_) | Token::CommonName(_))
    }
}

impl Context {
    /// What a token's text says. The costly part, so connections remember it: for the same text it is always the same.
    pub(crate) fn verify_token(&self, text: &[u8]) -> Token {
        let text = std::str::from_utf8(text).ok();
        text.map(|text| text.strip_prefix("Bearer ").unwrap_or(text))
            .and_then(|text| match &self.jwt {
                Some(jwt) => jwt.verify(text),
                None => self.tokens.verify(self.instance, text),
            })
            .map_or(Token::Invalid, |claims| Token::Valid(Arc::new(claims)))
    }

    /// Who sends this request.
    pub(crate) fn client<T>(&self, request: &Request<T>) -> Client {
        self.client_of(request.metadata(), request.extensions())
    }

    fn client_of(&self, metadata: &MetadataMap, extensions: &Extensions) -> Client {
        let connection = extensions.get::<Connection>();
        let token = metadata.get("token").or_else(|| metadata.get("authorization"));
        let token = match (token, connection) {
            (Some(text), _) => self.verify_token(text.as_bytes()),
            (None, Some(connection)) => connection.token(),
            (None, None) => Token::None,
        };
        let source = connection.map(|connection| Arc::clone(&connection.source));
        Client {
            token,
            source: source.unwrap_or_else(|| Arc::from("")),
            requires_leader: metadata.get("hasleader").is_some_and(|value| value == "true"),
        }
    }

    /// Runs a check with the caller on a state that holds what this node has told its clients: a user that was deleted through it
    /// is nobody here from then on.
    pub(crate) async fn authorize<T>(
        &self,
        client: &Client,
        check: impl Fn(&Keyspace, KvCaller) -> Result<T, KvError>,
    ) -> Result<T, Status> {
        self.read_acknowledged().await?;
        self.authorize_here(client, check).await
    }

    /// As [`Self::authorize`], for who waits for what is acknowledged, or for proposals, which `apply` checks again. A denial is
    /// checked again on the newest state, because this node may lag behind the grant.
    pub(crate) async fn authorize_here<T>(
        &self,
        client: &Client,
        check: impl Fn(&Keyspace, KvCaller) -> Result<T, KvError>,
    ) -> Result<T, Status> {
        let attempt = || self.keyspace(|keyspace| client.caller(keyspace).and_then(|caller| check(keyspace, caller)));
        match attempt()? {
            Err(KvError::InvalidAuthToken | KvError::PermissionDenied | KvError::AuthOldRevision)
                if client.has_valid_token() =>
            {
                self.read_index().await?;
                attempt()?.map_err(errors::kv_status)
            }
            // Strangers cost the leader nothing, but what this node said itself holds for them as well.
            Err(_) if !self.handle.has_acknowledged() => {
                self.read_acknowledged().await?;
                attempt()?.map_err(errors::kv_status)
            }
            result => result.map_err(errors::kv_status),
        }
    }

    /// Allows only holders of the role `root` (everybody while authentication is off).
    pub(crate) async fn authorize_admin(&self, client: &Client) -> Result<(), Status> {
        self.authorize(client, |keyspace, caller| keyspace.check_admin(Some(&caller)))
            .await
    }

    /// Allows any authenticated user.
    pub(crate) async fn authorize_user(&self, client: &Client) -> Result<(), Status> {
        self.authorize(client, is_user).await
    }

    /// As [`Self::authorize_user`], also where this node has lost contact before it applied what it acknowledged.
    pub(crate) async fn authorize_user_without_leader(&self, client: &Client) -> Result<(), Status> {
        match self.read_acknowledged().await {
            Ok(()) => self.authorize_here(client, is_user).await,
            Err(error) => {
                tracing::debug!("the state may be a little behind: {error}");
                let checked =
                    self.keyspace(|keyspace| client.caller(keyspace).and_then(|caller| is_user(keyspace, caller)));
                checked?.map_err(errors::kv_status)
            }
        }
    }
}

/// The check that any user passes, and no stranger.
fn is_user(keyspace: &Keyspace, caller: KvCaller) -> Result<(), KvError> {
    match keyspace.auth_enabled() && caller.user.is_empty() {
        true => Err(KvError::UserEmpty),
        false => Ok(()),
    }
}
