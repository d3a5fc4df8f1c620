//! HTTP APIs (C26): health by answers in a row; nothing is switched and nothing published.

use std::collections::BTreeSet;

use super::check::same_servers;
use super::elasticsearch::{http_scheme, http_tls};
use super::{
    ApiRequest, KindSpec, KindTraits, ProbedDetail, ProbedSecret, ProbedSide, Scheme, SecretSlot, SiteSpec, Thresholds,
    TlsSpec, shared::tls_fields,
};
use crate::model::*;
use crate::validate::Problems;

/// Headers of one side.
pub const MAX_API_HEADERS: usize = 50;
const MAX_HEADER_NAME_BYTES: usize = 128;
const MAX_HEADER_VALUE_BYTES: usize = 4_096;
const MAX_PATH_BYTES: usize = 2_048;
const MAX_BODY_MATCH_CHARS: usize = 1_024;
/// Running answers that make a side healthy: least, most, default.
pub const API_SUCCESSES: (u32, u32, u32) = (1, 5, 1);
/// Running failures that make a side abnormal: least, most, default.
pub const API_FAILURES: (u32, u32, u32) = (3, 10, 3);

/// Request method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ApiMethod {
    Get = 0,
    Post = 1,
    Delete = 2,
    Put = 3,
    Patch = 4,
}

impl ApiMethod {
    /// The spelling of HTTP and of the API.
    pub const fn name(self) -> &'static str {
        match self {
            ApiMethod::Get => "GET",
            ApiMethod::Post => "POST",
            ApiMethod::Delete => "DELETE",
            ApiMethod::Put => "PUT",
            ApiMethod::Patch => "PATCH",
        }
    }
}

/// A header of the request.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ApiHeader {
    #[prost(string, tag = "1")]
    pub name: String,
    /// Empty if it is secret.
    #[prost(string, tag = "2")]
    pub value: String,
    #[prost(bool, tag = "3")]
    pub secret: bool,
    /// The value of a secret header; absent in an edit that keeps the present one.
    #[prost(message, optional, tag = "4")]
    pub sealed: Option<Sealed>,
}

/// One side of an API monitor.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ApiSite {
    #[prost(string, tag = "1")]
    pub cloud: String,
    #[prost(string, tag = "2")]
    pub region: String,
    #[prost(enumeration = "Scheme", tag = "3")]
    pub scheme: i32,
    /// `host:port`.
    #[prost(string, tag = "4")]
    pub address: String,
    /// Path with query; begins with `/`.
    #[prost(string, tag = "5")]
    pub path: String,
    #[prost(enumeration = "ApiMethod", tag = "6")]
    pub method: i32,
    #[prost(uint32, tag = "7")]
    pub expected_status: u32,
    #[prost(message, repeated, tag = "8")]
    pub headers: Vec<ApiHeader>,
    /// Text that the body must contain; empty: any body.
    #[prost(string, tag = "9")]
    pub body_contains: String,
    /// How the certificate is verified with `Https`; absent: not at all.
    #[prost(message, optional, tag = "10")]
    pub tls: Option<TlsSpec>,
}

/// An API monitor.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ApiSpec {
    #[prost(message, required, tag = "1")]
    pub dc1: ApiSite,
    #[prost(message, required, tag = "2")]
    pub dc2: ApiSite,
    #[prost(uint32, tag = "3")]
    pub successes: u32,
    #[prost(uint32, tag = "4")]
    pub failures: u32,
}

impl ApiSpec {
    /// One side.
    pub fn site(&self, dc: DataCenter) -> &ApiSite {
        match dc {
            DataCenter::Dc1 => &self.dc1,
            DataCenter::Dc2 => &self.dc2,
        }
    }
}

fn header_secret(name: &str) -> String {
    format!("header.{}", name.to_ascii_lowercase())
}

impl KindSpec for ApiSpec {
    fn place(&self, dc: DataCenter) -> SiteSpec {
        let site = self.site(dc);
        SiteSpec {
            cloud: site.cloud.clone(),
            region: site.region.clone(),
            zones: Vec::new(),
            addresses: vec![site.address.clone()],
        }
    }

