//! Elasticsearch and OpenSearch (C25).

use quorate_machine::{ElasticsearchSite, ElasticsearchSpec, Routing, Scheme, SiteSpec};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Secret;
use super::shared::{TlsBody, Typed, never_shown, password, tls_body, tls_spec};
use crate::dto::words::{RoutingName, SchemeName};
use crate::problem::Problem;

/// An Elasticsearch data source on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ElasticsearchBody {
    routing: RoutingName,
    dc1: ElasticsearchSiteBody,
    dc2: ElasticsearchSiteBody,
}

/// One side of an Elasticsearch monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ElasticsearchSiteBody {
    #[serde(default)]
    cloud: String,
    #[serde(default)]
    region: String,
    /// Availability zones, free text.
    #[serde(default)]
    zones: Vec<String>,
    /// `host:port` each, at least one.
    addresses: Vec<String>,
    /// `https` when left out.
    #[serde(default = "https")]
    scheme: SchemeName,
    /// No login at all; account and password then must not be given.
    #[serde(default)]
    passwordless: bool,
    /// Monitoring account, apart from the business user.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    user: String,
    /// Needed when the monitor is created; left out in an edit, it stays. Never returned. A wrong one can lock the account
    /// for 15 minutes.
    #[serde(default, skip_serializing_if = "never_shown")]
    #[schema(write_only)]
    password: Option<Typed>,
    /// A password is stored; it is never shown, and ignored when sent.
    #[serde(default)]
    #[schema(read_only)]
    password_set: bool,
    /// How the certificate is verified; not at all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<TlsBody>,
}

const fn https() -> SchemeName {
    SchemeName::Https
}

impl ElasticsearchBody {
    pub(super) fn into_spec(self, at: &str, secrets: &mut Vec<Secret>) -> Result<ElasticsearchSpec, Problem> {
        Ok(ElasticsearchSpec {
            routing: Routing::from(self.routing) as i32,
            dc1: self.dc1.into_spec(at, "dc1", secrets)?,
            dc2: self.dc2.into_spec(at, "dc2", secrets)?,
        })
    }
}

impl ElasticsearchSiteBody {
    fn into_spec(self, at: &str, dc: &str, secrets: &mut Vec<Secret>) -> Result<ElasticsearchSite, Problem> {
        let at = format!("{at}/{dc}");
        password(secrets, &at, &format!("{dc}.password"), "password", self.password)?;
        Ok(ElasticsearchSite {
            place: SiteSpec {
                cloud: self.cloud,
                region: self.region,
                zones: self.zones,
                addresses: self.addresses,
            },
            scheme: Scheme::from(self.scheme) as i32,
            passwordless: self.passwordless,
            user: self.user,
            password: None,
            tls: tls_spec(self.tls),
        })
    }
}

impl From<&ElasticsearchSpec> for ElasticsearchBody {
    fn from(spec: &ElasticsearchSpec) -> Self {
        Self {
            routing: spec.routing().into(),
            dc1: ElasticsearchSiteBody::from(&spec.dc1),
            dc2: ElasticsearchSiteBody::from(&spec.dc2),
        }
    }
}

impl From<&ElasticsearchSite> for ElasticsearchSiteBody {
    fn from(site: &ElasticsearchSite) -> Self {
        let place = site.place.clone();
        Self {
            cloud: place.cloud,
            region: place.region,
            zones: place.zones,
            addresses: place.addresses,
            scheme: site.scheme().into(),
            passwordless: site.passwordless,
            user: site.user.clone(),
            password: None,
            password_set: site.password.is_some(),
            tls: tls_body(site.tls.as_ref()),
        }
    }
}
