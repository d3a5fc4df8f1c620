//! HTTP APIs (C26).

use quorate_machine::{
    API_FAILURES, API_SUCCESSES, ApiHeader, ApiMethod, ApiSite, ApiSpec, Scheme, check_header_value,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Secret;
use super::shared::{TlsBody, is_false, tls_body, tls_spec};
use crate::dto::words::{ApiMethodName, SchemeName};
use crate::problem::Problem;

/// An HTTP API on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiBody {
    /// Answers in a row that make a side healthy, 1 to 5; 1 when left out.
    #[serde(default = "successes")]
    successes: u32,
    /// Failures in a row that make a side abnormal, 3 to 10; 3 when left out.
    #[serde(default = "failures")]
    failures: u32,
    dc1: ApiSiteBody,
    dc2: ApiSiteBody,
}

/// One side of an API monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ApiSiteBody {
    #[serde(default)]
    cloud: String,
    #[serde(default)]
    region: String,
    /// `https` when left out.
    #[serde(default = "https")]
    scheme: SchemeName,
    /// `host:port`.
    address: String,
    /// Path with query; `/` when left out.
    #[serde(default = "root")]
    path: String,
    /// `GET` when left out.
    #[serde(default = "get")]
    method: ApiMethodName,
    /// 200 to 599; 200 when left out.
    #[serde(default = "ok")]
    expected_status: u32,
    /// At most 50.
    #[serde(default)]
    headers: Vec<HeaderBody>,
    /// Text that the body must contain; any body when left out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    body_contains: String,
    /// How the certificate is verified; not at all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<TlsBody>,
}

/// A header of the request.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct HeaderBody {
    name: String,
    /// A secret one is never returned, and stays when left out in an edit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// Stored sealed and never shown.
    #[serde(default)]
    secret: bool,
    /// A secret value is stored; ignored when sent.
    #[serde(default, skip_serializing_if = "is_false")]
    #[schema(read_only)]
    value_set: bool,
}

impl std::fmt::Debug for HeaderBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HeaderBody({})", self.name)
    }
}

const fn successes() -> u32 {
    API_SUCCESSES.2
}

const fn failures() -> u32 {
    API_FAILURES.2
}

const fn https() -> SchemeName {
    SchemeName::Https
}

const fn get() -> ApiMethodName {
    ApiMethodName::Get
}

const fn ok() -> u32 {
    200
}

fn root() -> String {
    "/".to_owned()
}

impl ApiBody {
    pub(super) fn into_spec(self, at: &str, secrets: &mut Vec<Secret>) -> Result<ApiSpec, Problem> {
        Ok(ApiSpec {
            dc1: self.dc1.into_spec(at, "dc1", secrets)?,
            dc2: self.dc2.into_spec(at, "dc2", secrets)?,
            successes: self.successes,
            failures: self.failures,
        })
    }
}

impl ApiSiteBody {
    fn into_spec(self, at: &str, dc: &str, secrets: &mut Vec<Secret>) -> Result<ApiSite, Problem> {
        let mut headers = Vec::with_capacity(self.headers.len());
        for (position, header) in self.headers.into_iter().enumerate() {
            let at = format!("{at}/{dc}/headers/{position}");
            headers.push(header.into_spec(&at, dc, secrets)?);
        }
        Ok(ApiSite {
            cloud: self.cloud,
            region: self.region,
            scheme: Scheme::from(self.scheme) as i32,
            address: self.address,
            path: self.path,
            method: ApiMethod::from(self.method) as i32,
            expected_status: self.expected_status,
            headers,
            body_contains: self.body_contains,
            tls: tls_spec(self.tls),
        })
    }
}

impl HeaderBody {
    fn into_spec(self, at: &str, dc: &str, secrets: &mut Vec<Secret>) -> Result<ApiHeader, Problem> {
        let Self {
            name, value, secret, ..
        } = self;
        if !secret {
            return Ok(ApiHeader {
                name,
                value: value.unwrap_or_default(),
                secret,
                sealed: None,
            });
        }
        if let Some(value) = value {
            let pointer = format!("{at}/value");
            // Once it is sealed nobody can see a line break in it any more.
            check_header_value(&value).map_err(|detail| Problem::field(&pointer, "invalid-characters", detail))?;
            let field = format!("{dc}.header.{}", name.to_ascii_lowercase());
            secrets.push(Secret::new(field, pointer, value));
        }
        Ok(ApiHeader {
            name,
            value: String::new(),
            secret,
            sealed: None,
        })
    }
}

impl From<&ApiSpec> for ApiBody {
    fn from(spec: &ApiSpec) -> Self {
        Self {
            successes: spec.successes,
            failures: spec.failures,
            dc1: ApiSiteBody::from(&spec.dc1),
            dc2: ApiSiteBody::from(&spec.dc2),
        }
    }
}

impl From<&ApiSite> for ApiSiteBody {
    fn from(site: &ApiSite) -> Self {
        let header = |header: &ApiHeader| HeaderBody {
            name: header.name.clone(),
            value: (!header.secret).then(|| header.value.clone()),
            secret: header.secret,
            value_set: header.sealed.is_some(),
        };
        Self {
            cloud: site.cloud.clone(),
            region: site.region.clone(),
            scheme: site.scheme().into(),
            address: site.address.clone(),
            path: site.path.clone(),
            method: site.method().into(),
            expected_status: site.expected_status,
            headers: site.headers.iter().map(header).collect(),
            body_contains: site.body_contains.clone(),
            tls: tls_body(site.tls.as_ref()),
        }
    }
}
