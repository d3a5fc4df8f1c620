//! TLS from the files that etcd's flags name.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use quorate_raft::NamelessTls;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme, SupportedProtocolVersion,
};

use super::config::{EtcdConfig, TlsFiles, TlsVersions};

/// What the client port shows and asks for; `None` where no client URL has https.
pub fn client_port(config: &EtcdConfig) -> anyhow::Result<Option<Arc<ServerConfig>>> {
    let mut listens = config.listen_client.iter().chain(&config.listen_metrics);
    if !listens.any(|url| url.tls) {
        return Ok(None);
    }
    let hosts = config.listen_client.iter().chain(&config.advertise_client);
    let hosts = hosts.map(|url| url.host.clone()).collect();
    server(&config.client_tls, config.tls_versions, hosts)
        .map(Some)
        .context("TLS of the client port")
}

/// What members show each other; `None` where the peer URL has http.
pub fn peers(config: &EtcdConfig) -> anyhow::Result<Option<NamelessTls>> {
    if !config.listen_peer.tls {
        return Ok(None);
    }
    let files = &config.peer_tls;
    let server = server(files, config.tls_versions, Vec::new()).context("TLS of the peer port")?;
    let builder = ClientConfig::builder_with_protocol_versions(&versions(config.tls_versions));
    let builder = match files.trusted_ca.as_deref() {
        Some(ca) => builder.with_root_certificates(roots(ca)?),
        None if files.auto => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unverified::new())),
        None => anyhow::bail!("--peer-trusted-ca-file is missing"),
    };
    let cert = files.client_cert.as_deref().or(files.cert.as_deref());
    let key = files.client_key.as_deref().or(files.key.as_deref());
    let client = match (cert, key) {
        (Some(cert), Some(key)) => builder.with_client_auth_cert(chain(cert)?, private_key(key)?)?,
        _ => builder.with_no_client_auth(),
    };
    Ok(Some(NamelessTls {
        client: Arc::new(client),
        server,
    }))
}

fn server(files: &TlsFiles, allowed: TlsVersions, hosts: Vec<String>) -> anyhow::Result<Arc<ServerConfig>> {
    let builder = ServerConfig::builder_with_protocol_versions(&versions(allowed));
    let builder = match &files.trusted_ca {
        Some(ca) if files.client_cert_auth => {
            let verifier = WebPkiClientVerifier::builder(roots(ca)?).build()?;
            builder.with_client_cert_verifier(verifier)
        }
        _ => builder.with_no_client_auth(),
    };
    let config = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => builder.with_single_cert(chain(cert)?, private_key(key)?)?,
        _ => {
            let (cert, key) = self_signed(hosts, files.validity_years)?;
            builder.with_single_cert(vec![cert], key)?
        }
    };
    Ok(Arc::new(config))
}

fn versions(allowed: TlsVersions) -> Vec<&'static SupportedProtocolVersion> {
    let both = [
        (allowed.tls12, &rustls::version::TLS12),
        (allowed.tls13, &rustls::version::TLS13),
    ];
    both.into_iter()
        .filter(|(is, _)| *is)
        .map(|(_, version)| version)
        .collect()
}

fn chain(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = found.with_context(|| format!("cannot read the certificates of {}", path.display()))?;
    anyhow::ensure!(!found.is_empty(), "{} holds no certificate", path.display());
    Ok(found)
}

fn private_key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path).with_context(|| format!("cannot read the key of {}", path.display()))
}

fn roots(path: &Path) -> anyhow::Result<Arc<RootCertStore>> {
    let mut store = RootCertStore::empty();
    for certificate in chain(path)? {
        store
            .add(certificate)
            .with_context(|| format!("{} holds no authority", path.display()))?;
    }
    Ok(Arc::new(store))
}

/// `--peer-auto-tls`: members encrypt what they say to each other and believe whatever certificate the other shows, which is
/// better than peer URLs with http and no more. Whoever wants members verified names an authority.
#[derive(Debug)]
struct Unverified(WebPkiSupportedAlgorithms);

impl Unverified {
    fn new() -> Self {
        Self(rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms)
    }
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
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
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// `--auto-tls`: a certificate that nobody can verify, for links that are only to be encrypted.
fn self_signed(
    mut hosts: Vec<String>,
    years: u16,
) -> anyhow::Result<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
    hosts.extend(["localhost", "127.0.0.1", "::1"].map(String::from));
    hosts.sort();
    hosts.dedup();
    let key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(hosts)?;
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let day = |date: jiff::civil::Date| rcgen::date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8);
    params.not_before = day(today.yesterday()?);
    params.not_after = day(today.saturating_add(jiff::Span::new().years(years)));
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| anyhow::anyhow!(error))?;
    Ok((certificate.der().clone(), key))
}
