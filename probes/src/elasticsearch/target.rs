//! What an Elasticsearch prober probes and how.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use crate::{
    Address, Names, Secret,
    endpoint::{Endpoint, TargetError},
    refusals::Account,
    several,
    tls::Tls,
};

/// Longest attempt, whatever the monitor's access timeout says.
pub const MAX_ATTEMPT: Duration = Duration::from_millis(3000);

/// A cluster: the addresses of its nodes and the account that probes them, or none (passwordless).
#[derive(Clone, Debug)]
pub struct ElasticsearchTarget {
    pub(super) endpoints: Arc<[Endpoint]>,
    pub(super) login: Option<(String, Secret)>,
    pub(super) access_timeout: Duration,
    pub(super) tls: Tls,
    /// Of the TLS settings; `None`: plain HTTP.
    pub(super) encryption: Option<Arc<rustls::ClientConfig>>,
}

impl ElasticsearchTarget {
    /// The nodes at `addresses` (each `host:port`), any of which may answer. `login` is user and password; `access_timeout` bounds one
    /// whole attempt over all addresses (C3) and is cut to [`MAX_ATTEMPT`].
    ///
    /// # Errors
    /// The addresses, the user name, the time-out or the encryption make no sense.
    pub fn new(
        addresses: &[String],
        login: Option<(&str, Secret)>,
        tls: Tls,
        access_timeout: Duration,
    ) -> Result<Self, TargetError> {
        if access_timeout.is_zero() {
            return Err(TargetError::NoTime);
        }
        if login
            .as_ref()
            .is_some_and(|(user, _)| user.is_empty() || user.contains(':'))
        {
            let text = "a user name of HTTP logins has at least one character and no `:`";
            return Err(TargetError::Setting(text.to_owned()));
        }
        Ok(Self {
            endpoints: several::endpoints(addresses)?,
            login: login.map(|(user, password)| (user.to_owned(), password)),
            access_timeout: access_timeout.min(MAX_ATTEMPT),
            encryption: tls.client()?,
            tls,
        })
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

    /// Dials, in place of each address, what `forwarder` gives for it: a proxy that stands for the path to the node.
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

    /// The header of a login (RFC 7617).
    pub(super) fn authorization(&self) -> Option<Zeroizing<String>> {
        let (user, password) = self.login.as_ref()?;
        let clear = Zeroizing::new(format!("{user}:{}", password.expose()));
        Some(Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(&*clear))))
    }

    /// Whom a refused login is remembered for.
    pub(super) fn account(&self) -> Account {
        let nobody = Secret::new(String::new());
        let (user, password) = match &self.login {
            Some((user, password)) => (user.as_str(), password),
            None => ("", &nobody),
        };
        Account::new("elasticsearch", &self.endpoints, user, password)
    }
}
