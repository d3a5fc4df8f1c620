//! The data directory of a node: its identity, its exclusive lock, and where everything lies.
//!
//! ```text
//! DIR/identity    cluster id, node id, incarnation
//! DIR/watermark   what this node has acknowledged
//! DIR/log/        the Raft log
//! DIR/snapshots/  snapshots of the state
//! DIR/fenced      why this node must not serve; usually missing
//! ```
//!
//! A directory without identity is not initialised: its node never votes in an existing cluster, it joins as a new one.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use quorate_machine::Id;
use rustix::fs::{FlockOperation, flock};

use super::engine::Acknowledged;
use super::sync_directory;
use super::watermark::Watermark;
use crate::codec::{self, DecodeError};

/// Who owns a data directory.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Identity {
    #[prost(message, required, tag = "1")]
    pub cluster_id: Id,
    /// Raft id; never reused within a cluster.
    #[prost(uint64, tag = "2")]
    pub node_id: u64,
    /// Rises with every opening of the directory: it tells two runs of the same node apart.
    #[prost(uint64, tag = "3")]
    pub incarnation: u64,
}

/// Why a data directory is unusable.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error("the data directory {0} is in use by another running node; give each node a directory of its own")]
    InUse(PathBuf),
    /// The identity is damaged.
    #[error("{path} is damaged: {reason}; restore it, or join the cluster again as a new node with an empty directory")]
    Damaged { path: PathBuf, reason: DecodeError },
    /// There is data of a node, but not whose.
    #[error("{0} is missing although the directory holds a log; restore it, or join again with an empty directory")]
    IdentityMissing(PathBuf),
    /// The identity is there, what this node has acknowledged is not: it may have voted and stored what it would forget.
    #[error(
        "{0} is missing, so nobody knows what this node has acknowledged and whom it voted for; restore the whole directory, \
         or join the cluster again as a new node with an empty one"
    )]
    WatermarkMissing(PathBuf),
    /// There is an identity already.
    #[error("the data directory {path} belongs to node {node_id} already; use an empty directory")]
    AlreadyInitialised { path: PathBuf, node_id: u64 },
    /// The file system refused.
    #[error("cannot use {path}: {reason}")]
    Io { path: PathBuf, reason: io::Error },
}

/// An open, locked data directory. The lock ends with the value or the process, however that ends.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    identity: Option<Identity>,
    /// Holds the lock.
    _lock: File,
}

/// Makes a directory that its owner alone may enter: log and snapshots hold what clients stored, and hashes of passwords.
fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

impl DataDir {
    /// Locks the directory, creating it if it is missing, and reads its identity. An identity found there gets its next
    /// incarnation, on disk before this returns.
    ///
    /// # Errors
    ///
    /// See [`DataDirError`]; a second node on the same directory gets [`DataDirError::InUse`].
    pub fn open(root: &Path) -> Result<Self, DataDirError> {
        let at = |path: &Path| {
            let path = path.to_path_buf();
            move |reason| DataDirError::Io { path, reason }
        };
        make_private(root).map_err(at(root))?;
        let lock = File::open(root).map_err(at(root))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => DataDirError::InUse(root.to_path_buf()),
            error => at(root)(error.into()),
        })?;
        let mut opened = Self {
            root: root.to_path_buf(),
            identity: None,
            _lock: lock,
        };
        let path = opened.identity_path();
        match fs::read(&path) {
            Ok(bytes) => {
                let mut identity: Identity =
                    codec::unframe(&bytes.into()).map_err(|reason| DataDirError::Damaged { path, reason })?;
                // Without it a log that was taken away would look like one that has yet to begin.
                if !opened.watermark().exists() {
                    return Err(DataDirError::WatermarkMissing(opened.watermark()));
                }
                identity.incarnation += 1;
                opened.write(identity)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if opened.log().exists() || !opened.acknowledges_nothing() {
                    return Err(DataDirError::IdentityMissing(path));
                }
            }
            Err(error) => return Err(at(&path)(error)),
        }
        Ok(opened)
    }

    /// Whose directory this is; `None` if it is not initialised.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Gives an uninitialised directory its identity, with incarnation 1, and makes the directories inside.
    ///
    /// # Errors
    ///
    /// [`DataDirError::AlreadyInitialised`]; I/O errors.
    pub fn initialise(&mut self, cluster_id: Id, node_id: u64) -> Result<(), DataDirError> {
        if let Some(identity) = &self.identity {
            return Err(DataDirError::AlreadyInitialised {
                path: self.root.clone(),
                node_id: identity.node_id,
            });
        }
        // Before the identity, which says from then on that there is one.
        Watermark::create(&self.watermark()).map_err(|error| DataDirError::Io {
            path: self.watermark(),
            reason: io::Error::other(error),
        })?;
        // Before the log: one without an identity is refused.
        self.write(Identity {
            cluster_id,
            node_id,
            incarnation: 1,
        })?;
        for path in [self.log(), self.snapshots()] {
            make_private(&path).map_err(|reason| DataDirError::Io { path, reason })?;
        }
        Ok(())
    }

    /// No watermark, or one as [`Self::initialise`] makes it: a crash came before the identity.
    fn acknowledges_nothing(&self) -> bool {
        let path = self.watermark();
        !path.exists() || Watermark::open(&path).is_ok_and(|watermark| watermark.found() == Acknowledged::default())
    }

    fn write(&mut self, identity: Identity) -> Result<(), DataDirError> {
        let path = self.identity_path();
        let temporary = self.root.join("identity.new");
        let replace = || -> io::Result<()> {
            let mut file = File::create(&temporary)?;
            file.write_all(&codec::frame(&identity))?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            sync_directory(&self.root)
        };
        replace().map_err(|reason| DataDirError::Io {
            path: path.clone(),
            reason,
        })?;
        self.identity = Some(identity);
        Ok(())
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `DIR/log`.
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// `DIR/snapshots`.
    pub fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// `DIR/watermark`.
    pub fn watermark(&self) -> PathBuf {
        self.root.join("watermark")
    }

    fn identity_path(&self) -> PathBuf {
        self.root.join("identity")
    }
}
