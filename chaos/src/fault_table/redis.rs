//! Redis: two masters; servers that speak TLS take the place of dc1's on the same port.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use quorate_real_parts::redis::{ADMIN, MONITOR, Redis, RedisOptions};
use quorate_real_parts::{PortBlock, ServerUser};
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};

use super::databases::{DatabaseFault, Subject, common_expectation};
use super::mariadb::self_signed;
use super::{Expected, Reason};

const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// The pair, and dc1's two other shapes.
pub struct RedisSubject {
    dc1: Redis,
    dc2: Redis,
    /// On dc1's port: with the certificate that the monitor trusts, and with another one.
    encrypted: Redis,
    stranger: Redis,
    authority: String,
    crowd: Vec<MultiplexedConnection>,
    _ports: PortBlock,
}

impl RedisSubject {
    /// Starts the pair below `directory`.
    pub async fn start(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let ports = PortBlock::claim()?;
        let plain = |name: &str, port: u16| Redis::init(&directory.join(name), RedisOptions::new(port));
        let encrypted = |name: &str| -> Result<(Redis, String)> {
            let (certificate, key) = self_signed()?;
            let files = [format!("{name}.crt"), format!("{name}.key")].map(|file| directory.join(file));
            for (file, text) in files.iter().zip([&certificate, &key]) {
                std::fs::write(file, text)?;
                ServerUser::current()?.own(file)?;
            }
            let [certificate_file, key_file] = files;
            let options = RedisOptions {
                tls: Some((certificate_file, key_file)),
                ..RedisOptions::new(ports.port(0))
            };
            Ok((Redis::init(&directory.join(name), options)?, certificate))
        };
        let (own, authority) = encrypted("encrypted")?;
        let (stranger, _) = encrypted("stranger")?;
        let mut subject = Self {
            dc1: plain("dc1", ports.port(0))?,
            dc2: plain("dc2", ports.port(1))?,
            encrypted: own,
            stranger,
            authority,
            crowd: Vec::new(),
            _ports: ports,
        };
        for server in [&mut subject.dc1, &mut subject.dc2] {
            server.start()?;
            server.wait_ready(READY_TIMEOUT).await?;
        }
        Ok(subject)
    }

    async fn restart_dc1(&mut self) -> Result<()> {
        self.dc1.start()?;
        self.dc1.wait_ready(READY_TIMEOUT).await
    }

    async fn end_sessions(&self) -> Result<()> {
        self.dc1
            .admin::<i64>(&["CLIENT", "KILL", "USER", MONITOR.user])
            .await
            .map(drop)
    }
}

