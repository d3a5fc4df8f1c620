//! Files of the Java SDKs.

use super::tree::Tree;
use super::{RETRY_DELAY_MS, RETRY_TIMES, SdkProperties, SdkSourceView, word};

/// The file of a kind.
pub(super) fn file(kind: &str, properties: &SdkProperties) -> Tree {
    let mut file = Tree::default();
    file.add("props.version", "v1");
    file.add("props.appId", &properties.app_id);
    file.add("props.monitorId", &properties.monitor_id);
    if !properties.database_name.is_empty() {
        file.add("props.databaseName", &properties.database_name);
    }
    file.etcd(properties);
    match kind {
        "redis" | "elasticsearch" => {
            let separator = if kind == "redis" { "," } else { ";" };
            file.servers(&format!("{kind}.servers"), properties, separator);
            file.add("routeAlgorithm", &properties.routing);
            file.add("active", word(properties.active));
        }
        _ => {
            sources(&mut file, kind, properties);
            router(&mut file, properties);
        }
    }
    file
}

fn sources(file: &mut Tree, kind: &str, properties: &SdkProperties) {
    let nodes = properties.nodes.iter();
    for source in nodes.flat_map(|node| node.master.iter().chain(&node.slaves)) {
        let mut add = |name: &str, value: &str| file.add(&format!("datasource.{}.{name}", source.name), value);
        add("url", &url(kind, source));
        add("username", "${DATABASE_USER}");
        add("password", "${DATABASE_PASSWORD}");
    }
}

/// The address as the kind's own driver for Java takes it.
fn url(kind: &str, source: &SdkSourceView) -> String {
    let (address, schema) = (&source.address, &source.schema);
    match kind {
        "oracle" => format!("jdbc:oracle:thin:@//{address}/{schema}"),
        "mongodb" => format!("mongodb://{address}/{schema}"),
        // mysql, postgresql
        kind => format!("jdbc:{kind}://{address}/{schema}"),
    }
}

fn router(file: &mut Tree, properties: &SdkProperties) {
    file.add("router.active", word(properties.active));
    file.add("router.routeAlgorithm", &properties.routing);
    file.add("router.retry.times", RETRY_TIMES);
    file.add("router.retry.delay", RETRY_DELAY_MS);
    for node in &properties.nodes {
        let mut add = |name: &str, value: &str| file.add(&format!("router.nodes.{}.{name}", word(node.name)), value);
        add("master", node.master.as_ref().map_or("", |master| &master.name));
        add("loadBalance", &node.load_balance);
        let slaves: Vec<&str> = node.slaves.iter().map(|slave| slave.name.as_str()).collect();
        add("slaves", &slaves.join(","));
    }
}
