//! Does a Redis process answer at all? Used while logins pause.
//!
//! The check sends `PING` without any login: whatever the answer, even that a login is needed, the process lives. It counts
//! as no failed login.

use futures_util::{StreamExt, stream::FuturesUnordered};
use quorate_machine::FindingClass;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Duration, Instant, timeout, timeout_at},
};

use super::{errors::classify_reply, target::RedisTarget};
use crate::{Tls, endpoint::Endpoint, failure::Failure, observation::Stage, tls::handshake};

/// Bytes of an answer that are looked at.
const MAX_ANSWER_BYTES: usize = 256;
/// How long the check listens before it speaks: a full server says so unasked and hangs up, and what it said is lost to
/// whoever writes first.
const LISTEN: Duration = Duration::from_millis(50);

/// Succeeds if the process answers, whatever it says of logins and clients.
pub(super) async fn check(target: &RedisTarget, endpoint: &Endpoint, deadline: Instant) -> Result<(), Failure> {
    match diagnose(target, endpoint, deadline).await {
        Err(failure) => match failure.class {
            FindingClass::Auth | FindingClass::TooManyConnections | FindingClass::ReadOnly => Ok(()),
            _ => Err(failure),
        },
        well => well,
    }
}

/// Succeeds if as many of the addresses answer as must say the same.
pub(super) async fn check_some(target: &RedisTarget, deadline: Instant) -> Result<(), Failure> {
    let check = |endpoint| check(target, endpoint, deadline);
    let mut checks: FuturesUnordered<_> = target.endpoints.iter().map(check).collect();
    let (mut answered, mut last) = (0, None);
    while let Some(result) = checks.next().await {
        match result {
            Ok(()) => answered += 1,
            Err(failure) => last = Some(failure),
        }
        if answered >= target.witnesses() {
            return Ok(());
        }
    }
    last.map_or(Ok(()), Err)
}

/// What the process says to somebody whom it does not know.
pub(super) async fn diagnose(target: &RedisTarget, endpoint: &Endpoint, deadline: Instant) -> Result<(), Failure> {
    let Some(tls) = &target.tls_client else {
        let plain = answer(endpoint.connect(deadline).await?, deadline).await;
        return match plain {
            Err(failure) if failure.class == FindingClass::WrongAnswer => {
                Err(wants_tls(endpoint, deadline).await.unwrap_or(failure))
            }
            told => told,
        };
    };
    let stream = endpoint.connect(deadline).await?;
    answer(
        handshake(tls.clone(), &endpoint.address, stream, deadline).await?,
        deadline,
    )
    .await
}

/// A server that wants encryption hangs up on plain text without a word (OpenSSL's alert is lost with the reset), so it is
/// asked in its own language.
async fn wants_tls(endpoint: &Endpoint, deadline: Instant) -> Option<Failure> {
    let tls = Tls::Required.client().ok().flatten()?;
    let stream = endpoint.connect(deadline).await.ok()?;
    handshake(tls, &endpoint.address, stream, deadline).await.ok()?;
    let text = "the server hangs up on plain text and speaks TLS";
    Some(Failure::new(Stage::Tls, FindingClass::Tls, text))
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, deadline: Instant) -> Result<(), Failure> {
    let started = Instant::now();
    match timeout_at(deadline, ping(stream)).await {
        Ok(Ok(answer)) => judge(&answer),
        Ok(Err(error)) => Err(Failure::of_io(&error, Stage::Login)),
        Err(_) => Err(Failure::timed_out(Stage::Login, "connected, but no answer", started)),
    }
}

async fn ping(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    if let Ok(heard) = timeout(LISTEN, stream.read_buf(&mut answer)).await {
        heard?;
        return Ok(answer);
    }
    stream.write_all(b"*1\r\n$4\r\nPING\r\n").await?;
    while answer.len() < MAX_ANSWER_BYTES && !answer.contains(&b'\n') {
        if stream.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    Ok(answer)
}

fn judge(answer: &[u8]) -> Result<(), Failure> {
    match answer.first() {
        Some(b'+') => Ok(()),
        Some(b'-') => {
            let line = String::from_utf8_lossy(&answer[1..]);
            let line = line.lines().next().unwrap_or_default();
            let (code, detail) = line.split_once(' ').unwrap_or((line, ""));
            Err(Failure::new(Stage::Login, classify_reply(code, detail), line))
        }
        _ => Err(Failure::new(
            Stage::Login,
            FindingClass::WrongAnswer,
            "what answers is no Redis server",
        )),
    }
}
