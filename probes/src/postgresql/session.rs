//! One session with a server: opened and closed within a deadline.

use std::time::Duration;

use quorate_machine::FindingClass;
use tokio::{
    net::TcpStream,
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};
use tokio_postgres::{Client, Error, NoTls, SimpleQueryMessage, SimpleQueryRow, tls::MakeTlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{errors::classify, target::PostgresqlTarget};
use crate::{failure::Failure, observation::Stage};

/// Bound of an orderly close, which nobody waits for.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A session that is logged in. Dropping it closes the socket.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    /// Carries the bytes; ends with the session or with what the server said last.
    carrier: Carrier,
}

/// The task behind a session; ends when dropped.
#[derive(Debug)]
struct Carrier(JoinHandle<Result<(), Error>>);

impl Drop for Carrier {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// TLS where wanted, and login, on a connection that stands.
pub(super) async fn open(target: &PostgresqlTarget, stream: TcpStream, deadline: Instant) -> Result<Session, Failure> {
    let started = Instant::now();
    let login = target.login();
    let opened = async {
        let Some(tls) = &target.tls_client else {
            let (client, connection) = login.connect_raw(stream, NoTls).await?;
            return Ok((client, Carrier(tokio::spawn(connection))));
        };
        let mut tls = MakeRustlsConnect::new(tls.as_ref().clone());
        let host = &target.endpoint.address.host;
        let Ok(tls) = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut tls, host);
        let (client, connection) = login.connect_raw(stream, tls).await?;
        Ok((client, Carrier(tokio::spawn(connection))))
    };
    match timeout_at(deadline, opened).await {
        Ok(Ok((client, carrier))) => Ok(Session { client, carrier }),
        Ok(Err(error)) => Err(classify(&error, Stage::Login)),
        Err(_) => Err(Failure::timed_out(Stage::Login, "connected, but no login", started)),
    }
}

impl Session {
    /// The first row of a query, or of the last of several that are sent together. After a failure the session is not used again.
    pub(super) async fn first_row(
        &mut self,
        query: &str,
        stage: Stage,
        deadline: Instant,
    ) -> Result<SimpleQueryRow, Failure> {
        let started = Instant::now();
        let messages = match timeout_at(deadline, self.client.simple_query(query)).await {
            Ok(Ok(messages)) => messages,
            Ok(Err(error)) => return Err(self.reason(error, stage, deadline).await),
            Err(_) => return Err(Failure::timed_out(stage, "no answer to a query", started)),
        };
        let row = messages.into_iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        row.ok_or_else(|| Failure::new(stage, FindingClass::WrongAnswer, "the query gave no row"))
    }

    /// Runs statements that are sent together; gives how many rows the last one touched. An error of the server comes with its SQLSTATE.
    pub(super) async fn execute(&mut self, query: &str, deadline: Instant) -> Result<u64, (Failure, Option<String>)> {
        let started = Instant::now();
        match timeout_at(deadline, self.client.simple_query(query)).await {
            Ok(Ok(messages)) => {
                let touched = messages.into_iter().rev().find_map(|message| match message {
                    SimpleQueryMessage::CommandComplete(rows) => Some(rows),
                    _ => None,
                });
                Ok(touched.unwrap_or_default())
            }
            Ok(Err(error)) => {
                let code = error.as_db_error().map(|server| server.code().code().to_owned());
                Err((classify(&error, Stage::Query), code))
            }
            Err(_) => Err((Failure::timed_out(Stage::Query, "no answer to a write", started), None)),
        }
    }

    /// What the server said before it closed the connection is with the carrier, not with the query.
    async fn reason(&mut self, error: Error, stage: Stage, deadline: Instant) -> Failure {
        if error.is_closed()
            && let Ok(Ok(Err(last_words))) = timeout_at(deadline, &mut self.carrier.0).await
        {
            return classify(&last_words, stage);
        }
        classify(&error, stage)
    }

    /// Tells the server goodbye, in the background.
    pub(super) fn close(self) {
        let Self { client, mut carrier } = self;
        drop(client);
        tokio::spawn(async move {
            // Whatever goes wrong here: the socket is closed when the carrier is dropped.
            let _ = timeout(CLOSE_TIMEOUT, &mut carrier.0).await;
        });
    }
}
