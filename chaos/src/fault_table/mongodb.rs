//! MongoDB's protocol: two servers.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use mongodb::bson::doc;
use quorate_real_parts::PortBlock;
use quorate_real_parts::mongodb::{MONITOR, MongodbOptions, MongodbServer, REPLICA_SET};
use serde_json::{Value, json};

use super::databases::{DatabaseFault, Subject, common_expectation};
use super::{Expected, Reason};

const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// The pair.
pub struct MongodbSubject {
    dc1: MongodbServer,
    dc2: MongodbServer,
    _ports: PortBlock,
}

impl MongodbSubject {
    /// Starts the pair below `directory`.
    pub async fn start(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let ports = PortBlock::claim()?;
        let start = async |name: &str, port: u16| -> Result<MongodbServer> {
            let options = MongodbOptions { port, tls: None };
            let mut server = MongodbServer::init(&directory.join(name), options, READY_TIMEOUT).await?;
            server.start()?;
            server.wait_ready(READY_TIMEOUT).await?;
            Ok(server)
        };
        Ok(Self {
            dc1: start("dc1", ports.port(0)).await?,
            dc2: start("dc2", ports.port(1)).await?,
            _ports: ports,
        })
    }

    async fn password(&self, password: &str) -> Result<()> {
        self.dc1
            .command(doc! {"updateUser": MONITOR.user, "pwd": password})
            .await
            .map(drop)
    }
}

impl Subject for MongodbSubject {
    fn engine(&self) -> &'static str {
        "mongodb"
    }

    fn kind(&self) -> &'static str {
        "mongodb"
    }

    fn addresses(&self, _fault: DatabaseFault) -> [String; 2] {
        [self.dc1.address(), self.dc2.address()]
    }

    fn section(&self, fault: DatabaseFault) -> Value {
        let side = |address: &str, region: &str| json!({"cloud": "private", "region": region, "zones": [], "addresses": [address]});
        let [dc1, dc2] = self.addresses(fault);
        json!({
            "user": MONITOR.user,
            "password": MONITOR.password,
            "monitoring_database": "admin",
            "connecting_database": "orders",
            "replica_set": REPLICA_SET,
            "dc1": side(&dc1, "region-1"),
            "dc2": side(&dc2, "region-2"),
        })
    }

    fn pool(&self, fault: DatabaseFault) -> Option<Value> {
        let [dc1, dc2] = self.addresses(fault);
        let side = |name: &str, address: String| json!({"source": {"name": name, "address": address, "schema": "orders"}, "replicas": [], "load_balance": "RANDOM"});
        Some(json!({
            "database": "orders", "routing": "single-read-write", "dc1": side("ds1", dc1), "dc2": side("ds2", dc2),
        }))
    }

    fn expected(&self, fault: DatabaseFault) -> Option<Expected> {
        match fault {
            DatabaseFault::WrongPassword => Some(Expected::calm(Reason::all("auth", "AuthenticationFailed"))),
            other => common_expectation(other),
        }
    }

    async fn inject(&mut self, fault: DatabaseFault) -> Result<()> {
        match fault {
            DatabaseFault::Refused => self.dc1.kill(),
            DatabaseFault::Stopped => self.dc1.pause(),
            DatabaseFault::BothDown => {
                self.dc2.kill()?;
                self.dc1.kill()
            }
            DatabaseFault::WrongPassword => self.password("another").await,
            _ => Ok(()),
        }
    }

    async fn undo(&mut self, fault: DatabaseFault) -> Result<()> {
        match fault {
            DatabaseFault::Refused => self.dc1.start()?,
            DatabaseFault::Stopped => self.dc1.resume()?,
            DatabaseFault::BothDown => {
                self.dc2.start()?;
                self.dc1.start()?;
            }
            DatabaseFault::WrongPassword => self.password(MONITOR.password).await?,
            _ => {}
        }
        self.dc1.wait_ready(READY_TIMEOUT).await?;
        self.dc2.wait_ready(READY_TIMEOUT).await
    }
}
