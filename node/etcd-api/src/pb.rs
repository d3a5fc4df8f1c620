//! Wire messages, servers and clients of etcd's v3 API, generated from `proto/`.
//!
//! One deviation, invisible on the wire: [`etcdserverpb::WatchResponse`] holds its events encoded, so that an event is
//! encoded once for all its watchers; [`etcdserverpb::WatchResponse::decode_events`] takes them apart.

/// Keys and events.
#[allow(missing_docs, clippy::all)]
#[rustfmt::skip]
pub mod mvccpb {
    include!("generated/mvccpb.rs");
}

/// Users, roles and permissions.
#[allow(missing_docs, clippy::all)]
#[rustfmt::skip]
pub mod authpb {
    include!("generated/authpb.rs");
}

/// The services and their messages.
#[allow(missing_docs, clippy::all)]
#[rustfmt::skip]
pub mod etcdserverpb {
    include!("generated/etcdserverpb.rs");
}

/// etcd's lock service.
#[allow(missing_docs, clippy::all)]
#[rustfmt::skip]
pub mod v3lockpb {
    include!("generated/v3lockpb.rs");
}

/// etcd's election service.
#[allow(missing_docs, clippy::all)]
#[rustfmt::skip]
pub mod v3electionpb {
    include!("generated/v3electionpb.rs");
}

/// What etcd's API has no call for.
#[allow(missing_docs, clippy::all)]
#[rustfmt::skip]
pub mod quoratepb {
    include!("generated/quoratepb.rs");
}

impl etcdserverpb::WatchResponse {
    /// Decodes the events of the response.
    ///
    /// # Errors
    ///
    /// If an event is not a valid `mvccpb.Event`.
    pub fn decode_events(&self) -> Result<Vec<mvccpb::Event>, prost::DecodeError> {
        self.events
            .iter()
            .map(|event| prost::Message::decode(event.clone()))
            .collect()
    }
}

macro_rules! hide_secrets {
    ($($message:ident),+ $(,)?) => {
        $(impl std::fmt::Debug for etcdserverpb::$message {
            /// Names the message only: it carries a password or a token.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($message)).finish_non_exhaustive()
            }
        })+
    };
}

hide_secrets!(
    AuthenticateRequest,
    AuthenticateResponse,
    AuthUserAddRequest,
    AuthUserChangePasswordRequest,
);
