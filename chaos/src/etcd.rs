//! A lean etcd client, written from etcd's public API and independent of the appliance: the same for real etcd and for ours.
//!
//! It covers what scenarios and benchmarks need: put, range, delete, transactions, watch, leases, authentication. It does
//! not retry, balance or refresh anything: what a call meets is what the caller is told.

mod messages;

use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

pub use messages::*;

/// How a client reaches an endpoint.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// `ip:port`.
    pub endpoint: String,
    /// User and password; anonymous without.
    pub user: Option<(String, String)>,
    /// PEM of the CA; plaintext without.
    pub ca: Option<Vec<u8>>,
}

/// A connection, authenticated if credentials were given. Cheap to clone; clones share the connection.
#[derive(Debug, Clone)]
pub struct Client {
    grpc: Grpc<Channel>,
    token: Option<MetadataValue<Ascii>>,
}

/// A watch stream with one watch on it.
#[derive(Debug)]
pub struct Watch {
    responses: Streaming<WatchResponse>,
    /// Keeps the stream's sending side open.
    _requests: tokio::sync::mpsc::Sender<WatchRequest>,
}

const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// Largest reply that is taken: a range over everything that a comparison writes.
const MAX_REPLY_BYTES: usize = 256 << 20;

impl Client {
    /// Connects and authenticates within `timeout` for both together.
    pub async fn connect(options: &ConnectOptions, timeout: Duration) -> Result<Self> {
        Self::connect_with_window(options, timeout, STREAM_WINDOW_BYTES).await
    }

    /// The same with room for only so many bytes of each stream that nobody has read. All together have more: from their room
    /// the library takes how many small frames it bears from a server.
    pub async fn connect_with_window(options: &ConnectOptions, timeout: Duration, window_bytes: u32) -> Result<Self> {
        let scheme = if options.ca.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{}", options.endpoint))?
            .tcp_nodelay(true)
            .initial_stream_window_size(window_bytes)
            .initial_connection_window_size(window_bytes.max(STREAM_WINDOW_BYTES))
            .connect_timeout(timeout);
        if let Some(ca) = &options.ca {
            let tls = ClientTlsConfig::new().ca_certificate(tonic::transport::Certificate::from_pem(ca));
            endpoint = endpoint.tls_config(tls.domain_name("127.0.0.1"))?;
        }
        let connecting = async {
            let channel = endpoint
                .connect()
                .await
                .with_context(|| format!("connecting to {}", options.endpoint))?;
            let mut client = Self {
                grpc: Grpc::new(channel).max_decoding_message_size(MAX_REPLY_BYTES),
                token: None,
            };
            if let Some((name, password)) = &options.user {
                let request = AuthenticateRequest {
                    name: name.clone(),
                    password: password.clone(),
                };
                let reply: AuthenticateResponse = client.unary("/etcdserverpb.Auth/Authenticate", request).await?;
                client.token = Some(reply.token.parse().context("the token is no metadata value")?);
            }
            Ok(client)
        };
        tokio::time::timeout(timeout, connecting)
            .await
            .with_context(|| format!("{}: no login within {timeout:?}", options.endpoint))?
    }

    /// The same connection under another token; without one the calls are anonymous.
    ///
    /// # Errors
    ///
    /// If the token is no metadata value.
    pub fn with_token(&self, token: Option<&str>) -> Result<Self> {
        let token = token
            .map(str::parse)
            .transpose()
            .context("the token is no metadata value")?;
        Ok(Self {
            grpc: self.grpc.clone(),
            token,
        })
    }

    /// The token of the login; `None` without one.
    pub fn token(&self) -> Option<&str> {
        self.token.as_ref().and_then(|token| token.to_str().ok())
    }

    /// Any unary call, by its path (`/etcdserverpb.KV/Put`).
    pub async fn unary<Q, A>(&mut self, path: &'static str, message: Q) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.grpc
            .ready()
            .await
            .map_err(|error| Status::unavailable(format!("connection: {error}")))?;
        let request = self.request(message);
        let codec = ProstCodec::<Q, A>::default();
        Ok(self
            .grpc
            .unary(request, PathAndQuery::from_static(path), codec)
            .await?
            .into_inner())
    }

