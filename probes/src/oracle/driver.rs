//! The seam to Oracle's driver, which blocks and may panic: what it is asked, and on which threads.
//!
//! The driver knows no deadline before a login. So it is given a relay on this machine as its server: when an attempt gives up, the relay
//! goes, and with it whatever the driver was waiting for. The relay also dials as all probers do (names, proxies, TLS with the monitor's
//! own authorities), which the driver cannot.

use std::{
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use quorate_machine::FindingClass;
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional},
    net::TcpListener,
    sync::Semaphore,
    task::{AbortHandle, spawn_blocking},
    time::{Instant, timeout_at},
};

use super::{OracleTarget, errors};
use crate::{Secret, failure::Failure, observation::Stage, tls};

/// Threads that the driver may block at a time in this process.
pub const MAX_DRIVER_THREADS: usize = 16;
static THREADS: Semaphore = Semaphore::const_new(MAX_DRIVER_THREADS);

/// A login that a driver is asked for.
#[derive(Clone, Debug)]
pub struct Login {
    /// Where the driver connects to: the relay.
    pub relay: SocketAddr,
    /// Service name or SID.
    pub service: String,
    /// `service` is a SID.
    pub is_sid: bool,
    /// Account.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// Bound of the connection and of every call.
    pub timeout: Duration,
}

/// What a driver could not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverError {
    /// In its own words; `ORA-number` in it names the reason.
    pub text: String,
    /// The driver is at its end, not the server: a version or a feature that it does not know.
    pub unsupported: bool,
}

/// Logs in to Oracle; blocks.
pub trait Driver: Send + Sync {
    /// One login, and no second one after a refusal.
    ///
    /// # Errors
    /// Whatever the driver or the server says.
    fn log_in(&self, login: &Login) -> Result<Box<dyn DriverSession>, DriverError>;
}

/// A session of a driver; blocks.
pub trait DriverSession: Send {
    /// The first row of a query with `columns` columns of text.
    ///
    /// # Errors
    /// Whatever the driver or the server says; no row is an error too.
    fn first_row(&mut self, query: &str, columns: usize) -> Result<Vec<Option<String>>, DriverError>;
}

/// Oracle's own thin driver.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThinDriver;

impl Driver for ThinDriver {
    fn log_in(&self, login: &Login) -> Result<Box<dyn DriverSession>, DriverError> {
        let name = if login.is_sid { "SID" } else { "SERVICE_NAME" };
        let descriptor = format!(
            "(DESCRIPTION=(ADDRESS=(PROTOCOL=tcp)(HOST={})(PORT={}))(CONNECT_DATA=({name}={})))",
            login.relay.ip(),
            login.relay.port(),
            login.service
        );
        let config = oracledb::Config::default()
            .set_credentials(&login.user, login.password.expose())
            .set_program("quorate-prober")
            .and_then(|config| config.set_connect_string(&descriptor))
            .map_err(|error| told(&error))?
            .set_transport_connect_timeout(Some(login.timeout));
        let connection = oracledb::connect(config).map_err(|error| told(&error))?;
        connection
            .set_call_timeout(Some(login.timeout))
            .map_err(|error| told(&error))?;
        Ok(Box::new(ThinSession(connection)))
    }
}

struct ThinSession(oracledb::Connection);

impl DriverSession for ThinSession {
    fn first_row(&mut self, query: &str, columns: usize) -> Result<Vec<Option<String>>, DriverError> {
        let row = self.0.query_row(query, &[]).map_err(|error| told(&error))?;
        (0..columns)
            .map(|column| row.get::<Option<String>>(column).map_err(|error| told(&error)))
            .collect()
    }
}

/// By its Display: its Debug prints a backtrace.
fn told(error: &oracledb::Error) -> DriverError {
    use oracledb::ErrorKind;
    DriverError {
        text: error.to_string(),
        unsupported: matches!(
            error.kind(),
            ErrorKind::NotImplemented(_)
                | ErrorKind::ServerVersionNotSupported
                | ErrorKind::UnexpectedError
                | ErrorKind::UnknownTtcMessageType(..)
        ),
    }
}

