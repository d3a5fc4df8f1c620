//! A small HTTP server that behaves as told, written on sockets: it must be able to misbehave.

use std::{
    borrow::Cow,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Result;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// What a request is answered with.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// This status, no body.
    Status(u16),
    /// Status 200 with this body.
    Body(Cow<'static, str>),
    /// The body in two writes with a pause between them.
    Pieces(&'static str, &'static str),
    /// A body without an end.
    Endless,
    /// Status 200 after a while.
    Delay(Duration),
    /// Nothing ever.
    Silent,
    /// The end of the connection.
    HangUp,
    /// These bytes.
    Raw(&'static str),
}

#[derive(Debug)]
struct State {
    behaviour: Behaviour,
    requests: Vec<String>,
    connections: usize,
}

/// A listening server. Dropping it ends the listener.
#[derive(Debug)]
pub struct ApiServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl ApiServer {
    /// A server on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(behaviour: Behaviour) -> Result<Self> {
        Self::listen(behaviour, None).await
    }

    /// The same with TLS: a certificate (PEM) and the file of its key.
    ///
    /// # Errors
    /// The certificate or the key cannot be read, or no port is free.
    pub async fn start_tls(behaviour: Behaviour, certificate: &str, key: &Path) -> Result<Self> {
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes())?];
        let key = PrivateKeyDer::from_pem_file(key)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Self::listen(behaviour, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listen(behaviour: Behaviour, tls: Option<TlsAcceptor>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State {
            behaviour,
            requests: Vec::new(),
            connections: 0,
        }));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.lock().expect("not poisoned").connections += 1;
                let (shared, tls) = (shared.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => answer(stream, shared).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => answer(stream, shared).await,
                            Err(error) => Err(error),
                        },
                    }
                });
            }
        });
        Ok(Self { address, state, task })
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Answers otherwise from the next request on.
    pub fn set(&self, behaviour: Behaviour) {
        self.state.lock().expect("not poisoned").behaviour = behaviour;
    }

    /// Heads of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.state.lock().expect("not poisoned").requests.clone()
    }

    /// Head of the last request.
    ///
    /// # Panics
    /// There was none.
    pub fn last_request(&self) -> String {
        self.requests().pop().expect("a request")
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.state.lock().expect("not poisoned").connections
    }

    /// Ends the listener: from then on connections are refused.
    pub async fn stop(mut self) {
        self.task.abort();
        // An aborted task that has ended has let go of its socket.
        let _ = (&mut self.task).await;
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<Mutex<State>>) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let behaviour = {
        let mut state = state.lock().expect("not poisoned");
        state.requests.push(String::from_utf8_lossy(&request).into_owned());
        state.behaviour.clone()
    };
    let ok = |body: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nServer: stub\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    match behaviour {
        Behaviour::Status(status) => {
            let head = format!("HTTP/1.1 {status} Any\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
        }
        Behaviour::Body(body) => stream.write_all(ok(&body).as_bytes()).await?,
        Behaviour::Pieces(first, second) => {
            let whole = ok(&format!("{first}{second}"));
            let (head, tail) = whole.split_at(whole.len() - second.len());
            stream.write_all(head.as_bytes()).await?;
            stream.flush().await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.write_all(tail.as_bytes()).await?;
        }
        Behaviour::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            loop {
                stream.write_all(&[b'x'; 16 * 1024]).await?;
            }
        }
        Behaviour::Delay(delay) => {
            tokio::time::sleep(delay).await;
            stream.write_all(ok("").as_bytes()).await?;
        }
        Behaviour::Silent => std::future::pending::<()>().await,
        Behaviour::HangUp => {}
        Behaviour::Raw(text) => stream.write_all(text.as_bytes()).await?,
    }
    stream.shutdown().await
}
