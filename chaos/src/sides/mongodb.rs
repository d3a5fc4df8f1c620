//! Two independent servers of MongoDB's protocol, one for each data center.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use mongodb::Client;
use mongodb::bson::{Document, doc};
use quorate_real_parts::mongodb::{APPLICATION, MONITOR, MongodbOptions, MongodbServer, REPLICA_SET};
use quorate_real_parts::{Account, PortBlock};
use serde_json::{Value, json};

use super::{Sides, of_side};
use crate::cluster::Credentials;
use crate::sdk::SdkConfiguration;

const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// What an application allows for one command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);
const DATABASE: &str = "orders";
const COLLECTION: &str = "orders";

/// A server with the application's client, which applications keep.
#[derive(Debug)]
struct Side {
    server: MongodbServer,
    client: Client,
}

/// The pair.
#[derive(Debug)]
pub struct MongodbSides {
    dc1: Side,
    dc2: Side,
    _ports: PortBlock,
}

impl MongodbSides {
    /// Starts both servers.
    ///
    /// # Errors
    /// A server is missing or does not start.
    pub async fn start(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let ports = PortBlock::claim()?;
        let start = async |name: &str, port: u16| -> Result<Side> {
            let options = MongodbOptions { port, tls: None };
            let mut server = MongodbServer::init(&directory.join(name), options, READY_TIMEOUT).await?;
            server.start()?;
            server.wait_ready(READY_TIMEOUT).await?;
            let client = server.client(Some(APPLICATION))?;
            Ok(Side { server, client })
        };
        Ok(Self {
            dc1: start("dc1", ports.port(0)).await?,
            dc2: start("dc2", ports.port(1)).await?,
            _ports: ports,
        })
    }

    fn section_for(&self, account: Account) -> Value {
        let side = |address: &str, region: &str| json!({"cloud": "private", "region": region, "zones": [], "addresses": [address]});
        let [dc1, dc2] = self.addresses();
        json!({
            "user": account.user,
            "password": account.password,
            "monitoring_database": "admin",
            "connecting_database": DATABASE,
            "replica_set": REPLICA_SET,
            "dc1": side(&dc1, "region-1"),
            "dc2": side(&dc2, "region-2"),
        })
    }
}

impl Sides for MongodbSides {
    fn kind(&self) -> &'static str {
        "mongodb"
    }

    fn addresses(&self) -> [String; 2] {
        [self.dc1.server.address(), self.dc2.server.address()]
    }

    fn section(&self) -> Value {
        self.section_for(MONITOR)
    }

    fn pool(&self) -> Option<Value> {
        let [dc1, dc2] = self.addresses();
        let side = |name: &str, address: String| {
            let source = json!({"name": name, "address": address, "schema": DATABASE});
            json!({"source": source, "replicas": [], "load_balance": "RANDOM"})
        };
        Some(json!({
            "database": DATABASE,
            "routing": "single-read-write",
            "dc1": side("ds1", dc1),
            "dc2": side("ds2", dc2),
        }))
    }

    fn active_key(&self, configuration: &SdkConfiguration) -> String {
        configuration.mongodb_key("status", "active")
    }

    fn application(&self) -> Credentials {
        Credentials {
            user: APPLICATION.user.to_owned(),
            password: APPLICATION.password.to_owned(),
        }
    }

    fn kill_dc1(&mut self) -> Result<()> {
        self.dc1.server.kill()
    }

    async fn start_dc1(&mut self) -> Result<()> {
        self.dc1.server.start()?;
        self.dc1.server.wait_ready(READY_TIMEOUT).await
    }

    fn pause_dc1(&mut self) -> Result<()> {
        self.dc1.server.pause()
    }

    async fn resume_dc1(&mut self) -> Result<()> {
        self.dc1.server.resume()?;
        self.dc1.server.wait_ready(READY_TIMEOUT).await
    }

    async fn write(&self, side: &str, number: i64) -> Result<()> {
        let side = of_side(&self.dc1, &self.dc2, side)?;
        let orders = side.client.database(DATABASE).collection::<Document>(COLLECTION);
        let written = tokio::time::timeout(COMMAND_TIMEOUT, orders.insert_one(doc! { "number": number }));
        written.await.context("no answer")??;
        Ok(())
    }

    async fn numbers(&self, side: &str) -> Result<BTreeSet<i64>> {
        let side = of_side(&self.dc1, &self.dc2, side)?;
        let orders = side.client.database(DATABASE).collection::<Document>(COLLECTION);
        let found: Vec<Document> = orders.find(doc! {}).await?.try_collect().await?;
        Ok(found.iter().filter_map(|order| order.get_i64("number").ok()).collect())
    }
}
