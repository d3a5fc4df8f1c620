//! HTTP/1.1 to one node, one question at a time, on a connection that is held.
//!
//! hyper's connection without a client's pool above it: the prober must know which connection it uses, when one is opened, and in
//! which step it failed. No redirects, no proxies, no retries.

use std::sync::Arc;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1::{SendRequest, handshake},
    header,
};
use hyper_util::rt::TokioIo;
use quorate_machine::FindingClass;
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, timeout_at},
};

use crate::{address::Address, endpoint::Endpoint, failure::Failure, observation::Stage, tls};

/// Longest answer that is read: health and blocks are some hundred bytes.
const MAX_BODY_BYTES: usize = 256 * 1024;
const USER_AGENT: &str = "quorate-prober";

/// A connection to one node.
#[derive(Debug)]
pub(super) struct HttpSession {
    sender: SendRequest<Empty<Bytes>>,
    host: String,
}

/// What a node answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// Connects, encrypts where `encryption` is given, and prepares HTTP; nothing is asked yet.
pub(super) async fn open(
    endpoint: &Endpoint,
    encryption: Option<&Arc<ClientConfig>>,
    deadline: Instant,
) -> Result<HttpSession, Failure> {
    let stream = endpoint.connect(deadline).await?;
    over(stream, &endpoint.address, encryption, deadline).await
}

/// HTTP over a connection that stands.
pub(super) async fn over(
    stream: TcpStream,
    address: &Address,
    encryption: Option<&Arc<ClientConfig>>,
    deadline: Instant,
) -> Result<HttpSession, Failure> {
    let host = address.to_string();
    let sender = match encryption {
        None => prepare(stream, deadline).await?,
        Some(config) => {
            prepare(
                tls::handshake(config.clone(), address, stream, deadline).await?,
                deadline,
            )
            .await?
        }
    };
    Ok(HttpSession { sender, host })
}

async fn prepare<S>(stream: S, deadline: Instant) -> Result<SendRequest<Empty<Bytes>>, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let started = Instant::now();
    match timeout_at(deadline, handshake(TokioIo::new(stream))).await {
        Ok(Ok((sender, connection))) => {
            // Ends with the sender. What goes wrong on the way is told to whoever waits for an answer.
            tokio::spawn(async move { drop(connection.await) });
            Ok(sender)
        }
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(Failure::timed_out(Stage::Query, "connected, but no HTTP", started)),
    }
}

impl HttpSession {
    /// Asks and reads the whole answer. After a failure the connection must not be used again.
    pub(super) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        authorization: Option<&str>,
        deadline: Instant,
    ) -> Result<Reply, Failure> {
        let started = Instant::now();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.host)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, USER_AGENT);
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Empty::new()).map_err(|error| {
            // The path is ours; only a user name with odd characters gets here.
            Failure::new(Stage::Login, FindingClass::Misconfigured, &error.to_string())
        })?;
        match timeout_at(deadline, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::timed_out(Stage::Query, "no answer to a request", started)),
        }
    }

    async fn exchange(&mut self, request: Request<Empty<Bytes>>) -> Result<Reply, Failure> {
        self.sender.ready().await.map_err(|error| failed(&error))?;
        let response = self
            .sender
            .send_request(request)
            .await
            .map_err(|error| failed(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BODY_BYTES).collect().await;
        let body = body.map_err(|error| {
            let text = format!("the answer broke off or is too long: {error}");
            Failure::new(Stage::Query, FindingClass::WrongAnswer, &text)
        })?;
        Ok(Reply {
            status,
            body: body.to_bytes(),
        })
    }
}

/// An error of HTTP: of the connection below it, or an answer that is no HTTP.
fn failed(error: &hyper::Error) -> Failure {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(io) = current.downcast_ref::<std::io::Error>() {
            return Failure::of_io(io, Stage::Query);
        }
        cause = current.source();
    }
    let text = if error.is_parse() {
        format!("what answers speaks no HTTP: {error}")
    } else {
        error.to_string()
    };
    Failure::new(Stage::Query, FindingClass::WrongAnswer, &text)
}
