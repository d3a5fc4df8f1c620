//! Connections to the KV endpoint of a development cluster.

use std::path::Path;

use anyhow::{Context, Result};

use crate::cluster::DevInfo;
use crate::etcd::ConnectOptions;

/// As the KV user `root`, over TLS.
pub fn as_root(info: &DevInfo, endpoint: &str) -> Result<ConnectOptions> {
    let user = &info.kv.root;
    Ok(ConnectOptions {
        endpoint: endpoint.to_owned(),
        user: Some((user.user.clone(), user.password.clone())),
        ca: Some(read(&info.kv.ca)?),
    })
}

/// As the KV user of the SDKs, over TLS.
pub fn as_sdk(info: &DevInfo, endpoint: &str) -> Result<ConnectOptions> {
    let user = &info.kv.sdk;
    Ok(ConnectOptions {
        user: Some((user.user.clone(), user.password.clone())),
        ..as_root(info, endpoint)?
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{}", path.display()))
}
