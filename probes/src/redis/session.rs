//! One connection to one Redis process: opened and asked within a deadline.

use std::{collections::BTreeMap, fmt, sync::Arc};

use quorate_machine::FindingClass;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, RedisConnectionInfo, aio::MultiplexedConnection};
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use super::{
    errors::classify,
    reachability,
    target::{Account, RedisTarget},
};
use crate::{endpoint::Endpoint, failure::Failure, observation::Stage, tls::handshake};

/// A connection that is logged in. Dropping it closes the socket, which is how clients of Redis say goodbye.
pub(super) struct Session {
    connection: MultiplexedConnection,
    driver: JoinHandle<()>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Connects and logs in.
pub(super) async fn connect(
    target: &RedisTarget,
    endpoint: &Endpoint,
    account: &Account,
    deadline: Instant,
) -> Result<Session, Failure> {
    let stream = endpoint.connect(deadline).await?;
    login(target, endpoint, account, stream, deadline).await
}

/// TLS where wanted, and login, on a connection that stands.
pub(super) async fn login(
    target: &RedisTarget,
    endpoint: &Endpoint,
    account: &Account,
    stream: TcpStream,
    deadline: Instant,
) -> Result<Session, Failure> {
    let mut session = match &target.tls_client {
        None => speak(stream, deadline).await?,
        Some(tls) => {
            let tls: Arc<ClientConfig> = tls.clone();
            speak(handshake(tls, &endpoint.address, stream, deadline).await?, deadline).await?
        }
    };
    let refused = match account.login() {
        Some(auth) => session.ask::<()>(&auth, Stage::Login, deadline).await.err(),
        // What a full or a locked server says, it says to the first command.
        None => session
            .ask::<redis::Value>(&redis::cmd("PING"), Stage::Login, deadline)
            .await
            .err(),
    };
    match refused {
        None => Ok(session),
        // Nothing that ails the server keeps anybody from logging in.
        Some(failure) if failure.class == FindingClass::ReadOnly => Ok(session),
        // No answer, or bytes that are none: what says it to strangers?
        Some(failure) if failure.class == FindingClass::WrongAnswer => {
            use FindingClass::{ServerStarting, Tls, TooManyConnections};
            match reachability::diagnose(target, endpoint, deadline).await {
                Err(told) if matches!(told.class, Tls | TooManyConnections | ServerStarting) => Err(told),
                _ => Err(failure),
            }
        }
        Some(failure) => Err(failure),
    }
}

async fn speak<S>(stream: S, deadline: Instant) -> Result<Session, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let started = Instant::now();
    // No database is chosen and no name set: nothing is sent before the first question.
    let quiet = RedisConnectionInfo::default().set_skip_set_lib_name();
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let opened = MultiplexedConnection::new_with_config(&quiet, stream, config);
    match timeout_at(deadline, opened).await {
        Ok(Ok((connection, driver))) => Ok(Session {
            connection,
            driver: tokio::spawn(driver),
        }),
        Ok(Err(error)) => Err(classify(&error, Stage::Login)),
        Err(_) => Err(Failure::timed_out(Stage::Login, "connected, but no login", started)),
    }
}

impl Session {
    /// Asks one command. A session that timed out is not used again.
    pub(super) async fn ask<T: FromRedisValue>(
        &mut self,
        command: &Cmd,
        stage: Stage,
        deadline: Instant,
    ) -> Result<T, Failure> {
        let started = Instant::now();
        match timeout_at(deadline, command.query_async(&mut self.connection)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(classify(&error, stage)),
            Err(_) => {
                let name = command.args_iter().next();
                let name = match name {
                    Some(redis::Arg::Simple(name)) => String::from_utf8_lossy(name).into_owned(),
                    _ => String::new(),
                };
                let what = if stage == Stage::Login {
                    "connected, but no answer"
                } else {
                    "no answer"
                };
                Err(Failure::timed_out(stage, &format!("{what} to {name}"), started))
            }
        }
    }

    /// One section of `INFO` by field.
    pub(super) async fn info(&mut self, section: &str, deadline: Instant) -> Result<BTreeMap<String, String>, Failure> {
        let text: String = self
            .ask(redis::cmd("INFO").arg(section), Stage::Query, deadline)
            .await?;
        Ok(fields(&text))
    }
}

/// Lines of `field:value`.
pub(super) fn fields(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.trim_end().split_once(':'));
    pairs
        .map(|(field, value)| (field.to_owned(), value.to_owned()))
        .collect()
}
