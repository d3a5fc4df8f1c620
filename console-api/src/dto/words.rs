//! Enumerations of the API in its own spelling.

use quorate_machine::{DataCenter, FencePolicy, LoadBalance, Role, Routing};
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
    RoutingName mirrors Routing {
        SingleReadWrite = "single-read-write",
        LocalReadSingleWrite = "local-read-single-write",
        SingleReadAsyncDoubleWrite = "single-read-async-double-write",
        LocalReadAsyncDoubleWrite = "local-read-async-double-write",
        LocalReadWrite = "local-read-write",
    }
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
