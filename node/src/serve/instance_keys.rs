//! What the node lends to the console for instances: password hashes, authorities, client certificates.

use bytes::Bytes;
use quorate_console_api::{ClientFiles, EdgeFuture, InstanceKeys, InstanceSecrets, KvPasswords};
use quorate_machine::{Id, Instance};

use crate::identity::{
    ClusterKey, IdentityDirectory, IdentityError, InstanceAuthority, first_client_files, hash_kv_password,
};

/// Works with the cluster's key and this node's identity.
#[derive(Clone)]
pub struct NodeInstanceKeys {
    pub key: ClusterKey,
    pub directory: IdentityDirectory,
}

impl InstanceKeys for NodeInstanceKeys {
    fn make(&self, instance: Id, passwords: KvPasswords) -> EdgeFuture<Result<InstanceSecrets, String>> {
        let key = self.key.clone();
        beside(move || {
            let (kv_ca, kv_ca_key) = InstanceAuthority::generate(instance, &key)?;
            Ok(InstanceSecrets {
                kv_root_password_hash: hash_kv_password(&passwords.root)?,
                kv_sdk_password_hash: hash_kv_password(&passwords.sdk)?,
                kv_ca,
                kv_ca_key,
            })
        })
    }

    fn hash(&self, password: String) -> EdgeFuture<Result<Bytes, String>> {
        beside(move || hash_kv_password(&password))
    }

    fn client_files(&self, instance: &Instance) -> EdgeFuture<Result<ClientFiles, String>> {
        let (keys, instance) = (self.clone(), instance.clone());
        beside(move || match instance.ordinal {
            1 => first_client_files(&keys.directory),
            _ => InstanceAuthority::open(&instance, &keys.key)?.client_files(),
        })
    }
}

/// bcrypt and key generation take long: beside the threads that answer.
fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, IdentityError> + Send + 'static,
) -> EdgeFuture<Result<T, String>> {
    Box::pin(async move {
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    })
}
