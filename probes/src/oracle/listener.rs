//! The listener probe: does a listener, and behind it an instance, take connections for the service? No login, no account.

use std::sync::Arc;

use quorate_machine::FindingClass;
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{
    errors,
    tns::{self, HEADER_BYTES, Reply},
};
use crate::{address::Address, endpoint::Endpoint, failure::Failure, observation::Stage, tls};

/// How often a listener may ask for the packet again.
const MAX_RESENDS: u32 = 3;

/// Succeeds if the service takes connections at `endpoint`, or where that redirects to (once).
pub(super) async fn knock(
    endpoint: &Endpoint,
    encryption: Option<&Arc<ClientConfig>>,
    data: &str,
    deadline: Instant,
) -> Result<(), Failure> {
    let stream = endpoint.connect(deadline).await?;
    knock_over(stream, endpoint, encryption, data, deadline).await
}

/// As [`knock`], over a connection that stands.
pub(super) async fn knock_over(
    stream: TcpStream,
    endpoint: &Endpoint,
    encryption: Option<&Arc<ClientConfig>>,
    data: &str,
    deadline: Instant,
) -> Result<(), Failure> {
    let asked = ask(stream, &endpoint.address, encryption, data, false, deadline).await?;
    let Some((host, port, new_data)) = asked else {
        return Ok(());
    };
    let place = Address { host, port };
    let text = format!("redirected to {place}: ");
    let there = Endpoint {
        names: endpoint.names.clone(),
        ..Endpoint::new(place)
    };
    let follow = async {
        let stream = there.connect(deadline).await?;
        let data = new_data.as_deref().unwrap_or(data);
        ask(stream, &there.address, encryption, data, true, deadline).await
    };
    match follow.await {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(wrong(&format!("{text}redirected again, which is not followed"))),
        Err(failure) => Err(Failure::new(
            failure.stage,
            failure.class,
            &format!("{text}{}", failure.text),
        )),
    }
}

type Place = (String, u16, Option<String>);

/// `None`: accepted.
async fn ask(
    stream: TcpStream,
    address: &Address,
    encryption: Option<&Arc<ClientConfig>>,
    data: &str,
    redirected: bool,
    deadline: Instant,
) -> Result<Option<Place>, Failure> {
    let started = Instant::now();
    let packet = tns::connect(data, redirected);
    let answered = async {
        match encryption {
            None => exchange(stream, &packet).await,
            Some(config) => {
                let stream = tls::handshake(config.clone(), address, stream, deadline).await?;
                exchange(stream, &packet).await
            }
        }
    };
    match timeout_at(deadline, answered).await {
        Ok(result) => result,
        Err(_) => Err(Failure::timed_out(
            Stage::Login,
            "connected, but no answer of the listener",
            started,
        )),
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, packet: &[u8]) -> Result<Option<Place>, Failure> {
    let io = |error: std::io::Error| Failure::of_io(&error, Stage::Login);
    for _ in 0..=MAX_RESENDS {
        stream.write_all(packet).await.map_err(io)?;
        stream.flush().await.map_err(io)?;
        let place = match read(&mut stream).await? {
            Reply::Accept => return Ok(None),
            Reply::Resend => continue,
            Reply::Refuse(words) => return Err(errors::of_listener(tns::refusal_code(&words), &words)),
            Reply::Redirect(Some(place)) => place,
            Reply::Redirect(None) => match read(&mut stream).await? {
                Reply::Data(place) => place,
                _ => return Err(wrong("a redirection without a place")),
            },
            Reply::Data(_) => return Err(wrong("what answers is no Oracle listener")),
        };
        return match tns::redirection(&place) {
            Some(place) => Ok(Some(place)),
            None => Err(wrong("a redirection to no address")),
        };
    }
    Err(wrong("the listener asks for the same packet again and again"))
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Reply, Failure> {
    let io = |error: std::io::Error| Failure::of_io(&error, Stage::Login);
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).await.map_err(io)?;
    let length = tns::packet_length(&header).ok_or_else(|| wrong("what answers is no Oracle listener"))?;
    let mut body = vec![0; length - HEADER_BYTES];
    stream.read_exact(&mut body).await.map_err(io)?;
    tns::reply(&header, &body).ok_or_else(|| wrong("what answers is no Oracle listener"))
}

fn wrong(text: &str) -> Failure {
    Failure::new(Stage::Login, FindingClass::WrongAnswer, text)
}
