//! How peers know each other.
//!
//! An appliance's nodes speak mutual TLS: one private CA, one certificate per node, the node's id in its name. A cluster that
//! stands in for etcd has the operator's certificates or none; there a node says who it is in a header of every request, and
//! who may connect is a matter of those certificates and of the network, as with etcd.

use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

const NAME_PREFIX: &str = "node-";
const NAME_SUFFIX: &str = ".quorate.internal";
const ALPN_HTTP2: &[u8] = b"h2";

/// The name that a node's certificate carries as DNS subject alternative name: `node-1.quorate.internal`.
pub fn peer_certificate_name(node_id: u64) -> String {
    format!("{NAME_PREFIX}{node_id}{NAME_SUFFIX}")
}

/// Why TLS between peers cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not PEM, or nothing of the kind in it.
    #[error("cannot read the {what}: {source}")]
    Pem {
        what: &'static str,
        source: rustls_pki_types::pem::Error,
    },
    /// rustls refuses the certificates or the key.
    #[error("the peer certificates cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
    /// The CA cannot verify clients.
    #[error("the peer CA cannot be used: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// What a node shows to its peers and believes of them.
#[derive(Clone)]
pub struct PeerTls {
    /// `None`: connections to peers are plain.
    pub(crate) client: Option<Arc<ClientConfig>>,
    /// `None`: the peer port is plain.
    pub(crate) server: Option<Arc<ServerConfig>>,
    pub(crate) naming: Naming,
}

/// What tells which node is at the other end.
#[derive(Clone)]
pub(crate) enum Naming {
    /// The name in its certificate.
    Certificates,
    /// What it says in the headers of its requests.
    Headers(Arc<PeerHeaders>),
}

/// What a node says of itself in every request, where certificates carry no names of nodes.
pub(crate) struct PeerHeaders {
    pub node: u64,
    pub cluster: String,
}

/// Header with the sender's node id.
pub(crate) const NODE_HEADER: &str = "x-quorate-node";
/// Header with the node id of whom a request is for: another member may listen at an address now, one that was removed for
/// example, and must not answer in the name of the one that was there.
pub(crate) const TARGET_HEADER: &str = "x-quorate-to";
/// Header with the sender's cluster: nodes of two clusters that were given each other's addresses do not mix.
pub(crate) const CLUSTER_HEADER: &str = "x-quorate-cluster";

/// TLS settings of a peer port whose certificates carry no names of nodes.
#[derive(Clone)]
pub struct NamelessTls {
    /// Verifies the peers' certificates against the host names of their addresses.
    pub client: Arc<ClientConfig>,
    /// Decides whether a peer must show a certificate.
    pub server: Arc<ServerConfig>,
}

impl PeerTls {
    /// Peers that are known by what they say: node `node` of cluster `cluster`, over `tls` or in the clear. ALPN is set here.
    pub fn by_headers(node: u64, cluster: String, tls: Option<NamelessTls>) -> Self {
        let headers = Arc::new(PeerHeaders { node, cluster });
        let naming = Naming::Headers(headers);
        let Some(NamelessTls { client, server }) = tls else {
            return Self {
                client: None,
                server: None,
                naming,
            };
        };
        let (mut client, mut server) = (ClientConfig::clone(&client), ServerConfig::clone(&server));
        client.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
        server.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
        Self {
            client: Some(Arc::new(client)),
            server: Some(Arc::new(server)),
            naming,
        }
    }

    /// From the peer CA, this node's certificate chain and its key, all PEM. The certificate needs the name of
    /// [`peer_certificate_name`] and both key usages (server and client).
    ///
    /// # Errors
    ///
    /// [`TlsError`] says which of them cannot be used.
    pub fn from_pem(ca: &[u8], certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let pem = |what| move |source| TlsError::Pem { what, source };
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(ca) {
            roots.add(root.map_err(pem("peer CA"))?)?;
        }
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
        let chain = chain.map_err(pem("peer certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(pem("peer key"))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let roots = Arc::new(roots);
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots.clone())
            .with_client_auth_cert(chain.clone(), key.clone_key())?;
        client.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
        // Without a certificate only the extra routes answer: a node that is to join has none yet.
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).allow_unauthenticated();
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier.build()?)
            .with_single_cert(chain, key)?;
        server.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
        Ok(Self {
            client: Some(Arc::new(client)),
            server: Some(Arc::new(server)),
            naming: Naming::Certificates,
        })
    }
}

/// The name that the certificate of `node_id` must have.
pub(crate) fn server_name(node_id: u64) -> Option<ServerName<'static>> {
    ServerName::try_from(peer_certificate_name(node_id)).ok()
}

/// The host of `host:port`, as a name that a certificate can have.
pub(crate) fn host_name(address: &str) -> Option<ServerName<'static>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).ok()
}

/// The node that a verified certificate belongs to; `None` if it is no node's.
pub(crate) fn node_of(certificate: &CertificateDer<'_>) -> Option<u64> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) => name.strip_prefix(NAME_PREFIX)?.strip_suffix(NAME_SUFFIX)?.parse().ok(),
        _ => None,
    })
}
