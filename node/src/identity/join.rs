//! Joining: a further node fetches its identity over the peer port of one that is a member.
//!
//! The newcomer has no certificate yet, so it reaches nothing there but this one route. It knows the peers' authority by the
//! hash in its token and proves itself by the token's secret: one HTTP/2 request inside TLS.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode, header};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::authority::peer_name;
use super::token::sha256_hex;
use super::{Authority, IdentityDirectory, IdentityError, IdentityFiles, JoinToken, NodeProfile};

/// Path of the route on the peer port.
const JOIN_PATH: &str = "/quorate/join/v1";
/// Largest message of a join, bytes.
const MAX_MESSAGE_BYTES: usize = 256 * 1024;
/// Time for a whole join.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);

/// What a newcomer asks.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    token_id: String,
    secret: String,
    /// With node id 0: the cluster gives one.
    node: NodeProfile,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum JoinAnswer {
    /// Files of the newcomer's identity directory, base64.
    Files(BTreeMap<String, String>),
    Refused(String),
}

/// Admits a node to the registry: gives its id, or says why not.
pub type Registrar = Arc<dyn Fn(NodeProfile) -> BoxFuture<'static, Result<u64, String>> + Send + Sync>;

/// The member's side of joining.
#[derive(Clone)]
pub struct JoinDesk {
    directory: IdentityDirectory,
    registrar: Registrar,
}

impl JoinDesk {
    /// A desk that hands out identities with the authorities in `directory`.
    pub fn new(directory: IdentityDirectory, registrar: Registrar) -> Self {
        Self { directory, registrar }
    }

    /// The route for the peer port; a token is all it asks for.
    pub fn router(self) -> Router {
        Router::new()
            .route(JOIN_PATH, post(receive))
            .layer(axum::extract::DefaultBodyLimit::max(MAX_MESSAGE_BYTES))
            .with_state(self)
    }

    async fn admit(&self, request: JoinRequest) -> Result<(u64, IdentityFiles), IdentityError> {
        let Some(token) = JoinToken::redeem(&self.directory, &request.token_id, &request.secret)? else {
            return Err(IdentityError::Token(
                "is unknown here, was used already or has expired: make a new one with `quorate join-token`",
            ));
        };
        let mut profile = request.node;
        profile.node_id = match (self.registrar)(profile.clone()).await {
            Ok(node_id) => node_id,
            // Most refusals pass, or are a matter of the newcomer's settings.
            Err(reason) => {
                token.give_back()?;
                return Err(IdentityError::Join(reason));
            }
        };
        if profile.name.is_empty() {
            profile.name = format!("node-{}", profile.node_id);
        }
        let files = Authority::open(&self.directory)?.issue_node(&profile)?;
        Ok((profile.node_id, files))
    }
}

async fn receive(State(desk): State<JoinDesk>, Json(request): Json<JoinRequest>) -> Json<JoinAnswer> {
    let name = request.node.name.clone();
    Json(match desk.admit(request).await {
        Ok((node_id, files)) => {
            tracing::info!(node_id, name, "admitted a node: its identity was handed out");
            JoinAnswer::Files(
                files
                    .iter()
                    .map(|(name, content)| (name.clone(), STANDARD.encode(content)))
                    .collect(),
            )
        }
        Err(error) => {
            tracing::warn!(name, "a join was refused: {error}");
            JoinAnswer::Refused(error.to_string())
        }
    })
}

/// `quorate join`: fetches an identity for `node` and writes it to `directory`; gives the node id.
pub async fn join(
    directory: &IdentityDirectory,
    token: &JoinToken,
    node: NodeProfile,
    dial: impl Future<Output = io::Result<TcpStream>>,
) -> Result<u64, IdentityError> {
    directory.require_empty()?;
    let conversation = async {
        let unreachable = |problem: String| {
            IdentityError::Join(format!(
                "cannot join by node-{} at {}: {problem}",
                token.issuer, token.address
            ))
        };
        let stream = dial.await.map_err(|error| unreachable(error.to_string()))?;
        let request = JoinRequest {
            token_id: token.token_id.clone(),
            secret: token.secret.clone(),
            node,
        };
        ask(stream, token, &request).await.map_err(unreachable)
    };
    let answer = tokio::time::timeout(JOIN_TIMEOUT, conversation)
        .await
        .unwrap_or_else(|_| Err(IdentityError::Join(format!("{} did not answer in time", token.address))))?;
    let files = match answer {
        JoinAnswer::Refused(reason) => return Err(IdentityError::Join(reason)),
        JoinAnswer::Files(files) => files,
    };
    let decode = |(name, content): (String, String)| STANDARD.decode(content).map(|content| (name, content));
    let files: IdentityFiles = files
        .into_iter()
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(|_| IdentityError::Join("the answer is damaged".to_string()))?;
    // Names come from the network: nothing may leave the directory.
    if files.keys().any(|name| name.contains('/') || name.starts_with('.')) {
        return Err(IdentityError::Join(
            "the answer names files outside the identity directory".to_string(),
        ));
    }
    directory.create(&files)?;
    Ok(directory.node()?.profile.node_id)
}

async fn ask(stream: TcpStream, token: &JoinToken, request: &JoinRequest) -> Result<JoinAnswer, String> {
    let name = ServerName::try_from(peer_name(token.issuer)).expect("node names are host names");
    let connector = TlsConnector::from(Arc::new(client_config(token)));
    let stream = connector
        .connect(name, stream)
        .await
        .map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let body = serde_json::to_vec(request).map_err(|error| error.to_string())?;
    let request = Request::post(format!("https://{}{JOIN_PATH}", peer_name(token.issuer)))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body))
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    if response.status() != StatusCode::OK {
        return Err(format!(
            "it answered {}: is it a node of this version?",
            response.status()
        ));
    }
    let body = axum::body::to_bytes(Body::new(response.into_body()), MAX_MESSAGE_BYTES)
        .await
        .map_err(|error| error.to_string())?;
    serde_json::from_slice(&body).map_err(|error| format!("its answer is damaged: {error}"))
}

fn client_config(token: &JoinToken) -> ClientConfig {
    let verifier = Arc::new(AuthorityByHash {
        sha256: token.authority_sha256.clone(),
    });
    let mut config = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// Accepts what the authority with this hash has signed, for the name that was asked for; nothing else.
#[derive(Debug)]
struct AuthorityByHash {
    sha256: String,
}

impl ServerCertVerifier for AuthorityByHash {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let authority = intermediates
            .iter()
            .find(|certificate| sha256_hex(certificate) == self.sha256)
            .ok_or(rustls::Error::InvalidCertificate(
                rustls::CertificateError::UnknownIssuer,
            ))?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        WebPkiServerVerifier::builder(Arc::new(roots))
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?
            .verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
