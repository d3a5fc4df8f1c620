//! Every message of etcd's v3 API, for the comparison with real etcd.
//!
//! The appliance's generated messages are compiled a second time here, so that the comparison covers whatever the API
//! grows to. A wrong field number cannot hide on both sides as it could elsewhere (decision 4), because one side is real
//! etcd. The services in the generated code are not used.

/// Keys and events.
#[allow(missing_docs, clippy::all)]
#[rustfmt::skip]
pub mod mvccpb {
    include!("../../node/etcd-api/src/generated/mvccpb.rs");
}

/// Users, roles and permissions.
#[allow(missing_docs, clippy::all)]
#[rustfmt::skip]
pub mod authpb {
    include!("../../node/etcd-api/src/generated/authpb.rs");
}

/// The services' messages.
#[allow(missing_docs, clippy::all)]
#[rustfmt::skip]
pub mod etcdserverpb {
    include!("../../node/etcd-api/src/generated/etcdserverpb.rs");
}

/// The passwords here are the comparison's own; a shown sequence must be complete.
macro_rules! show {
    ($($message:ident { $($field:ident),+ }),+ $(,)?) => {
        $(impl std::fmt::Debug for etcdserverpb::$message {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($message))$(.field(stringify!($field), &self.$field))+.finish()
            }
        })+
    };
}

show!(
    AuthenticateRequest { name, password },
    AuthenticateResponse { header, token },
    AuthUserAddRequest {
        name,
        password,
        options,
        hashed_password
    },
    AuthUserChangePasswordRequest {
        name,
        password,
        hashed_password
    },
);
