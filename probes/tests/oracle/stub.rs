//! A listener that gives the recorded replies, one per CONNECT.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use anyhow::Result;
use rcgen::{CertifiedKey, KeyPair};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::{AbortHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

pub struct Listener {
    pub address: SocketAddr,
    /// Connect data of every CONNECT, with its packet flags.
    pub heard: Arc<Mutex<Vec<(String, u8)>>>,
    task: AbortHandle,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A packet of this type with this body.
pub fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + body.len()).expect("a short packet");
    let mut packet = length.to_be_bytes().to_vec();
    packet.extend_from_slice(&[0, 0, kind, 0, 0, 0]);
    packet.extend_from_slice(body);
    packet
}

pub fn accept() -> Vec<u8> {
    packet(
        2,
        &[1, 0x3f, 0, 0, 0x20, 0, 0xff, 0xff, 1, 0, 0, 0, 0, 0x20, 0x41, 1, 0, 0],
    )
}

pub fn refuse(words: &str) -> Vec<u8> {
    let mut body = vec![4, 0];
    body.extend_from_slice(&u16::try_from(words.len()).expect("short").to_be_bytes());
    body.extend_from_slice(words.as_bytes());
    packet(4, &body)
}

/// As listeners of 12c to 23ai refuse.
pub fn refuse_code(code: u32) -> Vec<u8> {
    refuse(&format!(
        "(DESCRIPTION=(TMP=)(VSNNUM=318767104)(ERR={code})(ERROR_STACK=(ERROR=(CODE={code})(EMFI=4))))"
    ))
}

pub fn resend() -> Vec<u8> {
    packet(11, &[])
}

/// With the place in the same packet.
pub fn redirect(to: SocketAddr) -> Vec<u8> {
    let place = format!(
        "(ADDRESS=(PROTOCOL=tcp)(HOST={})(PORT={}))\0(DESCRIPTION=(CONNECT_DATA=(SID=moved)))",
        to.ip(),
        to.port()
    );
    let mut body = u16::try_from(place.len()).expect("short").to_be_bytes().to_vec();
    body.extend_from_slice(place.as_bytes());
    packet(5, &body)
}

/// With the place in a data packet behind it, as newer listeners do.
pub fn redirect_apart(to: SocketAddr) -> Vec<u8> {
    let place = format!("(ADDRESS=(PROTOCOL=tcp)(HOST={})(PORT={}))", to.ip(), to.port());
    let mut both = packet(5, &u16::try_from(place.len()).expect("short").to_be_bytes());
    both.extend_from_slice(&packet(6, &[&[0, 0][..], place.as_bytes()].concat()));
    both
}

impl Listener {
    /// Answers the CONNECTs of each connection with `replies` in turn; the last one for all further ones.
    pub async fn start(replies: Vec<Vec<u8>>) -> Result<Self> {
        Self::start_over(replies, None).await
    }

    /// The same, encrypted with this certificate and key.
    pub async fn start_tls(replies: Vec<Vec<u8>>, certified: &CertifiedKey<KeyPair>) -> Result<Self> {
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)?;
        Self::start_over(replies, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start_over(replies: Vec<Vec<u8>>, encryption: Option<TlsAcceptor>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = heard.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (replies, hears, encryption) = (replies.clone(), hears.clone(), encryption.clone());
                connections.spawn(async move {
                    match encryption {
                        None => serve(stream, replies, hears).await,
                        Some(acceptor) => serve(acceptor.accept(stream).await?, replies, hears).await,
                    }
                });
            }
        })
        .abort_handle();
        Ok(Self { address, heard, task })
    }

    pub fn heard(&self) -> Vec<(String, u8)> {
        self.heard.lock().expect("unpoisoned").clone()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    replies: Vec<Vec<u8>>,
    heard: Arc<Mutex<Vec<(String, u8)>>>,
) -> Result<()> {
    for turn in 0.. {
        let mut header = [0; 8];
        stream.read_exact(&mut header).await?;
        let length = usize::from(u16::from_be_bytes([header[0], header[1]]));
        let mut body = vec![0; length - header.len()];
        stream.read_exact(&mut body).await?;
        let data = body.get(66..).unwrap_or_default();
        let data = (String::from_utf8_lossy(data).into_owned(), header[5]);
        heard.lock().expect("unpoisoned").push(data);
        let reply = &replies[turn.min(replies.len() - 1)];
        stream.write_all(reply).await?;
        stream.flush().await?;
        if reply.is_empty() {
            return Ok(());
        }
    }
    Ok(())
}
