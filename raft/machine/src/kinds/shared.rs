//! What several kinds have in common.

use crate::model::Sealed;

/// Whether the connections of a prober are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum TlsMode {
    Off = 0,
    /// Encrypted; any certificate will do.
    Unverified = 1,
    /// Encrypted; the certificate must be valid for the host and come from a trusted authority.
    Verified = 2,
}

impl TlsMode {
    /// Stable code.
    pub const fn code(self) -> &'static str {
        match self {
            TlsMode::Off => "off",
            TlsMode::Unverified => "unverified",
            TlsMode::Verified => "verified",
        }
    }
}

/// Encryption of a prober's connections.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct TlsSpec {
    #[prost(enumeration = "TlsMode", tag = "1")]
    pub mode: i32,
    /// Trusted authorities, PEM, for `Verified`; empty: the public ones.
    #[prost(string, tag = "2")]
    pub ca_pem: String,
}

/// Where one side of a monitor is and by which addresses it is reached.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SiteSpec {
    #[prost(string, tag = "1")]
    pub cloud: String,
    #[prost(string, tag = "2")]
    pub region: String,
    /// Availability zones, free text.
    #[prost(string, repeated, tag = "3")]
    pub zones: Vec<String>,
    /// `host:port`, at least one.
    #[prost(string, repeated, tag = "4")]
    pub addresses: Vec<String>,
}

impl SiteSpec {
    pub(super) fn fields(&self, dc: &str) -> Vec<(String, String)> {
        vec![
            (format!("{dc}.cloud"), self.cloud.clone()),
            (format!("{dc}.region"), self.region.clone()),
            (format!("{dc}.zones"), self.zones.join(",")),
            (format!("{dc}.addresses"), self.addresses.join(",")),
        ]
    }
}

/// How many attempts in a row make a side healthy or abnormal (C26).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    pub successes: u32,
    pub failures: u32,
}

/// TLS as (field, value) for audit records.
pub(super) fn tls_fields(at: &str, tls: &TlsSpec) -> Vec<(String, String)> {
    vec![
        (format!("{at}tls"), tls.mode().code().to_owned()),
        (
            format!("{at}tls_ca"),
            super::secret_mark(
                (!tls.ca_pem.is_empty())
                    .then(|| Sealed {
                        bytes: tls.ca_pem.clone().into(),
                    })
                    .as_ref(),
            )
            .replace("secret", "certificates"),
        ),
    ]
}
