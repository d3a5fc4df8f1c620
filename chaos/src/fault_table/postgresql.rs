//! PostgreSQL: two primaries whose certificates and access rules can be changed under way.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use quorate_real_parts::ServerUser;
use quorate_real_parts::postgresql::{MONITOR, PairKind, PostgresqlPair};
use serde_json::{Value, json};

use super::databases::{DatabaseFault, Subject, common_expectation};
use super::mariadb::self_signed;
use super::{Expected, Reason};
use crate::scenario::Timing;

const READY_TIMEOUT: Duration = Duration::from_secs(30);
const RELOAD: &str = "SELECT pg_reload_conf()";

/// The pair.
pub struct PostgresqlSubject {
    pair: PostgresqlPair,
    directory: PathBuf,
    own: (String, String),
    other: (String, String),
}

impl PostgresqlSubject {
    /// Starts the pair below `directory`.
    pub async fn start(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let [own, other] = [self_signed()?, self_signed()?];
        let lines = vec![
            "ssl = on".to_owned(),
            format!("ssl_cert_file = '{}'", directory.join("server.crt").display()),
            format!("ssl_key_file = '{}'", directory.join("server.key").display()),
        ];
        write_pair(directory, &own)?;
        let pair = PostgresqlPair::start_with(directory, PairKind::Independent, &lines).await;
        Ok(Self {
            pair: pair.context("starting the PostgreSQL servers")?,
            directory: directory.to_owned(),
            own,
            other,
        })
    }

    /// A statement on dc1, and the end of the monitor's sessions there.
    async fn on_dc1(&self, statements: &[&str]) -> Result<()> {
        let end = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{}'",
            MONITOR.user
        );
        let statements: Vec<&str> = statements.iter().copied().chain([end.as_str()]).collect();
        self.pair.dc1.exec(&statements).await
    }

    async fn show(&self, identity: &(String, String)) -> Result<()> {
        write_pair(&self.directory, identity)?;
        self.on_dc1(&[RELOAD]).await
    }

    /// How the monitor's account may come to dc1: `host` or `hostssl`.
    async fn admit(&self, kind: &str) -> Result<()> {
        let rules = format!(
            "COPY (SELECT '{kind} all {} 127.0.0.0/8 scram-sha-256' UNION ALL \
             SELECT 'host all all 127.0.0.0/8 scram-sha-256') TO PROGRAM 'cat > pg_hba.conf'",
            MONITOR.user
        );
        // Who matches no earlier line must not slip through the last one.
        let rules = if kind == "hostssl" {
            rules.replace("'host all all", "'host all admin,orders_app")
        } else {
            rules
        };
        self.on_dc1(&[&rules, RELOAD]).await
    }

    /// dc1 is stopped and comes back as a standby of nobody.
    async fn demote(&mut self) -> Result<()> {
        self.pair.dc1.stop().await?;
        let signal = self.directory.join("dc1/data/standby.signal");
        std::fs::write(&signal, "")?;
        ServerUser::current()?.own(&signal)?;
        self.pair.dc1.start()?;
        self.pair.dc1.wait_ready(READY_TIMEOUT).await
    }
}

