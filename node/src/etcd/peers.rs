//! What a peer port tells everybody, as etcd's does: the members. A member that starts asks it, to find its id in a cluster
//! that runs, and to be told that it lost its data.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hyper_util::rt::{TokioExecutor, TokioIo};
use quorate_etcd_api::{EMULATED_CLUSTER_VERSION, EMULATED_VERSION};
use quorate_machine::NodeRecord;
use quorate_raft::{Handle, NamelessTls};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::urls::Url;

/// Header with the cluster's id, hexadecimal, as etcd sets it.
const CLUSTER_HEADER: &str = "x-etcd-cluster-id";
/// Time for one question.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest answer, bytes.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// One member, as `/members` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldMember {
    pub id: u64,
    #[serde(rename = "peerURLs")]
    pub peer_urls: Vec<String>,
    #[serde(default)]
    pub name: String,
    /// Empty until the member has started for the first time.
    #[serde(rename = "clientURLs", default)]
    pub client_urls: Vec<String>,
    #[serde(rename = "isLearner", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_learner: bool,
}

/// A cluster as one of its members tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldCluster {
    pub id: u64,
    pub members: Vec<ToldMember>,
}

/// The routes of the peer port; they answer once `handle` is there.
pub fn router(handle: Arc<OnceLock<Handle>>) -> Router {
    Router::new()
        .route("/members", get(members))
        .route("/version", get(version))
        .with_state(handle)
}

async fn members(State(handle): State<Arc<OnceLock<Handle>>>) -> Response {
    let told = handle.get().and_then(|handle| {
        handle.read(|state| {
            let cluster = state.cluster_id()?;
            Some((cluster.low, state.nodes().map(told).collect::<Vec<_>>()))
        })
    });
    match told {
        Some((cluster, members)) => ([(CLUSTER_HEADER, format!("{cluster:x}"))], Json(members)).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn version() -> Json<serde_json::Value> {
    Json(serde_json::json!({
        "etcdserver": EMULATED_VERSION,
        "etcdcluster": EMULATED_CLUSTER_VERSION,
        "storage": EMULATED_CLUSTER_VERSION,
    }))
}

fn told(node: &NodeRecord) -> ToldMember {
    let urls = |text: &str| {
        text.split(',')
            .filter(|url| !url.is_empty())
            .map(String::from)
            .collect()
    };
    ToldMember {
        id: node.id,
        peer_urls: urls(&node.peer),
        name: node.name.clone(),
        client_urls: urls(&node.kv),
        is_learner: node.learner,
    }
}

/// Asks whoever listens at `url` for its cluster.
pub async fn ask(url: &Url, tls: Option<&NamelessTls>) -> anyhow::Result<ToldCluster> {
    let asking = async {
        let stream = TcpStream::connect(url.address()).await?;
        let Some(tls) = tls.filter(|_| url.tls) else {
            return fetch(stream, url).await;
        };
        let name = rustls::pki_types::ServerName::try_from(url.host.clone())?;
        let mut config = rustls::ClientConfig::clone(&tls.client);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        fetch(connector.connect(name, stream).await?, url).await
    };
    tokio::time::timeout(ASK_TIMEOUT, asking)
        .await
        .unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in time")))
        .with_context(|| format!("asking {url} for the members"))
}

async fn fetch<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    url: &Url,
) -> anyhow::Result<ToldCluster> {
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(format!("{url}/members")).body(Body::empty())?;
    let response = sender.send_request(request).await?;
    anyhow::ensure!(response.status() == StatusCode::OK, "it answered {}", response.status());
    let id = response.headers().get(CLUSTER_HEADER).context("it named no cluster")?;
    let id = u64::from_str_radix(id.to_str()?, 16)?;
    let body = axum::body::to_bytes(Body::new(response.into_body()), MAX_ANSWER_BYTES).await?;
    connection.abort();
    Ok(ToldCluster {
        id,
        members: serde_json::from_slice(&body)?,
    })
}
