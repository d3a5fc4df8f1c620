//! Real etcd 3.6, beside which the endpoint is compared.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::http::get;
use crate::support::PATIENCE;

/// A running member; it ends when dropped.
pub struct RealEtcd {
    pub address: SocketAddr,
    process: Child,
    _data: tempfile::TempDir,
}

/// etcd from `QUORATE_ETCD`, else from the cache that `cargo xtask setup --peers` fills.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("QUORATE_ETCD") {
        return PathBuf::from(path);
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let path = cache
        .or(home)
        .expect("a home directory")
        .join("quorate/etcd-v3.6.16/etcd");
    assert!(
        path.is_file(),
        "there is no etcd: run `cargo xtask setup --peers`, or set QUORATE_ETCD"
    );
    path
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("free port");
    listener.local_addr().expect("address")
}

impl RealEtcd {
    pub async fn start() -> RealEtcd {
        let data = tempfile::tempdir().expect("temporary directory");
        let (address, peer) = (free_address(), free_address());
        let process = Command::new(binary())
            .arg("--data-dir")
            .arg(data.path())
            .args(["--listen-client-urls", &format!("http://{address}")])
            .args(["--advertise-client-urls", &format!("http://{address}")])
            .args(["--listen-peer-urls", &format!("http://{peer}")])
            .args(["--initial-advertise-peer-urls", &format!("http://{peer}")])
            .args(["--initial-cluster", &format!("default=http://{peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd starts");
        let etcd = RealEtcd {
            address,
            process,
            _data: data,
        };
        let ready = async {
            while tokio::net::TcpStream::connect(address).await.is_err() || get(address, "/health").await.status != 200
            {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ready)
            .await
            .expect("etcd serves in time");
        etcd
    }
}

impl Drop for RealEtcd {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
