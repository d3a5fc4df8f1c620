//! Further instances on real processes (A5, G3): each has its own port, users, certificates and keys, and nobody who holds
//! something of one reaches anything of another.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quorate_chaos::cluster::DevCluster;
use quorate_chaos::etcd::{Client, ConnectOptions};
use quorate_chaos::faults::Signal;
use quorate_chaos::harness::{Harness, eventually, step};
use quorate_chaos::kv;
use reqwest::Method;
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_secs(5);
const SLOW: Duration = Duration::from_secs(30);
/// Time for an attempt that must fail.
const REFUSED_WITHIN: Duration = Duration::from_secs(2);

/// What a client of one instance holds.
struct Shop {
    id: String,
    endpoints: Vec<String>,
    ca: Vec<u8>,
}

impl Shop {
    fn user(&self, name: &str, password: &str) -> ConnectOptions {
        ConnectOptions {
            endpoint: self.endpoints[0].clone(),
            user: Some((name.to_owned(), password.to_owned())),
            ca: Some(self.ca.clone()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_are_apart() -> Result<()> {
    let harness = Harness::start(&[]).await?;
    let test = async |harness: &mut Harness| {
        let cluster = &mut harness.cluster;
        let shop = step("an instance is created and runs", create(cluster, "shop")).await?;
        step("its users, certificates and keys are its own", apart(cluster, &shop)).await?;
        step("a port in use is told, and taken once it is free", port_in_use(cluster)).await?;
        step("all nodes are killed and come back with it", killed(cluster, &shop)).await?;
        step("a password is replaced", password(cluster, &shop)).await?;
        step("it is deleted with its port", deleted(cluster, &shop)).await
    };
    harness.run(test).await
}

async fn create(cluster: &DevCluster, name: &str) -> Result<Shop> {
    let body = json!({"name": name, "kv_root_password": "root-secret", "kv_sdk_password": "mas-secret"});
    let created = cluster.rest.post("/instances", body).await?;
    let id = created["id"].as_str().context("id")?.to_owned();
    status(cluster, &id, "running").await?;
    let connection = cluster.rest.get(&format!("/instances/{id}/connection")).await?;
    let endpoints: Vec<String> = serde_json::from_value(connection["endpoints"].clone())?;
    ensure!(endpoints.len() == 3, "{connection}");
    let files = cluster.rest.get(&format!("/instances/{id}/client-certificate")).await?;
    let ca = files["ca.crt"].as_str().context("ca.crt")?.as_bytes().to_vec();
    Ok(Shop { id, endpoints, ca })
}

async fn status(cluster: &DevCluster, id: &str, wanted: &str) -> Result<Value> {
    eventually(&format!("the instance is {wanted}"), SLOW, async || {
        let view = cluster.rest.get(&format!("/instances/{id}")).await?;
        Ok((view["status"] == wanted).then_some(view))
    })
    .await
}

async fn apart(cluster: &DevCluster, shop: &Shop) -> Result<()> {
    let first_kv = &cluster.node(1)?.kv;
    let mut ours = Client::connect(&shop.user("root", "root-secret"), TIMEOUT).await?;
    let mut first = Client::connect(&kv::as_root(&cluster.info, first_kv)?, TIMEOUT).await?;
    ours.put("colour", "red").await?;
    first.put("colour", "blue").await?;
    for endpoint in &shop.endpoints {
        let mut at = shop.user("root", "root-secret");
        at.endpoint.clone_from(endpoint);
        let mut client = Client::connect(&at, TIMEOUT).await?;
        ensure!(client.get("colour").await?.kvs[0].value == "red", "{endpoint}");
    }
    ensure!(first.get("colour").await?.kvs[0].value == "blue");

    // The first instance's passwords and authority are worth nothing here, and the other way round.
    let root = cluster.info.kv.root.clone();
    let foreign_password = shop.user(&root.user, &root.password);
    ensure!(Client::connect(&foreign_password, REFUSED_WITHIN).await.is_err());
    let mut foreign_authority = kv::as_root(&cluster.info, first_kv)?;
    foreign_authority.endpoint.clone_from(&shop.endpoints[0]);
    foreign_authority.user = Some(("root".to_owned(), "root-secret".to_owned()));
    ensure!(Client::connect(&foreign_authority, REFUSED_WITHIN).await.is_err());
    let own_password_there = ConnectOptions {
        user: Some(("root".to_owned(), "root-secret".to_owned())),
        ..kv::as_root(&cluster.info, first_kv)?
    };
    ensure!(Client::connect(&own_password_there, REFUSED_WITHIN).await.is_err());

    // SDKs read `/mas-monitor/` and nothing else.
    let mut sdk = Client::connect(&shop.user("mas", "mas-secret"), TIMEOUT).await?;
    ensure!(sdk.get("colour").await.is_err());
    ensure!(sdk.get("/mas-monitor/anything").await.is_ok());
    Ok(())
}

async fn port_in_use(cluster: &DevCluster) -> Result<()> {
    // The third instance's port on node 2, as the table of ports has it.
    let first: std::net::SocketAddr = cluster.node(2)?.kv.parse()?;
    let taken = TcpListener::bind((first.ip(), first.port() + 21 + 3))?;
    let body = json!({"name": "late", "kv_root_password": "root-secret", "kv_sdk_password": "mas-secret"});
    let created = cluster.rest.post("/instances", body).await?;
    let id = created["id"].as_str().context("id")?.to_owned();
    let view = status(cluster, &id, "failed").await?;
    ensure!(view["problems"][0]["node"] == 2, "{view}");
    let problem = view["problems"][0]["problem"].as_str().context("problem")?;
    ensure!(problem.contains("in use"), "{problem}");
    drop(taken);
    status(cluster, &id, "running").await?;
    delete(cluster, &id, "late").await
}

async fn killed(cluster: &mut DevCluster, shop: &Shop) -> Result<()> {
    for node in 1..=3 {
        cluster.signal(node, Signal::Kill)?;
    }
    for node in 1..=3 {
        cluster.restart(node).await?;
    }
    for node in 1..=3 {
        cluster.wait_ready(node, SLOW).await?;
    }
    eventually("the instance answers again", SLOW, async || {
        let mut client = Client::connect(&shop.user("root", "root-secret"), TIMEOUT).await?;
        Ok((client.get("colour").await?.kvs[0].value == "red").then_some(()))
    })
    .await
}

async fn password(cluster: &DevCluster, shop: &Shop) -> Result<()> {
    let body = json!({"user": "mas", "password": "replaced-secret"});
    let path = format!("/instances/{}/kv-password", shop.id);
    let answer = cluster.rest.request(Method::PUT, &path, Some(body), None).await?;
    ensure!(answer.status == 204, "{}", answer.body);
    ensure!(
        Client::connect(&shop.user("mas", "mas-secret"), REFUSED_WITHIN)
            .await
            .is_err()
    );
    Client::connect(&shop.user("mas", "replaced-secret"), TIMEOUT).await?;
    Ok(())
}

async fn deleted(cluster: &DevCluster, shop: &Shop) -> Result<()> {
    delete(cluster, &shop.id, "shop").await?;
    eventually("its ports are closed", SLOW, async || {
        let open = shop
            .endpoints
            .iter()
            .any(|endpoint| std::net::TcpStream::connect(endpoint).is_ok());
        Ok((!open).then_some(()))
    })
    .await
}

async fn delete(cluster: &DevCluster, id: &str, name: &str) -> Result<()> {
    let path = format!("/instances/{id}");
    let etag = cluster.rest.request(Method::GET, &path, None, None).await?.etag;
    let body = Some(json!({"name": name}));
    let answer = cluster.rest.request(Method::DELETE, &path, body, etag).await?;
    ensure!(answer.status == 204, "{}", answer.body);
    Ok(())
}
