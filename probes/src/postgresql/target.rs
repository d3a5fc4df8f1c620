//! What a prober probes and how.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use rustls::ClientConfig;
use tokio_postgres::{Config, config::SslMode};

use crate::{
    Names, Secret, Tls,
    address::Address,
    endpoint::{Endpoint, TargetError},
};

/// Where a monitor names no database: the one that every cluster has for administrators.
const DEFAULT_DATABASE: &str = "postgres";
/// Shown to an administrator in `pg_stat_activity`.
const APPLICATION_NAME: &str = "quorate";

/// One address of a PostgreSQL server with the account that probes it.
#[derive(Clone)]
pub struct PostgresqlTarget {
    pub(super) endpoint: Endpoint,
    pub(super) user: String,
    password: Secret,
    database: String,
    pub(super) access_timeout: Duration,
    pub(super) tls: Tls,
    /// Present unless TLS is off.
    pub(super) tls_client: Option<Arc<ClientConfig>>,
}

impl PostgresqlTarget {
    /// A target at `address` (`host:port`). `database` is the monitoring database (empty: `postgres`); `access_timeout`
    /// bounds one whole attempt (C3).
    ///
    /// # Errors
    /// The address or the time-out makes no sense.
    pub fn new(
        address: &str,
        user: &str,
        password: Secret,
        database: &str,
        access_timeout: Duration,
    ) -> Result<Self, TargetError> {
        if access_timeout.is_zero() {
            return Err(TargetError::NoTime);
        }
        Ok(Self {
            endpoint: Endpoint::parse(address)?,
            user: user.to_owned(),
            password,
            database: database.to_owned(),
            access_timeout,
            tls: Tls::Off,
            tls_client: None,
        })
    }

    /// Encrypts the connection.
    ///
    /// # Errors
    /// The CA certificates cannot be read.
    pub fn with_tls(mut self, tls: Tls) -> Result<Self, TargetError> {
        self.tls_client = tls.client()?;
        self.tls = tls;
        Ok(self)
    }

    /// Resolves with `names`, which many targets may share.
    pub fn with_names(mut self, names: Names) -> Self {
        self.endpoint.names = names;
        self
    }

    /// The same server as another account in another database.
    pub(super) fn with_account(mut self, user: &str, password: Secret, database: &str) -> Self {
        self.user = user.to_owned();
        self.password = password;
        self.database = database.to_owned();
        self
    }

    /// With the endpoint as it is reached.
    pub(super) fn at(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = endpoint;
        self
    }

    /// Dials this socket instead of the address: a proxy that stands for the path to the server.
    pub fn via(mut self, proxy: SocketAddr) -> Self {
        self.endpoint.via = Some(proxy);
        self
    }

    /// The address probed.
    pub fn address(&self) -> &Address {
        &self.endpoint.address
    }

    /// The driver's settings for the login.
    pub(super) fn login(&self) -> Config {
        let database = if self.database.is_empty() {
            DEFAULT_DATABASE
        } else {
            &self.database
        };
        let ssl_mode = if self.tls_client.is_some() {
            SslMode::Require
        } else {
            SslMode::Disable
        };
        let mut config = Config::new();
        config
            .user(&self.user)
            .password(self.password.expose())
            .dbname(database)
            .application_name(APPLICATION_NAME)
            .ssl_mode(ssl_mode);
        config
    }
}

impl fmt::Debug for PostgresqlTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresqlTarget({} as {})", self.address(), self.user)
    }
}
