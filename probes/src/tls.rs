//! How probers encrypt: rustls with aws-lc-rs, three degrees.

use std::sync::{Arc, OnceLock};

use quorate_machine::{FindingClass, TlsMode, TlsSpec};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{address::Address, endpoint::TargetError, failure::Failure, observation::Stage};

/// Whether a connection is encrypted, and whom it trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// Plain TCP.
    #[default]
    Off,
    /// Encrypted, whoever answers: the certificate is not looked at (as `sslmode=require`). Guards against listeners,
    /// not against impostors.
    Required,
    /// Encrypted; the certificate must be valid now, for the target's host, and signed by a trusted CA.
    Verified {
        /// CA certificates, PEM; `None`: those that the machine trusts.
        ca_pem: Option<Vec<u8>>,
    },
}

impl Tls {
    /// As a monitor's specification says.
    pub(crate) fn of(spec: &TlsSpec) -> Self {
        match spec.mode() {
            TlsMode::Off => Tls::Off,
            TlsMode::Unverified => Tls::Required,
            TlsMode::Verified => Tls::Verified {
                ca_pem: (!spec.ca_pem.is_empty()).then(|| spec.ca_pem.clone().into_bytes()),
            },
        }
    }

    /// The configuration for connections; `None` for plain TCP.
    ///
    /// # Errors
    /// The CA certificates cannot be read, or there are none.
    pub(crate) fn client(&self) -> Result<Option<Arc<ClientConfig>>, TargetError> {
        let problem = |error: &dyn std::fmt::Display| TargetError::Tls(error.to_string());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| problem(&error))?;
        let config = match self {
            Tls::Off => return Ok(None),
            Tls::Required => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
                .with_no_client_auth(),
            Tls::Verified { ca_pem } => {
                let roots = match ca_pem {
                    Some(pem) => Arc::new(roots_of(pem)?),
                    None => machine_roots(),
                };
                if roots.is_empty() {
                    return Err(problem(&"there is no CA certificate to trust"));
                }
                builder.with_root_certificates(roots).with_no_client_auth()
            }
        };
        Ok(Some(Arc::new(config)))
    }

    /// How an operator reads it behind `logged in as …`.
    pub(crate) fn shown(&self) -> &'static str {
        match self {
            Tls::Off => "",
            Tls::Required => ", encrypted, certificate not verified",
            Tls::Verified { .. } => ", TLS verified",
        }
    }
}

/// The handshake on a connection that stands, by `deadline`.
pub(crate) async fn handshake(
    config: Arc<ClientConfig>,
    address: &Address,
    stream: TcpStream,
    deadline: Instant,
) -> Result<TlsStream<TcpStream>, Failure> {
    let started = Instant::now();
    let name = ServerName::try_from(address.host.clone())
        .map_err(|error| Failure::new(Stage::Tls, FindingClass::Misconfigured, &error.to_string()))?;
    match timeout_at(deadline, TlsConnector::from(config).connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        // A peer that hangs up has not spoken of TLS: that is a wrong answer like any other.
        Ok(Err(error)) => Err(Failure::of_io(&error, Stage::Tls)),
        Err(_) => Err(Failure::timed_out(
            Stage::Tls,
            "connected, but no TLS handshake",
            started,
        )),
    }
}

fn roots_of(pem: &[u8]) -> Result<RootCertStore, TargetError> {
    let problem = |error: String| TargetError::Tls(format!("the CA certificates cannot be read: {error}"));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| problem(error.to_string()))?;
        roots.add(certificate).map_err(|error| problem(error.to_string()))?;
    }
    Ok(roots)
}

/// What the machine trusts, read once: it is a matter of many files.
fn machine_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let read = || {
        let mut roots = RootCertStore::empty();
        // Certificates that cannot be read are not trusted; that is all there is to it.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    };
    ROOTS.get_or_init(read).clone()
}

/// Takes any certificate, but only from somebody who holds its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreadable_authorities_are_refused() {
        let of = |pem: &str| {
            let tls = Tls::Verified {
                ca_pem: Some(pem.as_bytes().to_vec()),
            };
            tls.client().map(|config| config.is_some())
        };
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for pem in ["", "no PEM at all", broken] {
            assert!(matches!(of(pem), Err(TargetError::Tls(_))), "{pem:?}");
        }
        assert_eq!(Tls::Off.client().map(|config| config.is_some()), Ok(false));
        assert_eq!(Tls::Required.client().map(|config| config.is_some()), Ok(true));
    }
}
