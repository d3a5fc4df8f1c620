//! The folder of a development cluster: made once, resumed afterwards.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ports::{MAX_PORT_OFFSET, NODES, NodePorts, source_address};
use super::{DevConsole, DevFile, DevKv, DevNode, DevUser};
use crate::config::NameServer;
use crate::identity::{
    Credentials, IdentityDirectory, IdentityError, NodeProfile, files, new_cluster, write_atomically,
};

/// Why a development cluster cannot start; every text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    #[error("{path}: {cause}")]
    Io { path: String, cause: std::io::Error },
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("{0} is in use by another `quorate dev`: stop that one, or give another --data-dir")]
    Locked(String),
    #[error(
        "{path} was made with --port-offset {made}; start it with that, not with {asked}, or give another --data-dir"
    )]
    OtherOffset { path: String, made: u16, asked: u16 },
    #[error("--port-offset: 0 to {MAX_PORT_OFFSET}, not {0}")]
    Offset(u16),
    #[error("{address} (the {purpose} port of node {node}) is in use: stop what listens there, or add --port-offset")]
    PortInUse {
        node: u64,
        purpose: &'static str,
        address: String,
    },
    #[error("{path} is damaged: {problem}; remove the folder to begin anew")]
    Damaged { path: String, problem: String },
    #[error("{0}")]
    Other(String),
}

impl DevError {
    pub(super) fn io(path: &Path, cause: std::io::Error) -> Self {
        Self::Io {
            path: path.display().to_string(),
            cause,
        }
    }
}

/// `cluster.json`: what a later start must know. Written last, so that its presence says that all else is whole.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClusterFile {
    version: u32,
    port_offset: u16,
    instance: String,
    console_root: String,
    kv_root: String,
    kv_sdk: String,
}

/// A development cluster's folder, held by this process.
pub struct DevCluster {
    directory: PathBuf,
    port_offset: u16,
    instance: String,
    credentials: Credentials,
    /// Held as long as this process drives the folder.
    _lock: fs::File,
}

impl DevCluster {
    /// Opens the cluster in `directory`, making it if there is none.
    pub fn open(directory: &Path, port_offset: u16) -> Result<Self, DevError> {
        if port_offset > MAX_PORT_OFFSET {
            return Err(DevError::Offset(port_offset));
        }
        fs::create_dir_all(directory).map_err(|error| DevError::io(directory, error))?;
        let directory = directory
            .canonicalize()
            .map_err(|error| DevError::io(directory, error))?;
        let lock = lock(&directory)?;
        let file = directory.join("cluster.json");
        let contents = match fs::read(&file) {
            Ok(contents) => contents,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => create(&directory, port_offset)?,
            Err(error) => return Err(DevError::io(&file, error)),
        };
        let known: ClusterFile = serde_json::from_slice(&contents).map_err(|error| DevError::Damaged {
            path: file.display().to_string(),
            problem: error.to_string(),
        })?;
        if known.port_offset != port_offset {
            let path = directory.display().to_string();
            return Err(DevError::OtherOffset {
                path,
                made: known.port_offset,
                asked: port_offset,
            });
        }
        Ok(Self {
            port_offset,
            instance: known.instance,
            credentials: Credentials {
                console_root: known.console_root,
                kv_root: known.kv_root,
                kv_sdk: known.kv_sdk,
            },
            directory,
            _lock: lock,
        })
    }

    /// The folder of node `node_id`.
    pub fn node_directory(&self, node_id: u64) -> PathBuf {
        self.directory.join(format!("node-{node_id}"))
    }

    /// Where `dev.json` is.
    pub fn dev_file_path(&self) -> PathBuf {
        self.directory.join("dev.json")
    }