    fn probed(&self, dc: DataCenter) -> ProbedSide {
        let site = self.site(dc);
        let sealed = |header: &ApiHeader| {
            let name = header_secret(&header.name);
            header.sealed.clone().map(|sealed| ProbedSecret {
                field: format!("{}.{name}", dc.name()),
                name,
                sealed,
            })
        };
        let shown = |header: &ApiHeader| (header.name.clone(), (!header.secret).then(|| header.value.clone()));
        ProbedSide {
            kind: "",
            addresses: vec![site.address.clone()],
            user: String::new(),
            secrets: site.headers.iter().filter_map(sealed).collect(),
            database: String::new(),
            tls: http_tls(site.scheme(), site.tls.as_ref()),
            detail: ProbedDetail::Api(ApiRequest {
                https: site.scheme() == Scheme::Https,
                path: site.path.clone(),
                method: site.method(),
                expected_status: u16::try_from(site.expected_status).unwrap_or_default(),
                headers: site.headers.iter().map(shown).collect(),
                body_contains: site.body_contains.clone(),
            }),
        }
    }

    fn thresholds(&self) -> Option<Thresholds> {
        Some(Thresholds {
            successes: self.successes,
            failures: self.failures,
        })
    }

    fn secret_slots(&mut self) -> Vec<SecretSlot<'_>> {
        let mut slots = Vec::new();
        for (dc, site) in [("dc1", &mut self.dc1), ("dc2", &mut self.dc2)] {
            for header in site.headers.iter_mut().filter(|header| header.secret) {
                slots.push(SecretSlot {
                    field: format!("{dc}.{}", header_secret(&header.name)),
                    sealed: &mut header.sealed,
                });
            }
        }
        slots
    }

    fn secret_pointer(&self, field: &str) -> String {
        let of_side = |dc: DataCenter| {
            let mut headers = self.site(dc).headers.iter();
            let name = field.strip_prefix(dc.name())?.strip_prefix('.')?;
            let position = headers.position(|header| header_secret(&header.name) == name)?;
            Some(format!("{}/headers/{position}/value", dc.name()))
        };
        let found = DataCenter::ALL.into_iter().find_map(of_side);
        found.unwrap_or_else(|| field.to_owned())
    }

    fn fields(&self) -> Vec<(String, String)> {
        let mut fields = vec![
            ("successes".to_owned(), self.successes.to_string()),
            ("failures".to_owned(), self.failures.to_string()),
        ];
        for dc in DataCenter::ALL {
            let (site, dc) = (self.site(dc), dc.name());
            let mut add = |name: &str, value: String| fields.push((format!("{dc}.{name}"), value));
            add("cloud", site.cloud.clone());
            add("region", site.region.clone());
            add(
                "url",
                format!("{}://{}{}", site.scheme().name(), site.address, site.path),
            );
            add("method", site.method().name().to_owned());
            add("expected_status", site.expected_status.to_string());
            add("body_contains", site.body_contains.clone());
            for header in site.headers.iter().filter(|header| !header.secret) {
                add(&header_secret(&header.name), header.value.clone());
            }
            let tls = http_tls(site.scheme(), site.tls.as_ref());
            fields.extend(tls_fields(&format!("{dc}."), &tls));
        }
        fields
    }

    fn check(&self, problems: &mut Problems, at: &str, _traits: &KindTraits) {
        problems.range(
            &format!("{at}/successes"),
            self.successes,
            API_SUCCESSES.0,
            API_SUCCESSES.1,
        );
        problems.range(&format!("{at}/failures"), self.failures, API_FAILURES.0, API_FAILURES.1);
        for dc in DataCenter::ALL {
            side(problems, &format!("{at}/{}", dc.name()), self.site(dc));
        }
        // Two paths of one host are two APIs.
        if self.dc1.path == self.dc2.path {
            let (dc1, dc2) = (&self.dc1.address, &self.dc2.address);
            let pointer = format!("{at}/dc2/address");
            same_servers(problems, &pointer, std::slice::from_ref(dc1), std::slice::from_ref(dc2));
        }
    }
}

