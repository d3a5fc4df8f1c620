//! What several sections have in common.

use quorate_machine::{RelationalSite, SiteSpec, TlsSpec};
use serde::{Deserialize, Serialize};
use utoipa::{PartialSchema, ToSchema};

use super::Secret;
use crate::dto::words::TlsModeName;
use crate::limits::MAX_PASSWORD_BYTES;
use crate::problem::Problem;

/// A secret as typed; never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Typed(pub(super) String);

impl std::fmt::Debug for Typed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Typed(…)")
    }
}

impl Serialize for Typed {
    /// Nothing: answers leave the field out anyway ([`never_shown`]).
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_none()
    }
}

/// Answers leave secrets out.
pub(super) fn never_shown(_secret: &Option<Typed>) -> bool {
    true
}

impl PartialSchema for Typed {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        String::schema()
    }
}

impl ToSchema for Typed {}

/// Keeps a typed password for sealing.
pub(super) fn password(
    secrets: &mut Vec<Secret>,
    at: &str,
    field: &str,
    name: &str,
    typed: Option<Typed>,
) -> Result<(), Problem> {
    if let Some(Typed(typed)) = typed {
        let pointer = format!("{at}/{name}");
        let typed = check_password(&pointer, typed)?;
        secrets.push(Secret::new(field.to_owned(), pointer, typed));
    }
    Ok(())
}

/// A database password: not empty, at most [`MAX_PASSWORD_BYTES`].
pub(in crate::dto) fn check_password(pointer: &str, password: String) -> Result<String, Problem> {
    if password.is_empty() || password.len() > MAX_PASSWORD_BYTES {
        let detail = format!("a password has 1 to {MAX_PASSWORD_BYTES} bytes");
        return Err(Problem::field(pointer, "out-of-range", detail));
    }
    Ok(password)
}

pub(super) fn is_false(value: &bool) -> bool {
    !*value
}

/// Encryption of a prober's connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsBody {
    mode: TlsModeName,
    /// Trusted authorities, PEM, for `verified`; the public ones when left out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    ca_pem: String,
}

pub(super) fn tls_spec(body: Option<TlsBody>) -> Option<TlsSpec> {
    body.map(|body| TlsSpec {
        mode: quorate_machine::TlsMode::from(body.mode) as i32,
        ca_pem: body.ca_pem,
    })
}

pub(super) fn tls_body(spec: Option<&TlsSpec>) -> Option<TlsBody> {
    spec.map(|spec| TlsBody {
        mode: spec.mode().into(),
        ca_pem: spec.ca_pem.clone(),
    })
}

/// One side of a relational monitor; the same as body and as answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SiteBody {
    #[serde(default)]
    pub(crate) cloud: String,
    #[serde(default)]
    pub(crate) region: String,
    /// `host:port`.
    pub(crate) address: String,
    /// Read replicas, `host:port` each.
    #[serde(default)]
    pub(crate) replicas: Vec<String>,
}

impl From<SiteBody> for RelationalSite {
    fn from(body: SiteBody) -> Self {
        Self {
            cloud: body.cloud,
            region: body.region,
            address: body.address,
            replicas: body.replicas,
        }
    }
}

impl From<&RelationalSite> for SiteBody {
    fn from(site: &RelationalSite) -> Self {
        Self {
            cloud: site.cloud.clone(),
            region: site.region.clone(),
            address: site.address.clone(),
            replicas: site.replicas.clone(),
        }
    }
}

/// One side of a kind whose servers are a list; the same as body and as answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlaceBody {
    #[serde(default)]
    cloud: String,
    #[serde(default)]
    region: String,
    /// Availability zones, free text.
    #[serde(default)]
    zones: Vec<String>,
    /// `host:port` each, at least one.
    addresses: Vec<String>,
}

impl From<PlaceBody> for SiteSpec {
    fn from(body: PlaceBody) -> Self {
        Self {
            cloud: body.cloud,
            region: body.region,
            zones: body.zones,
            addresses: body.addresses,
        }
    }
}

impl From<&SiteSpec> for PlaceBody {
    fn from(site: &SiteSpec) -> Self {
        Self {
            cloud: site.cloud.clone(),
            region: site.region.clone(),
            zones: site.zones.clone(),
            addresses: site.addresses.clone(),
        }
    }
}
