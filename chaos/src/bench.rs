//! Measurements: each starts its own cluster, prints medians and p99, and judges nothing by a timed test.
//!
//! Figures are comparable only within one run on one machine; where a peer exists it is measured in the same run.

pub mod application;
pub mod detection;
pub mod failover;
pub mod idle;
pub mod kv;
pub mod leader_loss;
mod load;
pub mod monitors;
mod paced;
mod peers;

use std::path::PathBuf;

use anyhow::Result;
use tempfile::TempDir;

use crate::cluster::DevCluster;
use crate::ports;

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The appliance's binary, release profile.
    pub quorate: PathBuf,
    /// Directory of real etcd.
    pub etcd: PathBuf,
}

/// A directory that database servers, which run as an ordinary user, can search.
pub fn directory() -> Result<TempDir> {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::Builder::new().prefix("quorate-bench-").tempdir()?;
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755))?;
    std::fs::create_dir_all(directory.path().join("databases"))?;
    Ok(directory)
}

pub(crate) async fn cluster(programs: &Programs, directory: &TempDir) -> Result<DevCluster> {
    DevCluster::start(
        &programs.quorate,
        &directory.path().join("cluster"),
        ports::take()?,
        &[],
    )
    .await
}
