//! What a prober requests and what it expects.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use rustls::ClientConfig;

use crate::{
    Names, Tls,
    endpoint::{Endpoint, TargetError},
};

/// Most headers of a request (C26).
pub const MAX_HEADERS: usize = 50;
/// Shown to whoever reads the server's log.
const USER_AGENT: &str = "quorate";

/// One address of an HTTP API with the request that probes it.
#[derive(Clone)]
pub struct ApiTarget {
    pub(super) endpoint: Endpoint,
    pub(super) tls: Tls,
    /// Present for https.
    pub(super) tls_client: Option<Arc<ClientConfig>>,
    pub(super) method: Method,
    pub(super) path: Uri,
    pub(super) headers: HeaderMap,
    pub(super) expected: StatusCode,
    /// Bytes that the body must contain; empty: it is not read.
    pub(super) body_contains: Vec<u8>,
    pub(super) access_timeout: Duration,
}

impl ApiTarget {
    /// `GET path` at `address` (`host:port`), expecting status 200, over plain HTTP; `access_timeout` bounds one whole attempt
    /// (C3).
    ///
    /// # Errors
    /// The address, the path (with its query; begins with `/`) or the time-out makes no sense.
    pub fn new(address: &str, path: &str, access_timeout: Duration) -> Result<Self, TargetError> {
        if access_timeout.is_zero() {
            return Err(TargetError::NoTime);
        }
        let endpoint = Endpoint::parse(address)?;
        let uri: Uri = path.parse().map_err(|error| setting("path", &error))?;
        if !path.starts_with('/') || uri.authority().is_some() {
            return Err(setting("path", &"it must begin with one /"));
        }
        let mut headers = HeaderMap::new();
        let host = HeaderValue::from_str(address).map_err(|error| setting("address", &error))?;
        headers.insert(header::HOST, host);
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        Ok(Self {
            endpoint,
            tls: Tls::Off,
            tls_client: None,
            method: Method::GET,
            path: uri,
            headers,
            expected: StatusCode::OK,
            body_contains: Vec::new(),
            access_timeout,
        })
    }

    /// Another method, status, and text that the body must contain (empty: any body).
    ///
    /// # Errors
    /// The method or the status does not exist.
    pub fn expecting(mut self, method: &str, status: u16, body_contains: &str) -> Result<Self, TargetError> {
        self.method = method.parse().map_err(|error| setting("method", &error))?;
        self.expected = StatusCode::from_u16(status).map_err(|error| setting("status", &error))?;
        self.body_contains = body_contains.as_bytes().to_vec();
        Ok(self)
    }

    /// A further header; one of the prober's own (`user-agent`, `accept`) is replaced.
    ///
    /// # Errors
    /// Name or value is none, or there are more than `MAX_HEADERS`.
    pub fn with_header(mut self, name: &str, value: &str) -> Result<Self, TargetError> {
        let name: HeaderName = name.parse().map_err(|error| setting("header name", &error))?;
        let mut value = HeaderValue::from_str(value).map_err(|error| setting("header value", &error))?;
        // Any of them may be a secret: none is ever shown.
        value.set_sensitive(true);
        self.headers.insert(name, value);
        // Beside the prober's own.
        if self.headers.len() > MAX_HEADERS + 4 {
            return Err(setting("headers", &format!("there are more than {MAX_HEADERS}")));
        }
        Ok(self)
    }

    /// Encrypts the connection (https).
    ///
    /// # Errors
    /// The CA certificates cannot be read.
    pub fn with_tls(mut self, tls: Tls) -> Result<Self, TargetError> {
        self.tls_client = tls.client()?;
        self.tls = tls;
        Ok(self)
    }

    /// Resolves with `names`, which many targets may share.
    pub fn with_names(mut self, names: Names) -> Self {
        self.endpoint.names = names;
        self
    }

    /// With the endpoint as it is reached.
    pub(super) fn at(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = endpoint;
        self
    }
}

fn setting(what: &str, problem: &dyn fmt::Display) -> TargetError {
    TargetError::Setting(format!("{what}: {problem}"))
}

impl fmt::Debug for ApiTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiTarget({} {}{})", self.method, self.endpoint.address, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(address: &str, path: &str) -> Result<ApiTarget, TargetError> {
        ApiTarget::new(address, path, Duration::from_secs(1))
    }

    #[test]
    fn what_makes_no_request_is_refused() {
        for (address, path) in [
            ("host", "/"),
            ("host:80", "health"),
            ("host:80", ""),
            ("host:80", "http://other/"),
            ("host:80", "/a b"),
            ("host:80", "*"),
        ] {
            assert!(target(address, path).is_err(), "{address} {path}");
        }
        let good = target("host:80", "/health?deep=1").expect("a target");
        assert!(good.clone().expecting("B AD", 200, "").is_err());
        assert!(good.clone().expecting("GET", 99, "").is_err());
        for (name, value) in [("a b", "x"), ("x", "1\r\nHost: other"), ("", "x")] {
            assert!(good.clone().with_header(name, value).is_err(), "{name:?} {value:?}");
        }
        let mut full = good;
        for index in 0..MAX_HEADERS {
            full = full.with_header(&format!("x-{index}"), "1").expect("a header");
        }
        assert!(full.clone().with_header("x-one-more", "1").is_err());
        assert!(!format!("{full:?}").contains("x-1"));
    }
}
