//! The list's own engine: a MariaDB pair whose servers can speak TLS.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use quorate_real_parts::Account;
use quorate_real_parts::mariadb::{APPLICATION, MONITOR, MariaDb, MariaDbPair, PairOptions};
use serde_json::{Value, json};

use super::databases::{DatabaseFault, Subject, common_expectation};
use super::{Expected, MARIADB, Reason};

const READY_TIMEOUT: Duration = Duration::from_secs(30);
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(30);
/// `max_connections` can be made no smaller.
const LEAST_CONNECTIONS: u32 = 10;
const CROWD: u32 = LEAST_CONNECTIONS + 5;

/// The pair, and what a scenario holds open.
pub struct MariaDbSubject {
    pub pair: MariaDbPair,
    certificate: PathBuf,
    key: PathBuf,
    /// The authority that the monitor trusts, and a stranger; each with its key.
    own: (String, String),
    other: (String, String),
    crowd: Vec<Conn>,
    administrator: Option<Conn>,
    limit: u32,
}

impl MariaDbSubject {
    /// Starts the pair below `directory`.
    pub async fn start(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let [own, other] = [self_signed()?, self_signed()?];
        let (certificate, key) = (directory.join("server.crt"), directory.join("server.key"));
        let options = PairOptions {
            monitor_connections: 60,
            extra_lines: vec![
                format!("ssl-cert={}", certificate.display()),
                format!("ssl-key={}", key.display()),
            ],
            ..PairOptions::default()
        };
        let limit = options.max_connections;
        write_pair(&certificate, &key, &own)?;
        let pair = MariaDbPair::start(directory, options).await;
        Ok(Self {
            pair: pair.context("starting the MariaDB pair")?,
            certificate,
            key,
            own,
            other,
            crowd: Vec::new(),
            administrator: None,
            limit,
        })
    }

    /// The section over these addresses.
    pub fn section_at(&self, dc1: &str, dc2: &str) -> Value {
        let site = |address: &str, region: &str| json!({"cloud": "private", "region": region, "address": address, "replicas": []});
        json!({
            "user": MONITOR.user,
            "password": MONITOR.password,
            "monitoring_database": "orders",
            "connecting_database": "orders",
            "dc1": site(dc1, "region-1"),
            "dc2": site(dc2, "region-2"),
        })
    }

    /// The pool over the real addresses.
    pub fn own_pool(&self) -> Value {
        let side = |name: &str, address: String| json!({"source": {"name": name, "address": address, "schema": "orders"}, "replicas": [], "load_balance": "RANDOM"});
        json!({
            "database": "orders",
            "routing": "single-read-write",
            "dc1": side("ds1", self.pair.dc1.address()),
            "dc2": side("ds2", self.pair.dc2.address()),
        })
    }

    /// dc1's server is back and has what dc2 has.
    pub async fn revive_dc1(&mut self) -> Result<()> {
        self.pair.dc1.start()?;
        self.pair.dc1.wait_ready(READY_TIMEOUT).await?;
        self.pair
            .wait_caught_up(&self.pair.dc2, &self.pair.dc1, CATCH_UP_TIMEOUT)
            .await
    }

    /// A statement on dc1 that replication does not carry over, and the end of the monitor's sessions there.
    async fn on_dc1_alone(&self, statement: &str) -> Result<()> {
        let end = format!("KILL USER {}", MONITOR.user);
        let statements = ["SET SESSION sql_log_bin = 0", statement, end.as_str()];
        self.pair.dc1.exec(&statements).await
    }

    /// Those that are there stay, and nobody gets in any more; an administrator's session stays to end it.
    async fn gather_crowd(&mut self) -> Result<()> {
        let mut administrator = self.pair.dc1.root_connection().await?;
        while self.crowd.len() < CROWD as usize {
            self.crowd.push(login(&self.pair.dc1, APPLICATION).await?);
        }
        administrator
            .query_drop(format!("SET GLOBAL max_connections = {LEAST_CONNECTIONS}"))
            .await?;
        administrator.query_drop(format!("KILL USER {}", MONITOR.user)).await?;
        self.administrator = Some(administrator);
        Ok(())
    }

    async fn disperse_crowd(&mut self) -> Result<()> {
        let mut administrator = self.administrator.take().context("nobody can get in")?;
        let set = format!("SET GLOBAL max_connections = {}", self.limit);
        administrator.query_drop(set).await?;
        administrator.disconnect().await?;
        for connection in self.crowd.drain(..) {
            connection.disconnect().await?;
        }
        Ok(())
    }

    async fn show(&self, identity: &(String, String)) -> Result<()> {
        write_pair(&self.certificate, &self.key, identity)?;
        self.on_dc1_alone("FLUSH SSL").await
    }
}

