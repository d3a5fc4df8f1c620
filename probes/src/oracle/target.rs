//! What an Oracle prober probes and how.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::tns::MAX_SERVICE_BYTES;
use crate::{
    Names, Secret,
    address::Address,
    endpoint::{Endpoint, TargetError},
    tls::Tls,
};

/// One listener, the service behind it, and the account that asks it.
#[derive(Clone, Debug)]
pub struct OracleTarget {
    pub(super) endpoint: Endpoint,
    pub(super) service: String,
    pub(super) is_sid: bool,
    pub(super) user: String,
    pub(super) password: Secret,
    pub(super) access_timeout: Duration,
    pub(super) tls: Tls,
    /// Of the TLS settings; `None`: plain TCP.
    pub(super) encryption: Option<Arc<rustls::ClientConfig>>,
}

impl OracleTarget {
    /// The service `service` (`is_sid`: it is a SID) of the listener at `address` (`host:port`). `access_timeout` bounds one whole
    /// attempt (C3).
    ///
    /// # Errors
    /// The address, the service's name, the time-out or the encryption make no sense.
    pub fn new(
        address: &str,
        service: &str,
        is_sid: bool,
        tls: Tls,
        access_timeout: Duration,
    ) -> Result<Self, TargetError> {
        if access_timeout.is_zero() {
            return Err(TargetError::NoTime);
        }
        // It becomes part of a descriptor, in which brackets and signs have a meaning.
        let usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '$' | '#');
        if service.is_empty() || service.len() > MAX_SERVICE_BYTES || !service.chars().all(usual) {
            let text = format!("a service name or SID has 1 to {MAX_SERVICE_BYTES} letters, digits and . _ - $ #");
            return Err(TargetError::Setting(text));
        }
        Ok(Self {
            endpoint: Endpoint::parse(address)?,
            service: service.to_owned(),
            is_sid,
            user: String::new(),
            password: Secret::new(String::new()),
            access_timeout,
            encryption: tls.client()?,
            tls,
        })
    }

    /// Logs in as `user`.
    pub fn with_login(mut self, user: &str, password: Secret) -> Self {
        self.user = user.to_owned();
        self.password = password;
        self
    }

    /// Resolves with `names`, which many targets may share.
    pub fn with_names(mut self, names: Names) -> Self {
        self.endpoint.names = names;
        self
    }

    /// Dials this socket instead of the address: a proxy that stands for the path to the listener.
    pub fn via(mut self, proxy: SocketAddr) -> Self {
        self.endpoint.via = Some(proxy);
        self
    }

    /// The address probed.
    pub fn address(&self) -> &Address {
        &self.endpoint.address
    }
}
