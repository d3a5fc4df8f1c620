//! TLS settings from the files of an identity directory.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::directory::files;
use super::{IdentityDirectory, IdentityError};

/// All certificates of a PEM file; at least one.
pub(super) fn certificates(
    directory: &IdentityDirectory,
    name: &str,
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let pem = directory.read(name)?;
    let parsed = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    match parsed {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(IdentityError::damaged(
            &directory.path().join(name),
            "holds no certificate",
        )),
        Err(error) => Err(IdentityError::damaged(&directory.path().join(name), error.to_string())),
    }
}

fn private_key(directory: &IdentityDirectory, name: &str) -> Result<PrivateKeyDer<'static>, IdentityError> {
    let pem = zeroize::Zeroizing::new(directory.read(name)?);
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|error| IdentityError::damaged(&directory.path().join(name), error.to_string()))
}

fn roots(directory: &IdentityDirectory, name: &str) -> Result<Arc<RootCertStore>, IdentityError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(directory, name)? {
        store.add(certificate)?;
    }
    Ok(Arc::new(store))
}

/// The KV endpoint's own certificate.
pub fn kv_certificate(directory: &IdentityDirectory) -> Result<CertificateDer<'static>, IdentityError> {
    Ok(certificates(directory, files::KV_CERT)?.swap_remove(0))
}

/// TLS of the KV endpoint; with `mutual_tls` a client must show a certificate of the instance.
pub fn kv_server_config(directory: &IdentityDirectory, mutual_tls: bool) -> Result<Arc<ServerConfig>, IdentityError> {
    let builder = ServerConfig::builder();
    let builder = if mutual_tls {
        let verifier = WebPkiClientVerifier::builder(roots(directory, files::KV_CA)?)
            .build()
            .map_err(|error| IdentityError::damaged(&directory.path().join(files::KV_CA), error.to_string()))?;
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_single_cert(
        certificates(directory, files::KV_CERT)?,
        private_key(directory, files::KV_KEY)?,
    )?;
    config.alpn_protocols = kv_protocols();
    Ok(Arc::new(config))
}

/// What a KV port speaks.
pub(super) fn kv_protocols() -> Vec<Vec<u8>> {
    vec![b"h2".to_vec(), b"http/1.1".to_vec()]
}

/// TLS of the console.
pub fn console_server_config(directory: &IdentityDirectory) -> Result<Arc<ServerConfig>, IdentityError> {
    let certificate = certificates(directory, files::CONSOLE_CERT)?;
    let key = private_key(directory, files::CONSOLE_KEY)?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificate, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
