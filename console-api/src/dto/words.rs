//! Enumerations of the API in its own spelling.

use quorate_machine::{ApiMethod, DataCenter, FencePolicy, LoadBalance, RedisMode, Role, Routing, Scheme, TlsMode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Declares an API enumeration that mirrors one of the machine.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident mirrors $machine:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        pub(crate) enum $name {
            $(#[serde(rename = $word)] $variant),+
        }

        impl From<$name> for $machine {
            fn from(name: $name) -> Self {
                match name { $($name::$variant => Self::$variant),+ }
            }
        }

        impl From<$machine> for $name {
            fn from(value: $machine) -> Self {
                match value { $($machine::$variant => Self::$variant),+ }
            }
        }
    };
}

words! {
    /// A data center of a monitor.
    DataCenterName mirrors DataCenter { Dc1 = "dc1", Dc2 = "dc2" }
}
words! {
    /// Routing algorithm; which ones a kind knows is told by the refusal of the others (C20, C23, C25).
    #[expect(clippy::enum_variant_names, reason = "the words are those of the SDK contract")]
    RoutingName mirrors Routing {
        SingleReadWrite = "single-read-write",
        LocalReadSingleWrite = "local-read-single-write",
        SingleReadAsyncDoubleWrite = "single-read-async-double-write",
        LocalReadAsyncDoubleWrite = "local-read-async-double-write",
        LocalReadWrite = "local-read-write",
    }
}
words! {
    /// How the Redis servers of a side are arranged (C23).
    RedisModeName mirrors RedisMode { Normal = "normal", Sentinel = "sentinel", Cluster = "cluster" }
}
words! {
    /// Whether the connections of probers are encrypted.
    TlsModeName mirrors TlsMode { Off = "off", Unverified = "unverified", Verified = "verified" }
}
words! {
    /// Scheme of HTTP data sources (C25, C26).
    SchemeName mirrors Scheme { Https = "https", Http = "http" }
}
words! {
    /// Method of an API monitor's request (C26).
    ApiMethodName mirrors ApiMethod { Get = "GET", Post = "POST", Delete = "DELETE", Put = "PUT", Patch = "PATCH" }
}
words! {
    /// Load balance among read replicas (C10).
    LoadBalanceName mirrors LoadBalance { Random = "RANDOM", RoundRobin = "ROUND_ROBIN" }
}
words! {
    /// How the old side is fenced before a switch.
    FencePolicyName mirrors FencePolicy { None = "none", Try = "try", Require = "require" }
}
words! {
    /// Role of a console user or API token (A4).
    RoleName mirrors Role { Viewer = "viewer", Operator = "operator", Admin = "admin", Root = "root" }
}