/// A session with its relay.
pub(super) struct Session {
    /// `None` after a call that was given up.
    driver: Option<Box<dyn DriverSession>>,
    relay: Relay,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session via {}", self.relay.socket)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.relay.task.abort();
        // A driver says goodbye when it is dropped, and waits for it.
        if let Some(driver) = self.driver.take() {
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn_blocking(move || drop(driver))),
                Err(_) => drop(driver),
            }
        }
    }
}

impl Session {
    /// Logs in through a relay of its own.
    pub(super) async fn open(
        driver: &Arc<dyn Driver>,
        target: &OracleTarget,
        deadline: Instant,
    ) -> Result<Self, Failure> {
        let relay = Relay::open(target, deadline).await?;
        let login = Login {
            relay: relay.socket,
            service: target.service.clone(),
            is_sid: target.is_sid,
            user: target.user.clone(),
            password: target.password.clone(),
            timeout: target.access_timeout,
        };
        let driver = driver.clone();
        let opened = block(move || driver.log_in(&login), Stage::Login, deadline).await?;
        Ok(Self {
            driver: Some(opened),
            relay,
        })
    }

    /// The first row of a query. After a time-out the session must not be used again.
    pub(super) async fn first_row(
        &mut self,
        query: &'static str,
        columns: usize,
        deadline: Instant,
    ) -> Result<Vec<Option<String>>, Failure> {
        let given_up = || Failure::new(Stage::Query, FindingClass::WrongAnswer, "the session was given up");
        let mut driver = self.driver.take().ok_or_else(given_up)?;
        let work = move || {
            let row = driver.first_row(query, columns);
            Ok((driver, row))
        };
        let (driver, row) = block(work, Stage::Query, deadline).await?;
        self.driver = Some(driver);
        row.map_err(|error| failed(&error, Stage::Query))
    }
}

/// Runs what blocks on a thread for it, which outlives a time-out only until the relay is gone.
async fn block<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DriverError> + Send + 'static,
    stage: Stage,
    deadline: Instant,
) -> Result<T, Failure> {
    let started = Instant::now();
    let permit = match timeout_at(deadline, THREADS.acquire()).await {
        Ok(Ok(permit)) => permit,
        _ => {
            let text = format!("all {MAX_DRIVER_THREADS} threads of the Oracle driver are busy");
            return Err(Failure::new(stage, FindingClass::OwnShortage, &text));
        }
    };
    let thread = spawn_blocking(move || {
        let _permit = permit;
        catch_unwind(AssertUnwindSafe(work))
    });
    match timeout_at(deadline, thread).await {
        Ok(Ok(Ok(result))) => result.map_err(|error| failed(&error, stage)),
        // Our side's fault, which says nothing about the server.
        Ok(Ok(Err(_)) | Err(_)) => Err(Failure::new(
            stage,
            FindingClass::Misconfigured,
            "the Oracle driver failed",
        )),
        Err(_) => Err(Failure::timed_out(stage, "no answer to the driver", started)),
    }
}

fn failed(error: &DriverError, stage: Stage) -> Failure {
    if error.unsupported && errors::number(&error.text).is_none() {
        return Failure::new(stage, FindingClass::Misconfigured, &error.text);
    }
    errors::of_text(&error.text, stage)
}

/// A listener for one connection, which leads to the target.
struct Relay {
    socket: SocketAddr,
    task: AbortHandle,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    async fn open(target: &OracleTarget, deadline: Instant) -> Result<Self, Failure> {
        let io = |error: std::io::Error| Failure::of_io(&error, Stage::Tcp);
        let mut server = target.endpoint.connect(deadline).await?;
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(io)?;
        let socket = listener.local_addr().map_err(io)?;
        // Either end may go at any time; the other learns of it by the task's end.
        let task = match &target.encryption {
            None => tokio::spawn(async move { lead(listener, &mut server).await }),
            Some(config) => {
                let mut server = tls::handshake(config.clone(), target.address(), server, deadline).await?;
                tokio::spawn(async move { lead(listener, &mut server).await })
            }
        };
        Ok(Self {
            socket,
            task: task.abort_handle(),
        })
    }
}

async fn lead(listener: TcpListener, server: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let Ok((mut client, _)) = listener.accept().await else {
        return;
    };
    // Nobody else gets through.
    drop(listener);
    let _ = copy_bidirectional(&mut client, server).await;
}