    /// Any streaming call; what `requests` receives is sent, and its end closes the sending side.
    pub async fn stream<Q, A>(
        &mut self,
        path: &'static str,
        requests: tokio::sync::mpsc::Receiver<Q>,
    ) -> Result<Streaming<A>, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.grpc
            .ready()
            .await
            .map_err(|error| Status::unavailable(format!("connection: {error}")))?;
        let outgoing = futures_util::stream::unfold(requests, |mut requests| async {
            requests.recv().await.map(|message| (message, requests))
        });
        let request = self.request(outgoing);
        let codec = ProstCodec::<Q, A>::default();
        Ok(self
            .grpc
            .streaming(request, PathAndQuery::from_static(path), codec)
            .await?
            .into_inner())
    }

    fn request<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.clone());
        }
        request
    }

    /// Puts a key.
    pub async fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<PutResponse, Status> {
        let request = PutRequest {
            key: key.into(),
            value: value.into(),
            ..PutRequest::default()
        };
        self.unary("/etcdserverpb.KV/Put", request).await
    }

    /// Puts a key with every option.
    pub async fn put_with(&mut self, request: PutRequest) -> Result<PutResponse, Status> {
        self.unary("/etcdserverpb.KV/Put", request).await
    }

    /// Reads keys.
    pub async fn range(&mut self, request: RangeRequest) -> Result<RangeResponse, Status> {
        self.unary("/etcdserverpb.KV/Range", request).await
    }

    /// Reads one key linearizably.
    pub async fn get(&mut self, key: impl Into<Bytes>) -> Result<RangeResponse, Status> {
        self.range(RangeRequest {
            key: key.into(),
            ..RangeRequest::default()
        })
        .await
    }

    /// Reads everything below a prefix linearizably.
    pub async fn get_prefix(&mut self, prefix: &str) -> Result<RangeResponse, Status> {
        let range_end = prefix_end(prefix);
        self.range(RangeRequest {
            key: Bytes::copy_from_slice(prefix.as_bytes()),
            range_end,
            ..RangeRequest::default()
        })
        .await
    }

    /// Deletes one key.
    pub async fn delete(&mut self, key: impl Into<Bytes>) -> Result<DeleteRangeResponse, Status> {
        let request = DeleteRangeRequest {
            key: key.into(),
            ..DeleteRangeRequest::default()
        };
        self.unary("/etcdserverpb.KV/DeleteRange", request).await
    }

    /// Runs a transaction.
    pub async fn txn(&mut self, request: TxnRequest) -> Result<TxnResponse, Status> {
        self.unary("/etcdserverpb.KV/Txn", request).await
    }

    /// Grants a lease.
    pub async fn lease_grant(&mut self, ttl_seconds: i64) -> Result<LeaseGrantResponse, Status> {
        self.unary(
            "/etcdserverpb.Lease/LeaseGrant",
            LeaseGrantRequest {
                ttl: ttl_seconds,
                id: 0,
            },
        )
        .await
    }

    /// Asks how long a lease has left.
    pub async fn lease_time_to_live(&mut self, id: i64) -> Result<LeaseTimeToLiveResponse, Status> {
        self.unary(
            "/etcdserverpb.Lease/LeaseTimeToLive",
            LeaseTimeToLiveRequest { id, keys: true },
        )
        .await
    }

    /// Opens a stream with one watch: everything below `key` if `range_end` is set, the one key otherwise.
    pub async fn watch(&mut self, create: WatchCreateRequest) -> Result<Watch, Status> {
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        let first = WatchRequest {
            request: Some(WatchRequestKind::Create(create)),
        };
        sender
            .try_send(first)
            .map_err(|error| Status::internal(error.to_string()))?;
        let responses = self.stream("/etcdserverpb.Watch/Watch", receiver).await?;
        Ok(Watch {
            responses,
            _requests: sender,
        })
    }

    /// Watches everything below a prefix from `start_revision` (0: from now).
    pub async fn watch_prefix(&mut self, prefix: &str, start_revision: i64) -> Result<Watch, Status> {
        let key = Bytes::copy_from_slice(prefix.as_bytes());
        self.watch(WatchCreateRequest {
            key,
            range_end: prefix_end(prefix),
            start_revision,
            ..WatchCreateRequest::default()
        })
        .await
    }
}

impl Watch {
    /// The next message; `None` at a clean end of the stream.
    pub async fn message(&mut self) -> Result<Option<WatchResponse>, Status> {
        self.responses.message().await
    }
}

/// The range end that covers every key with this prefix, as etcd's clients compute it.
pub fn prefix_end(prefix: &str) -> Bytes {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(b"\0")
}

/// Revision in a reply's header.
pub fn revision(header: Option<&ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

#[cfg(test)]
mod tests {
    use super::prefix_end;

    #[test]
    fn prefix_ends() {
        assert_eq!(prefix_end("/a/").as_ref(), b"/a0");
        assert_eq!(prefix_end("").as_ref(), b"\0");
    }
}
