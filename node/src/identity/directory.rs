//! The identity directory on disk.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use quorate_machine::Id;
use serde::{Deserialize, Serialize};

use super::{ClusterKey, IdentityError, IdentityFiles, NodeProfile};

/// Names of the files in an identity directory.
pub mod files {
    /// Which node of which cluster this is.
    pub const NODE: &str = "node.json";
    /// The key that secrets are sealed with (0600).
    pub const CLUSTER_KEY: &str = "cluster.key";
    /// The peers' authority.
    pub const PEER_CA: &str = "peer-ca.crt";
    /// Its key, sealed.
    pub const PEER_CA_KEY: &str = "peer-ca.key.sealed";
    /// This node's certificate between peers, its authority behind it.
    pub const PEER_CERT: &str = "peer.crt";
    /// The key that goes with it.
    pub const PEER_KEY: &str = "peer.key.pem";
    /// The names of the KV client bundle are fixed: SDKs look for exactly these.
    pub const KV_CA: &str = "ca.crt";
    /// The key of the first instance's authority, sealed.
    pub const KV_CA_KEY: &str = "ca.key.sealed";
    /// Server certificate of the KV endpoint.
    pub const KV_CERT: &str = "kv.crt";
    /// The key that goes with it.
    pub const KV_KEY: &str = "kv.key.pem";
    /// Client certificate of the bundle.
    pub const CLIENT_CERT: &str = "client.crt";
    /// The key that goes with it.
    pub const CLIENT_KEY: &str = "client.key.pem";
    /// The console's authority.
    pub const CONSOLE_CA: &str = "console-ca.crt";
    /// Its key, sealed.
    pub const CONSOLE_CA_KEY: &str = "console-ca.key.sealed";
    /// Server certificate of the console.
    pub const CONSOLE_CERT: &str = "console.crt";
    /// The key that goes with it.
    pub const CONSOLE_KEY: &str = "console.key.pem";
    /// Waits for the first `serve` of a new cluster, which proposes it and removes the file.
    pub const PENDING_BOOTSTRAP: &str = "bootstrap.pending";
    /// There until the node has started once: only then may its data directory be empty.
    pub const FIRST_START: &str = "first-start";
    /// Folder of the tokens that this node has handed out and that are unused.
    pub const JOIN_TOKENS: &str = "join-tokens";
}

/// `node.json`: which node of which cluster this is.
#[derive(Debug, Clone)]
pub struct NodeIdentity {
    pub version: u32,
    pub cluster_id: Id,
    /// The first instance.
    pub instance_id: Id,
    pub profile: NodeProfile,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeFile {
    version: u32,
    cluster_id: String,
    instance_id: String,
    node: NodeProfile,
}

impl NodeIdentity {
    /// Version of the file's format.
    pub const VERSION: u32 = 1;

    pub(super) fn to_json(&self) -> Vec<u8> {
        let file = NodeFile {
            version: self.version,
            cluster_id: self.cluster_id.to_string(),
            instance_id: self.instance_id.to_string(),
            node: self.profile.clone(),
        };
        serde_json::to_vec_pretty(&file).expect("plain fields become JSON")
    }