fn side(problems: &mut Problems, at: &str, site: &ApiSite) {
    problems.place(at, &site.cloud, &site.region);
    problems.address(&format!("{at}/address"), &site.address);
    http_scheme(problems, at, site.scheme, site.tls.as_ref());
    if ApiMethod::try_from(site.method).is_err() {
        problems.add(format!("{at}/method"), "unsupported", "GET, POST, DELETE, PUT or PATCH");
    }
    // Informational answers (below 200) are never the last word of a server (RFC 9110, 15.2).
    problems.range(&format!("{at}/expected_status"), site.expected_status, 200, 599);
    let plain = |b: u8| b.is_ascii_graphic() && b != b'#';
    if !site.path.starts_with('/') || site.path.len() > MAX_PATH_BYTES || !site.path.bytes().all(plain) {
        let detail =
            format!("begins with /, has no blanks, and is at most {MAX_PATH_BYTES} bytes long; encode the rest as %XX");
        problems.add(format!("{at}/path"), "invalid-path", detail);
    }
    problems.text(
        &format!("{at}/body_contains"),
        &site.body_contains,
        0,
        MAX_BODY_MATCH_CHARS,
    );
    if site.headers.len() > MAX_API_HEADERS {
        let detail = format!("{} headers; at most {MAX_API_HEADERS}", site.headers.len());
        problems.add(format!("{at}/headers"), "too-many", detail);
        return;
    }
    let mut names = BTreeSet::new();
    for (position, header) in site.headers.iter().enumerate() {
        let at = format!("{at}/headers/{position}");
        if !names.insert(header.name.to_ascii_lowercase()) {
            problems.add(format!("{at}/name"), "duplicate", "this header is listed already");
        }
        check_header(problems, &at, header);
    }
}

/// Headers that the prober sets itself, or that would change how far the request reaches.
const OWN_HEADERS: [&str; 6] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
];

fn check_header(problems: &mut Problems, at: &str, header: &ApiHeader) {
    // A token of RFC 9110, 5.6.2.
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let name = header.name.as_bytes();
    if !(1..=MAX_HEADER_NAME_BYTES).contains(&name.len()) || !name.iter().copied().all(token) {
        problems.add(format!("{at}/name"), "invalid-name", "not the name of a header");
    } else if OWN_HEADERS.contains(&header.name.to_ascii_lowercase().as_str()) {
        problems.add(
            format!("{at}/name"),
            "unsupported",
            "the prober sets this header itself",
        );
    }
    let pointer = format!("{at}/value");
    match (header.secret, &header.sealed) {
        (true, Some(sealed)) => problems.secret(&pointer, sealed),
        (true, None) => problems.add(&pointer, "required", "a secret header needs its value"),
        (false, _) => {
            if let Err(detail) = check_header_value(&header.value) {
                problems.add(pointer, "invalid-characters", detail);
            }
        }
    }
    if header.secret != header.value.is_empty() && header.secret {
        problems.add(
            format!("{at}/value"),
            "invalid-secret",
            "a secret value must come sealed",
        );
    }
}

/// Checks the value of a header (RFC 9110, 5.5): no line break may end the header early. For edges, which see secret values in clear.
///
/// # Errors
/// What is wrong.
pub fn check_header_value(value: &str) -> Result<(), String> {
    let visible = |c: char| c == '\t' || !c.is_control();
    if value.len() > MAX_HEADER_VALUE_BYTES {
        Err(format!("{} bytes; at most {MAX_HEADER_VALUE_BYTES}", value.len()))
    } else if !value.chars().all(visible) || value.trim() != value {
        Err("line breaks and other control characters, and blanks at the ends, are not allowed".to_owned())
    } else {
        Ok(())
    }
}
