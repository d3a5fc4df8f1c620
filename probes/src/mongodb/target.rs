//! What a MongoDB prober probes and how.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    Address, Names, Secret,
    endpoint::{Endpoint, TargetError},
    several,
    tls::Tls,
};

/// Database that accounts belong to where none is named.
const DEFAULT_DATABASE: &str = "admin";

/// The servers of one side: members of a replica set, routers of a sharded cluster, or one server without either.
#[derive(Clone, Debug)]
pub struct MongodbTarget {
    pub(super) endpoints: Arc<[Endpoint]>,
    /// Empty: no login.
    pub(super) user: String,
    pub(super) password: Secret,
    /// The account's database.
    pub(super) database: String,
    /// Expected name of the replica set; empty: any.
    pub(super) replica_set: String,
    pub(super) access_timeout: Duration,
    pub(super) tls: Tls,
    /// Of the TLS settings; `None`: plain TCP.
    pub(super) encryption: Option<Arc<rustls::ClientConfig>>,
}

impl MongodbTarget {
    /// The servers at `addresses` (each `host:port`). `access_timeout` bounds one whole attempt over all of them (C3). No account, any
    /// replica set and no encryption until told otherwise.
    ///
    /// # Errors
    /// The addresses or the time-out make no sense.
    pub fn new(addresses: &[String], access_timeout: Duration) -> Result<Self, TargetError> {
        if access_timeout.is_zero() {
            return Err(TargetError::NoTime);
        }
        Ok(Self {
            endpoints: several::endpoints(addresses)?,
            user: String::new(),
            password: Secret::new(String::new()),
            database: DEFAULT_DATABASE.to_owned(),
            replica_set: String::new(),
            access_timeout,
            tls: Tls::Off,
            encryption: None,
        })
    }

    /// Logs in as `user` of `database` (empty: `admin`).
    pub fn with_login(mut self, user: &str, password: Secret, database: &str) -> Self {
        self.user = user.to_owned();
        self.password = password;
        if !database.is_empty() {
            self.database = database.to_owned();
        }
        self
    }

    /// Takes members of this replica set only; empty: of any.
    pub fn of_set(mut self, replica_set: &str) -> Self {
        self.replica_set = replica_set.to_owned();
        self
    }

    /// Encrypts the connections.
    ///
    /// # Errors
    /// The CA certificates cannot be read.
    pub fn with_tls(mut self, tls: Tls) -> Result<Self, TargetError> {
        self.encryption = tls.client()?;
        self.tls = tls;
        Ok(self)
    }

    /// Resolves with `names`, which many targets may share.
    pub fn with_names(mut self, names: &Names) -> Self {
        let share = |endpoint: &Endpoint| Endpoint {
            names: names.clone(),
            ..endpoint.clone()
        };
        self.endpoints = self.endpoints.iter().map(share).collect();
        self
    }

    /// Dials, in place of each address, what `forwarder` gives for it: a proxy that stands for the path to the server.
    pub fn via(mut self, forwarder: impl Fn(&Address) -> Option<SocketAddr>) -> Self {
        let lead = |endpoint: &Endpoint| Endpoint {
            via: forwarder(&endpoint.address),
            ..endpoint.clone()
        };
        self.endpoints = self.endpoints.iter().map(lead).collect();
        self
    }

    /// The addresses probed.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.endpoints.iter().map(|endpoint| &*endpoint.address)
    }
}
