//! Files of the Go SDK (`sql-driver/mysql`, `redis`).

use std::fmt::Write;

use super::tree::Tree;
use super::{RETRY_DELAY_MS, RETRY_TIMES, SdkProperties, quoted, word};

/// The file of a kind that the Go SDK knows. Every scalar is quoted: a JSON string is a YAML scalar, whatever it holds.
pub(super) fn file(kind: &str, properties: &SdkProperties) -> Option<String> {
    match kind {
        "mysql" => Some(mysql(properties)),
        "redis" => Some(redis(properties)),
        _ => None,
    }
}

/// `redis`: without `nearest` the SDK finds the side whose cloud, region and zones equal those in `props`.
fn redis(properties: &SdkProperties) -> String {
    let mut file = Tree::default();
    file.add("props.version", "v1");
    file.add("props.appId", &properties.app_id);
    file.add("props.monitorId", &properties.monitor_id);
    for name in ["cloud", "region", "azs"] {
        file.add(&format!("props.{name}"), "");
    }
    file.etcd(properties);
    file.add("redis.redisGroupName", &properties.monitor_id);
    file.servers("redis.servers", properties, ",");
    file.add("routeAlgorithm", &properties.routing);
    file.add("active", word(properties.active));
    file.yaml()
}

fn mysql(properties: &SdkProperties) -> String {
    let mut yaml = String::new();
    write_mysql(&mut yaml, properties).expect("a String takes every write");
    yaml
}

fn write_mysql(yaml: &mut String, properties: &SdkProperties) -> std::fmt::Result {
    writeln!(yaml, "props:")?;
    writeln!(yaml, "  version: \"v1\"")?;
    writeln!(yaml, "  appId: {}", quoted(&properties.app_id))?;
    writeln!(yaml, "  monitorId: {}", quoted(&properties.monitor_id))?;
    writeln!(yaml, "  databaseName: {}", quoted(&properties.database_name))?;
    writeln!(yaml, "etcd:")?;
    writeln!(yaml, "  address: {}", quoted(&properties.endpoints.join(",")))?;
    writeln!(yaml, "  apiVersion: \"v3\"")?;
    writeln!(yaml, "  username: {}", quoted(&properties.kv_user))?;
    writeln!(yaml, "  password: \"${{{}}}\"", properties.kv_password_variable)?;
    writeln!(yaml, "  httpsEnable: {}", properties.https_enable)?;
    writeln!(yaml, "  caCert: {}", quoted(&properties.ca_file))?;
    writeln!(yaml, "  clientCert: {}", quoted(&properties.cert_file))?;
    writeln!(yaml, "  clientKey: {}", quoted(&properties.key_file))?;
    write_sources(yaml, properties)?;
    writeln!(yaml, "router:")?;
    writeln!(yaml, "  active: {}", quoted(word(properties.active)))?;
    writeln!(yaml, "  routeAlgorithm: {}", quoted(&properties.routing))?;
    writeln!(yaml, "  retry:")?;
    writeln!(yaml, "    times: {}", quoted(RETRY_TIMES))?;
    writeln!(yaml, "    delay: {}", quoted(RETRY_DELAY_MS))?;
    writeln!(yaml, "  nodes:")?;
    for node in &properties.nodes {
        writeln!(yaml, "    {}:", quoted(word(node.name)))?;
        let master = node.master.as_ref().map_or("", |master| &master.name);
        writeln!(yaml, "      master: {}", quoted(master))?;
        writeln!(yaml, "      loadBalance: {}", quoted(&node.load_balance))?;
        let slaves: Vec<String> = node.slaves.iter().map(|slave| quoted(&slave.name)).collect();
        writeln!(yaml, "      slaves: [{}]", slaves.join(", "))?;
    }
    Ok(())
}

fn write_sources(yaml: &mut String, properties: &SdkProperties) -> std::fmt::Result {
    writeln!(yaml, "datasource:")?;
    let sources = properties
        .nodes
        .iter()
        .flat_map(|node| node.master.iter().chain(&node.slaves));
    for source in sources {
        writeln!(yaml, "  {}:", quoted(&source.name))?;
        writeln!(
            yaml,
            "    url: {}",
            quoted(&format!("tcp({})/{}", source.address, source.schema))
        )?;
        writeln!(yaml, "    username: \"${{DATABASE_USER}}\"")?;
        writeln!(yaml, "    password: \"${{DATABASE_PASSWORD}}\"")?;
    }
    Ok(())
}