impl Subject for RedisSubject {
    fn engine(&self) -> &'static str {
        "redis"
    }

    fn kind(&self) -> &'static str {
        "redis"
    }

    fn addresses(&self, _fault: DatabaseFault) -> [String; 2] {
        [self.dc1.address(), self.dc2.address()]
    }

    fn section(&self, fault: DatabaseFault) -> Value {
        let side = |address: &str, region: &str| {
            json!({
                "cloud": "private", "region": region, "zones": [], "addresses": [address],
                "user": MONITOR.user, "password": MONITOR.password,
            })
        };
        let [dc1, dc2] = self.addresses(fault);
        let mut dc1 = side(&dc1, "region-1");
        if fault == DatabaseFault::TlsWrong {
            dc1["tls"] = json!({"mode": "verified", "ca_pem": self.authority});
        }
        json!({
            "mode": "normal", "routing": "single-read-async-double-write", "dc1": dc1, "dc2": side(&dc2, "region-2"),
        })
    }

    fn pool(&self, _fault: DatabaseFault) -> Option<Value> {
        None
    }

    fn expected(&self, fault: DatabaseFault) -> Option<Expected> {
        let calm = |finding, words| Some(Expected::calm(Reason::all(finding, words)));
        match fault {
            DatabaseFault::WrongPassword => calm("auth", "WRONGPASS"),
            // Its passwords do not expire.
            DatabaseFault::ExpiredPassword => None,
            DatabaseFault::TooManyConnections => calm("too-many-connections", "max number of clients"),
            DatabaseFault::ReadOnly => calm("read-only", "NOREPLICAS"),
            DatabaseFault::Replica => calm("read-only", "replica"),
            DatabaseFault::TlsRequired => calm("tls", ""),
            DatabaseFault::TlsWrong => calm("tls", "certificate"),
            other => common_expectation(other),
        }
    }

    async fn prepare(&mut self, fault: DatabaseFault) -> Result<()> {
        if fault == DatabaseFault::TlsWrong {
            self.dc1.kill()?;
            self.encrypted.start()?;
        }
        Ok(())
    }

    async fn inject(&mut self, fault: DatabaseFault) -> Result<()> {
        match fault {
            DatabaseFault::Refused => self.dc1.kill(),
            DatabaseFault::Stopped => self.dc1.pause(),
            DatabaseFault::BothDown => {
                self.dc2.kill()?;
                self.dc1.kill()
            }
            DatabaseFault::WrongPassword => {
                let _: String = self
                    .dc1
                    .admin(&["ACL", "SETUSER", MONITOR.user, "resetpass", ">another"])
                    .await?;
                self.end_sessions().await
            }
            DatabaseFault::TooManyConnections => {
                // One stays to set the limit back.
                self.crowd.push(self.dc1.login(ADMIN).await?);
                let _: String = self.dc1.admin(&["CONFIG", "SET", "maxclients", "1"]).await?;
                let mut last = self.crowd.last().cloned().expect("it was just kept");
                let _: i64 = redis::cmd("CLIENT")
                    .arg("KILL")
                    .arg("USER")
                    .arg(MONITOR.user)
                    .query_async(&mut last)
                    .await?;
                Ok(())
            }
            DatabaseFault::ReadOnly => {
                let _: String = self.dc1.admin(&["CONFIG", "SET", "min-replicas-to-write", "2"]).await?;
                Ok(())
            }
            DatabaseFault::Replica => {
                let port = self.dc2.port().to_string();
                let (user, password) = (
                    quorate_real_parts::redis::REPLICATION.user,
                    quorate_real_parts::redis::REPLICATION.password,
                );
                let set = ["CONFIG", "SET", "masteruser", user, "masterauth", password];
                let _: String = self.dc1.admin(&set).await?;
                let _: String = self.dc1.admin(&["REPLICAOF", "127.0.0.1", &port]).await?;
                Ok(())
            }
            DatabaseFault::TlsRequired => {
                self.dc1.kill()?;
                self.encrypted.start()
            }
            DatabaseFault::TlsWrong => {
                self.encrypted.kill()?;
                self.stranger.start()
            }
            DatabaseFault::ExpiredPassword | DatabaseFault::HostGone | DatabaseFault::Slow => Ok(()),
        }
    }

    async fn undo(&mut self, fault: DatabaseFault) -> Result<()> {
        match fault {
            DatabaseFault::Refused => self.restart_dc1().await,
            DatabaseFault::Stopped => {
                self.dc1.resume()?;
                self.dc1.wait_ready(READY_TIMEOUT).await
            }
            DatabaseFault::BothDown => {
                self.dc2.start()?;
                self.dc2.wait_ready(READY_TIMEOUT).await?;
                self.restart_dc1().await
            }
            DatabaseFault::TlsRequired => {
                self.encrypted.kill()?;
                self.restart_dc1().await
            }
            DatabaseFault::TlsWrong => {
                self.stranger.kill()?;
                self.restart_dc1().await
            }
            DatabaseFault::TooManyConnections => {
                self.crowd.clear();
                self.dc1.kill()?;
                self.restart_dc1().await
            }
            // What was set is forgotten by a restart.
            DatabaseFault::WrongPassword | DatabaseFault::ReadOnly | DatabaseFault::Replica => {
                self.dc1.kill()?;
                self.restart_dc1().await
            }
            DatabaseFault::ExpiredPassword | DatabaseFault::HostGone | DatabaseFault::Slow => Ok(()),
        }
    }
}