impl Subject for MariaDbSubject {
    fn engine(&self) -> &'static str {
        MARIADB
    }

    fn kind(&self) -> &'static str {
        "mysql"
    }

    fn addresses(&self, _fault: DatabaseFault) -> [String; 2] {
        [self.pair.dc1.address(), self.pair.dc2.address()]
    }

    fn section(&self, fault: DatabaseFault) -> Value {
        let [dc1, dc2] = self.addresses(fault);
        let mut section = self.section_at(&dc1, &dc2);
        if fault == DatabaseFault::TlsWrong {
            section["tls"] = json!({"mode": "verified", "ca_pem": self.own.0});
        }
        section
    }

    fn pool(&self, _fault: DatabaseFault) -> Option<Value> {
        Some(self.own_pool())
    }

    fn expected(&self, fault: DatabaseFault) -> Option<Expected> {
        let calm = |finding, words| Some(Expected::calm(Reason::all(finding, words)));
        match fault {
            DatabaseFault::WrongPassword => calm("auth", "1045"),
            DatabaseFault::ExpiredPassword => calm("auth", "1820"),
            DatabaseFault::TooManyConnections => calm("too-many-connections", "1040"),
            DatabaseFault::ReadOnly | DatabaseFault::Replica => calm("read-only", "read_only = 1"),
            // MariaDB refuses the login without saying why; MySQL has an error of its own for it (3159).
            DatabaseFault::TlsRequired => calm("auth", "1045"),
            DatabaseFault::TlsWrong => calm("tls", "certificate"),
            other => common_expectation(other),
        }
    }

    async fn inject(&mut self, fault: DatabaseFault) -> Result<()> {
        let user = MONITOR.user;
        match fault {
            DatabaseFault::Refused => self.pair.dc1.kill(),
            DatabaseFault::Stopped => self.pair.dc1.pause(),
            DatabaseFault::BothDown => {
                self.pair.dc2.kill()?;
                self.pair.dc1.kill()
            }
            DatabaseFault::WrongPassword => {
                self.on_dc1_alone(&format!("ALTER USER {user} IDENTIFIED BY 'another'"))
                    .await
            }
            DatabaseFault::ExpiredPassword => self.on_dc1_alone(&format!("ALTER USER {user} PASSWORD EXPIRE")).await,
            DatabaseFault::TooManyConnections => self.gather_crowd().await,
            DatabaseFault::ReadOnly => self.pair.dc1.exec(&["STOP SLAVE", "SET GLOBAL read_only = 1"]).await,
            DatabaseFault::Replica => {
                self.pair.dc1.exec(&["SET GLOBAL read_only = 1"]).await?;
                let running: Option<mysql_async::Row> = self.pair.dc1.query_first("SHOW SLAVE STATUS").await?;
                ensure!(running.is_some(), "dc1 replicates from nobody");
                Ok(())
            }
            DatabaseFault::TlsRequired => self.on_dc1_alone("SET GLOBAL require_secure_transport = ON").await,
            DatabaseFault::TlsWrong => self.show(&self.other).await,
            DatabaseFault::HostGone | DatabaseFault::Slow => Ok(()),
        }
    }

    async fn undo(&mut self, fault: DatabaseFault) -> Result<()> {
        let Account { user, password } = MONITOR;
        match fault {
            DatabaseFault::Refused => self.revive_dc1().await,
            DatabaseFault::Stopped => {
                self.pair.dc1.resume()?;
                self.pair.dc1.wait_ready(READY_TIMEOUT).await
            }
            DatabaseFault::BothDown => {
                self.pair.dc2.start()?;
                self.pair.dc2.wait_ready(READY_TIMEOUT).await?;
                self.revive_dc1().await
            }
            DatabaseFault::WrongPassword | DatabaseFault::ExpiredPassword => {
                self.on_dc1_alone(&format!("ALTER USER {user} IDENTIFIED BY '{password}'"))
                    .await
            }
            DatabaseFault::TooManyConnections => self.disperse_crowd().await,
            DatabaseFault::ReadOnly => self.pair.dc1.exec(&["SET GLOBAL read_only = 0", "START SLAVE"]).await,
            DatabaseFault::Replica => self.pair.dc1.exec(&["SET GLOBAL read_only = 0"]).await,
            DatabaseFault::TlsRequired => self.on_dc1_alone("SET GLOBAL require_secure_transport = OFF").await,
            DatabaseFault::TlsWrong => self.show(&self.own).await,
            DatabaseFault::HostGone | DatabaseFault::Slow => Ok(()),
        }
    }
}

async fn login(server: &MariaDb, account: Account) -> Result<Conn> {
    let options = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(server.port())
        .user(Some(account.user))
        .pass(Some(account.password));
    let mut connection = Conn::new(options).await?;
    connection.query_drop("SELECT 1").await?;
    Ok(connection)
}

/// A certificate that is its own authority, and its key, both PEM.
pub fn self_signed() -> Result<(String, String)> {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
    Ok((made.cert.pem(), made.signing_key.serialize_pem()))
}

/// Servers run as another user, who must be able to read both.
fn write_pair(certificate: &Path, key: &Path, identity: &(String, String)) -> Result<()> {
    std::fs::write(certificate, &identity.0)?;
    std::fs::write(key, &identity.1)?;
    Ok(())
}
