//! Who this node is: certificates, `cluster.key`, the sealing of secrets, and how a node comes by them.
//!
//! The identity directory is made whole or not at all: its files are written beside it and moved into place by one rename.
//! It holds no replicated state. `quorate bootstrap` makes the first node's, `quorate join` fetches a further node's, and
//! `quorate serve` refuses to start without.

mod authority;
mod bootstrap;
mod directory;
mod instance;
mod join;
mod sealing;
mod tls;
mod token;

pub use authority::{Authority, NodeProfile};
pub use bootstrap::{Credentials, PendingBootstrap, bootstrap, new_cluster, print_credentials};
pub(crate) use bootstrap::{hash_kv_password, node_record};
pub use directory::{IdentityDirectory, NodeIdentity, files, write_atomically};
pub use instance::{InstanceAuthority, first_client_files};
pub use join::{JoinDesk, Registrar, join};
pub use sealing::{ClusterKey, UnsealError};
pub use tls::{console_server_config, kv_certificate, kv_server_config};
pub use token::JoinToken;

/// Contents of an identity directory by file name.
pub type IdentityFiles = std::collections::BTreeMap<String, Vec<u8>>;

/// What can go wrong with a node's identity; every text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error(
        "{path} has no identity of a node: run `quorate bootstrap` on the first node or `quorate join` on a further one"
    )]
    Missing { path: String },
    #[error("{path} already holds the identity of node {node_id} of cluster {cluster_id}; nothing was changed")]
    Exists {
        path: String,
        node_id: u64,
        cluster_id: String,
    },
    #[error("{path}: {problem}")]
    Damaged { path: String, problem: String },
    #[error("{path}: {cause}")]
    Io { path: String, cause: std::io::Error },
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the join token {0}")]
    Token(&'static str),
    #[error("{0}")]
    Join(String),
    #[error("the bootstrap was refused: {0}")]
    BootstrapRefused(&'static str),
    #[error("the authority of instance {instance} cannot be used: {problem}")]
    Authority { instance: String, problem: String },
    #[error("cannot hash a password: {0}")]
    Hash(String),
}

impl IdentityError {
    fn io(path: &std::path::Path, cause: std::io::Error) -> Self {
        Self::Io {
            path: path.display().to_string(),
            cause,
        }
    }

    fn damaged(path: &std::path::Path, problem: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.display().to_string(),
            problem: problem.into(),
        }
    }
}

/// Fills `N` bytes from the operating system's generator.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}

/// A password that people can copy: 24 characters without lookalikes, 137 bits.
pub(crate) fn random_password() -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";
    const PASSWORD_CHARACTERS: usize = 24;
    let mut password = String::with_capacity(PASSWORD_CHARACTERS);
    while password.len() < PASSWORD_CHARACTERS {
        let [byte] = random_bytes::<1>();
        // Bytes past the last full round of the alphabet would favour its first letters.
        if usize::from(byte) < 256 / ALPHABET.len() * ALPHABET.len() {
            password.push(char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
        }
    }
    password
}

/// A new object id (UUIDv7).
pub(crate) fn new_id() -> quorate_machine::Id {
    quorate_machine::Id::from_u128(uuid::Uuid::now_v7().as_u128())
}
