//! The first node of a new cluster: authorities, passwords, and the command that the cluster starts with.
//!
//! Nothing is proposed here. The command waits in the identity directory; the first `serve` initialises consensus, proposes it
//! and removes the file. A crash anywhere in between leaves either no identity or one whose `serve` goes on.

use argon2::password_hash::{PasswordHasher, SaltString};
use prost::Message;
use quorate_machine::{Bootstrap, FEATURE_POINTS, NodeRecord};

use super::directory::files;
use super::{
    Authority, IdentityDirectory, IdentityError, IdentityFiles, NodeProfile, new_id, random_bytes, random_password,
};

/// Cost of the KV users' bcrypt hashes: etcd's default.
const BCRYPT_COST: u32 = 10;

/// Passwords of a new cluster, shown once.
#[derive(Clone)]
pub struct Credentials {
    /// Console user `root`.
    pub console_root: String,
    /// KV user `root`.
    pub kv_root: String,
    /// KV user `mas`, which reads `/mas-monitor/`.
    pub kv_sdk: String,
}

impl Credentials {
    /// New random passwords.
    pub fn generate() -> Self {
        Self {
            console_root: random_password(),
            kv_root: random_password(),
            kv_sdk: random_password(),
        }
    }
}

/// The command that waits for the first `serve`.
pub struct PendingBootstrap(pub Bootstrap);

impl PendingBootstrap {
    /// The one that lies in `directory`, if any.
    pub fn read(directory: &IdentityDirectory) -> Result<Option<Self>, IdentityError> {
        let path = directory.path().join(files::PENDING_BOOTSTRAP);
        match std::fs::read(&path) {
            Ok(bytes) => Bootstrap::decode(bytes.as_slice())
                .map(|bootstrap| Some(Self(bootstrap)))
                .map_err(|error| IdentityError::damaged(&path, error.to_string())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(IdentityError::io(&path, error)),
        }
    }

    /// Removes the file: the cluster has been bootstrapped.
    pub fn finish(directory: &IdentityDirectory) -> Result<(), IdentityError> {
        directory.remove(files::PENDING_BOOTSTRAP)
    }
}

/// Makes a new cluster of `profiles`: the files of each node's identity directory, the first node's with the pending bootstrap.
pub fn new_cluster(
    profiles: &[NodeProfile],
    credentials: &Credentials,
) -> Result<(Authority, Vec<IdentityFiles>), IdentityError> {
    let authority = Authority::generate()?;
    let command = Bootstrap {
        cluster_id: authority.cluster_id,
        nodes: profiles.iter().map(node_record).collect(),
        module_id: new_id(),
        namespace_id: new_id(),
        instance_id: authority.instance_id,
        root_user_id: new_id(),
        root_password_hash: hash_console_password(&credentials.console_root)?,
        kv_root_password_hash: hash_kv_password(&credentials.kv_root)?,
        kv_sdk_password_hash: hash_kv_password(&credentials.kv_sdk)?,
        // Everything this version can monitor; namespaces untick what they do not want.
        feature_points: FEATURE_POINTS.map(str::to_owned).to_vec(),
    };
    let mut nodes = profiles
        .iter()
        .map(|profile| authority.issue_node(profile))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(first) = nodes.first_mut() {
        first.insert(files::PENDING_BOOTSTRAP.to_string(), command.encode_to_vec());
    }
    Ok((authority, nodes))
}

/// `quorate bootstrap`: writes the first node's identity and gives the passwords to show.
pub fn bootstrap(directory: &IdentityDirectory, profile: &NodeProfile) -> Result<Credentials, IdentityError> {
    directory.require_empty()?;
    let credentials = Credentials::generate();
    let (_, nodes) = new_cluster(std::slice::from_ref(profile), &credentials)?;
    directory.create(&nodes[0])?;
    Ok(credentials)
}

/// Shows the passwords of a new cluster, once.
pub fn print_credentials(credentials: &Credentials) {
    println!("console  user root  password {}", credentials.console_root);
    println!("KV       user root  password {}", credentials.kv_root);
    println!(
        "KV       user mas   password {}   (SDKs; reads /mas-monitor/)",
        credentials.kv_sdk
    );
}

/// The registry's record of a node.
pub(crate) fn node_record(profile: &NodeProfile) -> NodeRecord {
    NodeRecord {
        id: profile.node_id,
        name: profile.name.clone(),
        zone: profile.zone.clone(),
        peer: profile.peer.clone(),
        kv: profile.kv.clone(),
        console: profile.console.clone(),
        site: profile.site.clone(),
        learner: false,
    }
}

fn hash_console_password(password: &str) -> Result<String, IdentityError> {
    let salt = SaltString::encode_b64(&random_bytes::<16>()).map_err(|error| IdentityError::Hash(error.to_string()))?;
    argon2::Argon2::default()
        .hash_password(password.as_bytes(), &salt)
        .map(|hash| hash.to_string())
        .map_err(|error| IdentityError::Hash(error.to_string()))
}

pub(crate) fn hash_kv_password(password: &str) -> Result<bytes::Bytes, IdentityError> {
    let parts = bcrypt::hash_with_salt(password, BCRYPT_COST, random_bytes::<16>())
        .map_err(|error| IdentityError::Hash(error.to_string()))?;
    // The version that etcd writes, so that snapshots travel both ways.
    Ok(parts.format_for_version(bcrypt::Version::TwoA).into_bytes().into())
}
