//! Two clusters of one node: Elasticsearch with passwords and TLS in dc1, OpenSearch as it comes in dc2.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quorate_real_parts::PortBlock;
use quorate_real_parts::search::{MONITOR, Product, SearchOptions, SearchServer};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Sides, of_side};
use crate::cluster::Credentials;
use crate::sdk::SdkConfiguration;

const READY_TIMEOUT: Duration = Duration::from_secs(180);
/// What an application allows for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// More numbers than a story writes.
const MAX_NUMBERS: usize = 10_000;
const INDEX: &str = "/orders";

/// The pair.
#[derive(Debug)]
pub struct ElasticsearchSides {
    dc1: SearchServer,
    dc2: SearchServer,
    _ports: PortBlock,
}

impl ElasticsearchSides {
    /// Starts both servers.
    ///
    /// # Errors
    /// A server is missing or does not start.
    pub async fn start(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let ports = PortBlock::claim()?;
        let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
        let tls = Some((certified.cert.pem(), certified.signing_key.serialize_pem()));
        let of = |product: Product, base: u16, tls: Option<(String, String)>| SearchOptions {
            product,
            ports: [ports.port(base), ports.port(base + 1)],
            passwords: tls.is_some(),
            tls,
        };
        let mut dc1 = SearchServer::init(&directory.join("dc1"), of(Product::Elasticsearch, 0, tls))?;
        let mut dc2 = SearchServer::init(&directory.join("dc2"), of(Product::OpenSearch, 2, None))?;
        dc1.start()?;
        dc2.start()?;
        for server in [&mut dc1, &mut dc2] {
            server.wait_ready(READY_TIMEOUT).await?;
            // Without a replica, which would have no second node; every write is on disk when it is acknowledged.
            let settings = r#"{"settings":{"number_of_shards":1,"number_of_replicas":0}}"#;
            let (status, text) = server.request(Method::PUT, INDEX, Some(settings)).await?;
            ensure!(status.is_success(), "creating the index: {status}: {text}");
        }
        Ok(Self {
            dc1,
            dc2,
            _ports: ports,
        })
    }
}

impl Sides for ElasticsearchSides {
    fn kind(&self) -> &'static str {
        "elasticsearch"
    }

    fn addresses(&self) -> [String; 2] {
        [self.dc1.address(), self.dc2.address()]
    }

    fn section(&self) -> Value {
        let [dc1, dc2] = self.addresses();
        json!({
            "routing": "single-read-write",
            "dc1": {
                "cloud": "private", "region": "region-1", "zones": [], "addresses": [dc1],
                "scheme": "https", "user": MONITOR.user, "password": MONITOR.password,
            },
            "dc2": {
                "cloud": "private", "region": "region-2", "zones": [], "addresses": [dc2],
                "scheme": "http", "passwordless": true,
            },
        })
    }

    fn pool(&self) -> Option<Value> {
        None
    }

    fn active_key(&self, configuration: &SdkConfiguration) -> String {
        configuration.elasticsearch_key("status", "active")
    }

    fn application(&self) -> Credentials {
        Credentials {
            user: String::new(),
            password: String::new(),
        }
    }

    fn kill_dc1(&mut self) -> Result<()> {
        self.dc1.kill()
    }

    async fn start_dc1(&mut self) -> Result<()> {
        self.dc1.start()?;
        self.dc1.wait_ready(READY_TIMEOUT).await
    }

    fn pause_dc1(&mut self) -> Result<()> {
        self.dc1.pause()
    }

    async fn resume_dc1(&mut self) -> Result<()> {
        self.dc1.resume()?;
        self.dc1.wait_ready(READY_TIMEOUT).await
    }

    async fn write(&self, side: &str, number: i64) -> Result<()> {
        let server = of_side(&self.dc1, &self.dc2, side)?;
        let (path, body) = (format!("{INDEX}/_doc/{number}"), format!(r#"{{"number":{number}}}"#));
        let written = server.request(Method::PUT, &path, Some(&body));
        let (status, text) = tokio::time::timeout(REQUEST_TIMEOUT, written)
            .await
            .context("no answer")??;
        ensure!(status.is_success(), "{status}: {text}");
        Ok(())
    }

    async fn numbers(&self, side: &str) -> Result<BTreeSet<i64>> {
        let server = of_side(&self.dc1, &self.dc2, side)?;
        server.request(Method::POST, &format!("{INDEX}/_refresh"), None).await?;
        let path = format!("{INDEX}/_search?size={MAX_NUMBERS}&filter_path=hits.hits._source");
        let (status, text) = server.request(Method::GET, &path, None).await?;
        ensure!(status.is_success(), "{status}: {text}");
        let answer: Value = serde_json::from_str(&text)?;
        let hits = answer["hits"]["hits"].as_array().into_iter().flatten();
        Ok(hits.filter_map(|hit| hit["_source"]["number"].as_i64()).collect())
    }
}
