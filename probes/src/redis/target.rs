//! What a prober probes and how.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use quorate_machine::FindingClass;
use redis::Cmd;
use rustls::ClientConfig;

use crate::{
    Names, Secret, Tls,
    address::Address,
    endpoint::{Endpoint, TargetError},
    failure::Failure,
    observation::Stage,
    prober::{Direct, Paths},
};

/// A login at Redis or at sentinels.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// ACL user; empty: `default`.
    pub user: String,
    /// `None`: no login at all.
    pub password: Option<Secret>,
}

impl Account {
    /// The command that logs in; `None`: none is needed.
    pub(super) fn login(&self) -> Option<Cmd> {
        let password = self.password.as_ref()?;
        let mut command = redis::cmd("AUTH");
        if !self.user.is_empty() {
            command.arg(&self.user);
        }
        command.arg(password.expose());
        Some(command)
    }

    /// How an operator reads it in a connection test.
    pub(super) fn shown(&self) -> String {
        match (&self.password, self.user.as_str()) {
            (None, _) => "no login needed".to_owned(),
            (Some(_), "") => "logged in".to_owned(),
            (Some(_), user) => format!("logged in as {user}"),
        }
    }
}

/// How the servers of one side are arranged (C23).
#[derive(Clone, Debug)]
pub enum Arrangement {
    /// One server: the first address.
    Normal,
    /// The addresses are those of sentinels.
    Sentinel {
        /// Name of the monitored master.
        master: String,
        /// Login at the sentinels themselves.
        account: Account,
    },
    /// The addresses are those of some nodes of a cluster.
    Cluster,
}

/// One side of a Redis monitor with the account that probes it.
#[derive(Clone)]
pub struct RedisTarget {
    /// At least one.
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) arrangement: Arrangement,
    pub(super) account: Account,
    pub(super) access_timeout: Duration,
    pub(super) tls: Tls,
    /// Present unless TLS is off.
    pub(super) tls_client: Option<Arc<ClientConfig>>,
    paths: Arc<dyn Paths>,
}

impl RedisTarget {
    /// A target at `addresses` (`host:port`); `access_timeout` bounds one whole attempt (C3).
    ///
    /// # Errors
    /// An address, the arrangement or the time-out makes no sense.
    pub fn new(
        addresses: &[String],
        arrangement: Arrangement,
        account: Account,
        access_timeout: Duration,
    ) -> Result<Self, TargetError> {
        if access_timeout.is_zero() {
            return Err(TargetError::NoTime);
        }
        if addresses.is_empty() {
            return Err(TargetError::Setting("there is no address".to_owned()));
        }
        if matches!(&arrangement, Arrangement::Sentinel { master, .. } if master.is_empty()) {
            return Err(TargetError::Setting("sentinels need the name of the master".to_owned()));
        }
        let endpoints = addresses.iter().map(|address| Endpoint::parse(address));
        Ok(Self {
            endpoints: endpoints.collect::<Result<_, _>>()?,
            arrangement,
            account,
            access_timeout,
            tls: Tls::Off,
            tls_client: None,
            paths: Arc::new(Direct),
        })
    }

    /// Encrypts every connection.
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
        for endpoint in &mut self.endpoints {
            endpoint.names = names.clone();
        }
        self
    }

    /// Dials this socket instead of the address at `index`: a proxy that stands for the path to the server.
    ///
    /// # Panics
    /// There is no such address.
    pub fn via(mut self, index: usize, proxy: SocketAddr) -> Self {
        self.endpoints[index].via = Some(proxy);
        self
    }

    /// With the endpoints as they are reached, and the paths to servers that they name.
    pub(super) fn at(mut self, endpoints: Vec<Endpoint>, paths: Arc<dyn Paths>) -> Self {
        self.endpoints = endpoints;
        self.paths = paths;
        self
    }

    /// A server that another one named.
    pub(super) async fn discovered(&self, address: Address) -> Result<Endpoint, Failure> {
        let path = self.paths.forwarder(&address.to_string()).await;
        // The path is ours: without it nothing is learned about the server.
        let via = path.map_err(|error| Failure::new(Stage::Tcp, FindingClass::OwnShortage, &error))?;
        Ok(Endpoint {
            address: Arc::new(address),
            names: self.endpoints[0].names.clone(),
            via,
        })
    }

    /// How many of the addresses must say the same before it is believed: two, where there are two.
    pub(super) fn witnesses(&self) -> usize {
        self.endpoints.len().min(2)
    }
}

impl fmt::Debug for RedisTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<String> = self.endpoints.iter().map(|at| at.address.to_string()).collect();
        write!(f, "RedisTarget({})", addresses.join(", "))
    }
}
