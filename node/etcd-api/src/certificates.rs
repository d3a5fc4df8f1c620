//! What the endpoint reads from certificates: the user a client's names, and when the port's own ends.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Longest common name that is looked at, in bytes; X.509 allows 64.
const MAX_NAME_BYTES: usize = 256;

/// The common name of a verified certificate, if it has one.
pub(crate) fn common_name(certificate: &CertificateDer<'_>) -> Option<Arc<str>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    (!name.is_empty() && name.len() <= MAX_NAME_BYTES).then(|| Arc::from(name))
}

/// When a certificate ends, in seconds since 1970; `None` for what is no certificate.
pub fn certificate_expiry_seconds(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}