    fn parse(text: &[u8]) -> Result<Self, String> {
        let file: NodeFile = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if file.version != Self::VERSION {
            return Err(format!(
                "is of version {}; this program knows {}",
                file.version,
                Self::VERSION
            ));
        }
        let id = |text: &str| Id::parse(text).ok_or_else(|| format!("`{text}` is no id"));
        Ok(Self {
            version: file.version,
            cluster_id: id(&file.cluster_id)?,
            instance_id: id(&file.instance_id)?,
            profile: file.node,
        })
    }
}

/// An identity directory, existing or to be made.
#[derive(Debug, Clone)]
pub struct IdentityDirectory {
    path: PathBuf,
}

impl IdentityDirectory {
    /// The directory at `path`; nothing is looked at yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which node this is; [`IdentityError::Missing`] where there is no identity yet.
    pub fn node(&self) -> Result<NodeIdentity, IdentityError> {
        let file = self.path.join(files::NODE);
        match fs::read(&file) {
            Ok(text) => NodeIdentity::parse(&text).map_err(|problem| IdentityError::damaged(&file, problem)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(IdentityError::Missing {
                path: self.path.display().to_string(),
            }),
            Err(error) => Err(IdentityError::io(&file, error)),
        }
    }

    /// Refuses where an identity lies already.
    pub fn require_empty(&self) -> Result<(), IdentityError> {
        match self.node() {
            Err(IdentityError::Missing { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(node) => Err(IdentityError::Exists {
                path: self.path.display().to_string(),
                node_id: node.profile.node_id,
                cluster_id: node.cluster_id.to_string(),
            }),
        }
    }

    /// Makes the directory with all of `contents` at once: after a crash it is there whole or not at all.
    pub fn create(&self, contents: &IdentityFiles) -> Result<(), IdentityError> {
        self.require_empty()?;
        let parent = self
            .path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(|error| IdentityError::io(parent, error))?;
        let suffix = u64::from_be_bytes(super::random_bytes());
        let staging = parent.join(format!(".identity-{suffix:016x}"));
        let staged = (|| {
            fs::DirBuilder::new().mode(0o700).create(&staging)?;
            for (name, content) in contents {
                write_private(&staging.join(name), content)?;
            }
            fs::File::open(&staging)?.sync_all()?;
            // An empty directory may stand there (a package or an administrator made it); rename replaces it.
            fs::rename(&staging, &self.path)?;
            fs::File::open(parent)?.sync_all()
        })();
        staged.map_err(|error| {
            let _ = fs::remove_dir_all(&staging);
            IdentityError::io(&self.path, error)
        })
    }

    /// Contents of one of [`files`].
    pub fn read(&self, name: &str) -> Result<Vec<u8>, IdentityError> {
        let file = self.path.join(name);
        fs::read(&file).map_err(|error| IdentityError::io(&file, error))
    }

    /// Contents of one of [`files`] that is text.
    pub fn read_text(&self, name: &str) -> Result<String, IdentityError> {
        String::from_utf8(self.read(name)?).map_err(|_| IdentityError::damaged(&self.path.join(name), "is not text"))
    }

    /// The cluster's key; refused if others than its owner may read the file.
    pub fn cluster_key(&self) -> Result<ClusterKey, IdentityError> {
        use std::os::unix::fs::PermissionsExt;
        let file = self.path.join(files::CLUSTER_KEY);
        let mode = fs::metadata(&file)
            .map_err(|error| IdentityError::io(&file, error))?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            let problem = "others than its owner may read it: run `chmod 600` on it";
            return Err(IdentityError::damaged(&file, problem));
        }
        let text = zeroize::Zeroizing::new(self.read_text(files::CLUSTER_KEY)?);
        ClusterKey::parse(&text).ok_or_else(|| IdentityError::damaged(&file, "holds no cluster key"))
    }

    /// Writes one file (0600) in place of what was there.
    pub fn replace(&self, name: &str, content: &[u8]) -> Result<(), IdentityError> {
        write_atomically(&self.path.join(name), content)
            .map_err(|error| IdentityError::io(&self.path.join(name), error))
    }

    /// Removes one file; one that is not there is no error.
    pub fn remove(&self, name: &str) -> Result<(), IdentityError> {
        let file = self.path.join(name);
        match fs::remove_file(&file) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(IdentityError::io(&file, error)),
        }
    }
}

fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Replaces the file at `path` (mode 0600) by one with `content`: a reader sees the old or the new one, never a part.
pub fn write_atomically(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let staging = parent.join(format!(".{name}-{:016x}", u64::from_be_bytes(super::random_bytes())));
    let written = write_private(&staging, content).and_then(|()| fs::rename(&staging, path));
    if written.is_err() {
        let _ = fs::remove_file(&staging);
    }
    written?;
    fs::File::open(parent)?.sync_all()
}