impl Subject for PostgresqlSubject {
    fn engine(&self) -> &'static str {
        "postgresql"
    }

    fn kind(&self) -> &'static str {
        "postgresql"
    }

    fn addresses(&self, _fault: DatabaseFault) -> [String; 2] {
        [self.pair.dc1.address(), self.pair.dc2.address()]
    }

    fn section(&self, fault: DatabaseFault) -> Value {
        let site = |address: &str, region: &str| json!({"cloud": "private", "region": region, "address": address, "replicas": []});
        let [dc1, dc2] = self.addresses(fault);
        let mut section = json!({
            "user": MONITOR.user,
            "password": MONITOR.password,
            "monitoring_database": "orders",
            "connecting_database": "orders",
            "dc1": site(&dc1, "region-1"),
            "dc2": site(&dc2, "region-2"),
        });
        if fault == DatabaseFault::TlsWrong {
            section["tls"] = json!({"mode": "verified", "ca_pem": self.own.0});
        }
        section
    }

    fn pool(&self, fault: DatabaseFault) -> Option<Value> {
        let [dc1, dc2] = self.addresses(fault);
        let side = |name: &str, address: String| json!({"source": {"name": name, "address": address, "schema": "orders"}, "replicas": [], "load_balance": "RANDOM"});
        Some(json!({
            "database": "orders", "routing": "single-read-write", "dc1": side("ds1", dc1), "dc2": side("ds2", dc2),
        }))
    }

    fn expected(&self, fault: DatabaseFault) -> Option<Expected> {
        let calm = |finding, words| Some(Expected::calm(Reason::all(finding, words)));
        match fault {
            DatabaseFault::WrongPassword | DatabaseFault::ExpiredPassword => calm("auth", "28P01"),
            DatabaseFault::TooManyConnections => calm("too-many-connections", "53300"),
            DatabaseFault::ReadOnly => calm("read-only", "read_only"),
            DatabaseFault::Replica => calm("read-only", "standby"),
            // It refuses the login, in words of its own.
            DatabaseFault::TlsRequired => calm("auth", "no encryption"),
            DatabaseFault::TlsWrong => calm("tls", "certificate"),
            other => common_expectation(other),
        }
    }

    /// The way to a standby is longer than the fast profile's monitor timeout.
    fn timing(&self, fault: DatabaseFault) -> Timing {
        Timing {
            monitor_timeout_ms: if fault == DatabaseFault::Replica {
                20_000
            } else {
                Timing::FAST.monitor_timeout_ms
            },
            ..Timing::FAST
        }
    }

    async fn inject(&mut self, fault: DatabaseFault) -> Result<()> {
        let alter = |what: &str| format!("ALTER ROLE {} {what}", MONITOR.user);
        match fault {
            DatabaseFault::Refused => self.pair.dc1.kill(),
            DatabaseFault::Stopped => self.pair.dc1.pause(),
            DatabaseFault::BothDown => {
                self.pair.dc2.kill()?;
                self.pair.dc1.kill()
            }
            DatabaseFault::WrongPassword => self.on_dc1(&[&alter("PASSWORD 'another'")]).await,
            DatabaseFault::ExpiredPassword => self.on_dc1(&[&alter("VALID UNTIL '2001-01-01'")]).await,
            DatabaseFault::TooManyConnections => self.on_dc1(&[&alter("CONNECTION LIMIT 0")]).await,
            DatabaseFault::ReadOnly => {
                let set = "ALTER SYSTEM SET default_transaction_read_only = on";
                self.on_dc1(&[set, RELOAD]).await
            }
            DatabaseFault::Replica => self.demote().await,
            DatabaseFault::TlsRequired => self.admit("hostssl").await,
            DatabaseFault::TlsWrong => self.show(&self.other).await,
            DatabaseFault::HostGone | DatabaseFault::Slow => Ok(()),
        }
    }

    async fn undo(&mut self, fault: DatabaseFault) -> Result<()> {
        let alter = |what: &str| format!("ALTER ROLE {} {what}", MONITOR.user);
        match fault {
            DatabaseFault::Refused => {
                self.pair.dc1.start()?;
                self.pair.dc1.wait_ready(READY_TIMEOUT).await
            }
            DatabaseFault::Stopped => {
                self.pair.dc1.resume()?;
                self.pair.dc1.wait_ready(READY_TIMEOUT).await
            }
            DatabaseFault::BothDown => {
                for server in [&mut self.pair.dc1, &mut self.pair.dc2] {
                    server.start()?;
                    server.wait_ready(READY_TIMEOUT).await?;
                }
                Ok(())
            }
            DatabaseFault::WrongPassword => {
                self.on_dc1(&[&alter(&format!("PASSWORD '{}'", MONITOR.password))])
                    .await
            }
            DatabaseFault::ExpiredPassword => self.on_dc1(&[&alter("VALID UNTIL 'infinity'")]).await,
            DatabaseFault::TooManyConnections => self.on_dc1(&[&alter("CONNECTION LIMIT -1")]).await,
            DatabaseFault::ReadOnly => {
                let reset = "ALTER SYSTEM RESET default_transaction_read_only";
                self.on_dc1(&[reset, RELOAD]).await
            }
            DatabaseFault::Replica => self.pair.dc1.exec(&["SELECT pg_promote(true, 20)"]).await,
            DatabaseFault::TlsRequired => self.admit("host").await,
            DatabaseFault::TlsWrong => self.show(&self.own).await,
            DatabaseFault::HostGone | DatabaseFault::Slow => Ok(()),
        }
    }
}

/// The server takes a key that only its own user reads.
fn write_pair(directory: &Path, identity: &(String, String)) -> Result<()> {
    let (certificate, key) = (directory.join("server.crt"), directory.join("server.key"));
    std::fs::write(certificate, &identity.0)?;
    std::fs::write(&key, &identity.1)?;
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    ServerUser::current()?.own(&key)
}
