//! A real etcd, and etcd's tools, to compare with.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use quorate_etcd_api::pb::etcdserverpb as pb;
use tonic::transport::{Channel, Endpoint};

use crate::support::{Login, PATIENCE, authenticate};

/// A program of the cache that `cargo xtask setup --peers` fills.
pub fn program(name: &str) -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    let path = cache.expect("HOME").join("quorate/etcd-v3.6.16").join(name);
    assert!(path.is_file(), "there is no {name}: run `cargo xtask setup --peers`");
    path
}

/// Runs a tool of etcd; it must succeed. Gives what it printed.
pub fn run(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(program(name)).args(arguments).output().expect("it starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {told}");
    String::from_utf8(output.stdout).expect("text")
}

/// A running etcd; it ends when dropped.
pub struct RealEtcd {
    process: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("free port");
    listener.local_addr().expect("address")
}

impl RealEtcd {
    /// An empty one.
    pub async fn start() -> RealEtcd {
        RealEtcd::start_on(|_, _| {}).await
    }

    /// One restored from a snapshot, with etcd's own tool.
    pub async fn restored(snapshot: &Path) -> RealEtcd {
        RealEtcd::start_on(|data, peer| {
            let arguments = [
                "snapshot",
                "restore",
                snapshot.to_str().expect("text"),
                "--data-dir",
                data.to_str().expect("text"),
                "--initial-cluster",
                &format!("default={peer}"),
                "--initial-advertise-peer-urls",
                peer,
            ];
            run("etcdutl", &arguments);
        })
        .await
    }

    async fn start_on(prepare: impl FnOnce(&Path, &str)) -> RealEtcd {
        let directory = tempfile::tempdir().expect("temporary directory");
        let data = directory.path().join("data");
        let address = free_address();
        let (client, peer) = (format!("http://{address}"), format!("http://{}", free_address()));
        prepare(&data, &peer);
        let log = std::fs::File::create(directory.path().join("log")).expect("log");
        let process = Command::new(program("etcd"))
            .arg("--data-dir")
            .arg(&data)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("etcd starts");
        let real = RealEtcd {
            process,
            address,
            _directory: directory,
        };
        real.until_it_serves().await;
        real
    }

    async fn until_it_serves(&self) {
        let serves = async {
            loop {
                let channel = Endpoint::from_shared(format!("http://{}", self.address)).expect("endpoint");
                if let Ok(channel) = channel.connect().await {
                    let mut kv = pb::kv_client::KvClient::new(channel);
                    let request = pb::RangeRequest {
                        key: "k".into(),
                        ..Default::default()
                    };
                    match kv.range(request).await {
                        Ok(_) => return,
                        // It serves, and wants a login.
                        Err(status) if status.message().contains("user name is empty") => return,
                        Err(_) => {}
                    }
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let served = tokio::time::timeout(PATIENCE, serves).await;
        let log = || std::fs::read_to_string(self._directory.path().join("log")).unwrap_or_default();
        assert!(served.is_ok(), "etcd does not serve: {}", log());
    }

    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).expect("endpoint");
        endpoint.timeout(PATIENCE).connect().await.expect("connection")
    }

    /// Without a user, or as one.
    pub async fn login(&self, user: Option<(&str, &str)>) -> Login {
        let channel = self.channel().await;
        let token = match user {
            Some((user, password)) => Some(authenticate(channel.clone(), user, password).await.expect("login")),
            None => None,
        };
        Login::new(channel, token.as_deref())
    }
}

impl Drop for RealEtcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Compares the content, byte for byte: etcd's own hash over everything readable, at the newest revision.
pub async fn hash(login: &mut Login) -> pb::HashKvResponse {
    let hash = login.maintenance.hash_kv(pb::HashKvRequest::default()).await;
    let mut hash = hash.expect("hash").into_inner();
    let header = hash.header.take().expect("header");
    assert_eq!(header.revision, hash.hash_revision);
    hash
}