    /// Refuses if anything listens on a port of the cluster.
    pub fn require_free_ports(&self) -> Result<(), DevError> {
        for node in 1..=NODES {
            for (purpose, address) in NodePorts::of(node, self.port_offset).all() {
                if TcpListener::bind(address).is_err() {
                    return Err(DevError::PortInUse {
                        node,
                        purpose,
                        address: address.to_string(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Writes the configuration file of every node, for this run's fault proxy and name servers.
    pub fn write_configurations(
        &self,
        log_filter: &str,
        fault_proxy: Option<std::net::SocketAddr>,
        dns_servers: &[NameServer],
    ) -> Result<(), DevError> {
        let servers: Vec<String> = dns_servers.iter().map(|server| server.0.to_string()).collect();
        for node in 1..=NODES {
            let ports = NodePorts::of(node, self.port_offset);
            let proxy = fault_proxy
                .map(|proxy| format!("fault_proxy = \"{proxy}\"\n"))
                .unwrap_or_default();
            let (zone, site) = place(node);
            let text = format!(
                "# Written by `quorate dev` at every start.\n\
                 data_dir = \"data\"\nidentity_dir = \"identity\"\n\n\
                 [node]\nname = \"node-{node}\"\nzone = \"{zone}\"\nsite = \"{site}\"\n\n\
                 [log]\nformat = \"json\"\nfilter = {log_filter:?}\n\n\
                 [peer]\nlisten = \"{}\"\n\n\
                 [kv]\nlisten = \"{}\"\nmutual_tls = false\nplaintext = true\n\n\
                 [console]\nlisten = \"{}\"\n\n\
                 [links]\nsource_address = \"{}\"\n{proxy}\n\
                 [dns]\nservers = {servers:?}\n\n\
                 [limits]\nminimum_free_bytes = {DEV_MINIMUM_FREE_BYTES}\nminimum_free_percent = 0\n",
                ports.peer,
                ports.kv,
                ports.console,
                source_address(node),
            );
            let file = self.node_directory(node).join("quorate.toml");
            write_atomically(&file, text.as_bytes()).map_err(|error| DevError::io(&file, error))?;
        }
        Ok(())
    }

    /// How node `node_id` is started.
    pub fn argv(&self, program: &Path, node_id: u64) -> Vec<String> {
        let config = self.node_directory(node_id).join("quorate.toml");
        [
            program.display().to_string(),
            "serve".to_string(),
            "--config".to_string(),
            config.display().to_string(),
        ]
        .into()
    }

    /// Contents of `dev.json` for processes with these ids (0: not running).
    pub fn dev_file(&self, program: &Path, pids: &[u32], faults: Option<String>) -> DevFile {
        let user = |user: &str, password: &str| DevUser {
            user: user.to_string(),
            password: password.to_string(),
        };
        let node = |id: u64| {
            let ports = NodePorts::of(id, self.port_offset);
            DevNode {
                id,
                name: format!("node-{id}"),
                zone: place(id).0.to_string(),
                pid: pids.get(id as usize - 1).copied().unwrap_or(0),
                argv: self.argv(program, id),
                data_dir: self.node_directory(id).join("data"),
                kv: ports.kv.to_string(),
                peer: ports.peer.to_string(),
                console: format!("https://{}", ports.console),
                log: self.log_path(id),
            }
        };
        let identity = self.node_directory(1).join("identity");
        DevFile {
            version: DevFile::VERSION,
            nodes: (1..=NODES).map(node).collect(),
            kv: DevKv {
                root: user("root", &self.credentials.kv_root),
                sdk: user("mas", &self.credentials.kv_sdk),
                ca: identity.join(files::KV_CA),
                cert: identity.join(files::CLIENT_CERT),
                key: identity.join(files::CLIENT_KEY),
            },
            console: DevConsole {
                user: "root".to_string(),
                password: self.credentials.console_root.clone(),
                ca: identity.join(files::CONSOLE_CA),
            },
            instance: self.instance.clone(),
            faults,
        }
    }

    /// File that the log lines of node `node_id` go to.
    pub fn log_path(&self, node_id: u64) -> PathBuf {
        self.node_directory(node_id).join("quorate.log")
    }

    /// Peer address → node name, for the fault proxy.
    pub fn peer_names(&self) -> std::collections::BTreeMap<String, String> {
        (1..=NODES)
            .map(|node| {
                (
                    NodePorts::of(node, self.port_offset).peer.to_string(),
                    format!("node-{node}"),
                )
            })
            .collect()
    }
}

/// A development machine's disk may be small and full; a gigabyte is a production reserve.
const DEV_MINIMUM_FREE_BYTES: u64 = 128 * 1024 * 1024;

/// (zone, site) of a node.
fn place(node_id: u64) -> (&'static str, &'static str) {
    match node_id {
        1 => ("az1", "dc1"),
        2 => ("az2", "dc2"),
        _ => ("az3", "arbiter"),
    }
}

fn lock(directory: &Path) -> Result<fs::File, DevError> {
    let path = directory.join("dev.lock");
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| DevError::io(&path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(DevError::Locked(directory.display().to_string())),
        Err(fs::TryLockError::Error(error)) => Err(DevError::io(&path, error)),
    }
}

/// Makes identities, passwords and, last, `cluster.json`; gives its contents.
fn create(directory: &Path, port_offset: u16) -> Result<Vec<u8>, DevError> {
    let node_directory = |node: u64| directory.join(format!("node-{node}"));
    for node in 1..=NODES {
        if node_directory(node).join("data").exists() {
            let problem = "it holds a node's data but no cluster.json".to_string();
            return Err(DevError::Damaged {
                path: directory.display().to_string(),
                problem,
            });
        }
        // Left by a start that was interrupted before the cluster ever ran.
        let identity = node_directory(node).join("identity");
        match fs::remove_dir_all(&identity) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(DevError::io(&identity, error)),
            _ => {}
        }
    }
    let profiles: Vec<NodeProfile> = (1..=NODES)
        .map(|node_id| {
            let ports = NodePorts::of(node_id, port_offset);
            let (zone, site) = place(node_id);
            NodeProfile {
                node_id,
                name: format!("node-{node_id}"),
                zone: zone.to_string(),
                site: site.to_string(),
                peer: ports.peer.to_string(),
                kv: ports.kv.to_string(),
                console: ports.console.to_string(),
                hosts: Vec::new(),
            }
        })
        .collect();
    let credentials = Credentials::generate();
    let (authority, nodes) = new_cluster(&profiles, &credentials)?;
    for (node, contents) in (1..).zip(&nodes) {
        IdentityDirectory::new(node_directory(node).join("identity")).create(contents)?;
    }
    let contents = serde_json::to_vec_pretty(&ClusterFile {
        version: 1,
        port_offset,
        instance: authority.instance_id.to_string(),
        console_root: credentials.console_root,
        kv_root: credentials.kv_root,
        kv_sdk: credentials.kv_sdk,
    })
    .expect("plain fields become JSON");
    let file = directory.join("cluster.json");
    write_atomically(&file, &contents).map_err(|error| DevError::io(&file, error))?;
    Ok(contents)
}
