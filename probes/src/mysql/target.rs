//! What a prober probes and how.

use std::{net::SocketAddr, time::Duration};

use mysql_async::{Opts, OptsBuilder, SslOpts};

pub use crate::endpoint::TargetError;
use crate::{Names, Secret, address::Address, endpoint::Endpoint};

/// Largest packet accepted from a server: its answers to a prober are small.
const MAX_PACKET_BYTES: usize = 1024 * 1024;
/// Assumed idle limit of the server; stating it saves a query at every login.
const ASSUMED_WAIT_TIMEOUT_SECONDS: usize = 28_800;

/// Whether a connection is encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MysqlTls {
    /// Plain TCP. The password still travels hashed or RSA-encrypted.
    #[default]
    Off,
    /// TLS with whatever certificate the server shows.
    Unverified,
    /// TLS; the server's certificate must be valid for the target's host and signed by one of these CAs (PEM).
    Verify {
        /// CA certificates, PEM; empty: the public ones.
        ca_pem: Vec<u8>,
    },
}

/// One address of a MySQL or MariaDB server with the account that probes it.
#[derive(Clone, Debug)]
pub struct MysqlTarget {
    pub(super) endpoint: Endpoint,
    pub(super) user: String,
    pub(super) password: Secret,
    pub(super) database: String,
    pub(super) access_timeout: Duration,
    pub(super) tls: MysqlTls,
}

impl MysqlTarget {
    /// A target at `address` (`host:port`). `database` is the monitoring database (empty: none); `access_timeout` bounds
    /// one whole attempt (C3).
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
            tls: MysqlTls::Off,
        })
    }

    /// Encrypts the connection.
    pub fn with_tls(mut self, tls: MysqlTls) -> Self {
        self.tls = tls;
        self
    }

    /// Resolves with `names`, which many targets may share; without it the target asks the system's name servers and remembers
    /// for itself.
    pub fn with_names(mut self, names: Names) -> Self {
        self.endpoint.names = names;
        self
    }

    /// Dials this socket instead of the address: a proxy that stands for the path to the server (the driver cannot bind a
    /// source address of its own; the proxy knows the node by the socket). Nothing is resolved then.
    pub fn via(mut self, proxy: SocketAddr) -> Self {
        self.endpoint.via = Some(proxy);
        self
    }

    /// The address probed.
    pub fn address(&self) -> &Address {
        &self.endpoint.address
    }

    /// The driver's options for a connection to one of `addresses`, which share a port.
    pub(super) fn options(&self, addresses: &[SocketAddr]) -> Opts {
        let tls = match &self.tls {
            MysqlTls::Off => None,
            MysqlTls::Unverified => Some(SslOpts::default().with_danger_accept_invalid_certs(true)),
            MysqlTls::Verify { ca_pem } if ca_pem.is_empty() => Some(SslOpts::default()),
            MysqlTls::Verify { ca_pem } => Some(
                SslOpts::default()
                    .with_disable_built_in_roots(true)
                    .with_root_certs(vec![ca_pem.clone().into()]),
            ),
        };
        let port = addresses.first().map_or(self.address().port, SocketAddr::port);
        let ips: Vec<_> = addresses.iter().map(SocketAddr::ip).collect();
        OptsBuilder::default()
            .ip_or_hostname(self.address().host.as_str())
            .tcp_port(port)
            .resolved_ips(Some(ips))
            .user(Some(self.user.as_str()))
            .pass(Some(self.password.expose()))
            .db_name((!self.database.is_empty()).then_some(self.database.as_str()))
            .ssl_opts(tls)
            // On loopback the driver would otherwise move over to the server's Unix socket: another path.
            .prefer_socket(false)
            .stmt_cache_size(0)
            .max_allowed_packet(Some(MAX_PACKET_BYTES))
            .wait_timeout(Some(ASSUMED_WAIT_TIMEOUT_SECONDS))
            .into()
    }
}
