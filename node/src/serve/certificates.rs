//! Certificates that change while the node runs: the KV port's files are read again on SIGHUP and every minute.
//!
//! New connections get the new certificate, open ones go on. Files that cannot be used change nothing: the old certificate
//! stays, and the problem is logged once for as long as the files stay as they are.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use aws_lc_rs::digest::{self, SHA256};
use quorate_etcd_api::certificate_expiry_seconds;
use rustls::ServerConfig;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::identity::{IdentityDirectory, files, kv_certificate, kv_server_config};

/// How often the files are looked at without a signal.
const RECHECK: Duration = Duration::from_secs(60);

/// The KV port's certificate, and what follows its files.
pub struct KvCertificates {
    directory: IdentityDirectory,
    mutual_tls: bool,
    config: watch::Sender<Arc<ServerConfig>>,
    expiry: watch::Sender<i64>,
    /// Digest of the files as they were looked at last, good or not.
    seen: Vec<u8>,
}

/// TLS settings, and the second since 1970 at which their certificate ends.
type Loaded = (Arc<ServerConfig>, i64);

impl KvCertificates {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// If they cannot be used: at its start a node has no older certificate to go on with.
    pub fn load(directory: &IdentityDirectory, mutual_tls: bool) -> anyhow::Result<Self> {
        let seen = fingerprint(directory)?;
        let config = kv_server_config(directory, mutual_tls)?;
        let expiry = expiry(directory)?;
        Ok(Self {
            directory: directory.clone(),
            mutual_tls,
            config: watch::channel(config).0,
            expiry: watch::channel(expiry).0,
            seen,
        })
    }

    /// The settings for new connections.
    pub fn config(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.config.subscribe()
    }

    /// When the certificate ends, in seconds since 1970.
    pub fn expiry(&self) -> watch::Receiver<i64> {
        self.expiry.subscribe()
    }

    /// Follows the files until `stop`.
    ///
    /// # Errors
    ///
    /// If SIGHUP cannot be listened for.
    pub fn follow(mut self, stop: CancellationToken) -> anyhow::Result<impl Future<Output = ()> + Send> {
        let mut hang_up = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        Ok(async move {
            let mut interval = tokio::time::interval(RECHECK);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = hang_up.recv() => {}
                    _ = interval.tick() => {}
                }
                self.reload();
            }
        })
    }

    /// Takes over the files if they have changed and can be used.
    pub fn reload(&mut self) {
        // A missing file is looked at as a content of its own.
        let seen = fingerprint(&self.directory).unwrap_or_default();
        if seen == self.seen {
            return;
        }
        self.seen = seen;
        match self.usable() {
            Ok((config, expiry)) => {
                self.config.send_replace(config);
                self.expiry.send_replace(expiry);
                tracing::info!(expiry, "the KV endpoint has a new certificate");
            }
            Err(error) => {
                tracing::error!("the KV endpoint keeps its certificate; the new one cannot be used: {error:#}")
            }
        }
    }

    fn usable(&self) -> anyhow::Result<Loaded> {
        let config = kv_server_config(&self.directory, self.mutual_tls)?;
        let expiry = expiry(&self.directory)?;
        let now = jiff::Timestamp::now().as_second();
        anyhow::ensure!(expiry > now, "{} has expired", files::KV_CERT);
        Ok((config, expiry))
    }
}

fn expiry(directory: &IdentityDirectory) -> anyhow::Result<i64> {
    certificate_expiry_seconds(&kv_certificate(directory)?)
        .with_context(|| format!("{} is no X.509 certificate", files::KV_CERT))
}

fn fingerprint(directory: &IdentityDirectory) -> anyhow::Result<Vec<u8>> {
    let mut context = digest::Context::new(&SHA256);
    for name in [files::KV_CERT, files::KV_KEY, files::KV_CA] {
        let contents = zeroize::Zeroizing::new(directory.read(name)?);
        context.update(&(contents.len() as u64).to_be_bytes());
        context.update(&contents);
    }
    Ok(context.finish().as_ref().to_vec())
}
