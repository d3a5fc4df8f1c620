//! Redis (C23).

use quorate_machine::{RedisMode, RedisSite, RedisSpec, Routing, SiteSpec};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Secret;
use super::shared::{TlsBody, Typed, is_false, never_shown, password, tls_body, tls_spec};
use crate::dto::words::{RedisModeName, RoutingName};
use crate::problem::Problem;

/// A Redis data source on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedisBody {
    /// `normal` when left out.
    #[serde(default = "normal")]
    mode: RedisModeName,
    routing: RoutingName,
    /// Sentinel: name of the master that the sentinels watch.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    master_name: String,
    dc1: RedisSiteBody,
    dc2: RedisSiteBody,
}

/// One side of a Redis monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RedisSiteBody {
    #[serde(default)]
    cloud: String,
    #[serde(default)]
    region: String,
    /// Availability zones, free text.
    #[serde(default)]
    zones: Vec<String>,
    /// `host:port` each: one server, the sentinels, or some nodes of the cluster.
    addresses: Vec<String>,
    /// No login at all; a password then must not be given.
    #[serde(default)]
    passwordless: bool,
    /// ACL user; `default` when left out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    user: String,
    /// Needed when the monitor is created; left out in an edit, it stays. Never returned.
    #[serde(default, skip_serializing_if = "never_shown")]
    #[schema(write_only)]
    password: Option<Typed>,
    /// A password is stored; it is never shown, and ignored when sent.
    #[serde(default)]
    #[schema(read_only)]
    password_set: bool,
    /// Account at the sentinels, where it is not the same as none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    sentinel_user: String,
    /// Its password; left out in an edit, it stays. Never returned.
    #[serde(default, skip_serializing_if = "never_shown")]
    #[schema(write_only)]
    sentinel_password: Option<Typed>,
    /// A password of the sentinels is stored; it is never shown, and ignored when sent.
    #[serde(default, skip_serializing_if = "is_false")]
    #[schema(read_only)]
    sentinel_password_set: bool,
    /// Off when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<TlsBody>,
}

const fn normal() -> RedisModeName {
    RedisModeName::Normal
}

impl RedisBody {
    pub(super) fn into_spec(self, at: &str, secrets: &mut Vec<Secret>) -> Result<RedisSpec, Problem> {
        Ok(RedisSpec {
            mode: RedisMode::from(self.mode) as i32,
            routing: Routing::from(self.routing) as i32,
            master_name: self.master_name,
            dc1: self.dc1.into_spec(at, "dc1", secrets)?,
            dc2: self.dc2.into_spec(at, "dc2", secrets)?,
        })
    }
}

impl RedisSiteBody {
    fn into_spec(self, at: &str, dc: &str, secrets: &mut Vec<Secret>) -> Result<RedisSite, Problem> {
        let at = format!("{at}/{dc}");
        let field = |name: &str| format!("{dc}.{name}");
        password(secrets, &at, &field("password"), "password", self.password)?;
        let name = "sentinel_password";
        password(secrets, &at, &field(name), name, self.sentinel_password)?;
        Ok(RedisSite {
            place: SiteSpec {
                cloud: self.cloud,
                region: self.region,
                zones: self.zones,
                addresses: self.addresses,
            },
            passwordless: self.passwordless,
            user: self.user,
            password: None,
            sentinel_user: self.sentinel_user,
            sentinel_password: None,
            tls: tls_spec(self.tls),
        })
    }
}

impl From<&RedisSpec> for RedisBody {
    fn from(spec: &RedisSpec) -> Self {
        Self {
            mode: spec.mode().into(),
            routing: spec.routing().into(),
            master_name: spec.master_name.clone(),
            dc1: RedisSiteBody::from(&spec.dc1),
            dc2: RedisSiteBody::from(&spec.dc2),
        }
    }
}

impl From<&RedisSite> for RedisSiteBody {
    fn from(site: &RedisSite) -> Self {
        let place = site.place.clone();
        Self {
            cloud: place.cloud,
            region: place.region,
            zones: place.zones,
            addresses: place.addresses,
            passwordless: site.passwordless,
            user: site.user.clone(),
            password: None,
            password_set: site.password.is_some(),
            sentinel_user: site.sentinel_user.clone(),
            sentinel_password: None,
            sentinel_password_set: site.sentinel_password.is_some(),
            tls: tls_body(site.tls.as_ref()),
        }
    }
}
