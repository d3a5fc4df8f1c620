//! The authority of a further instance: its certificate and sealed key are replicated, so that every node can issue from it.
//!
//! The first instance's authority is not here: it lies in the identity directories, because it is there before any state.

use std::sync::Arc;

use quorate_console_api::ClientFiles;
use quorate_etcd_api::certificate_expiry_seconds;
use quorate_machine::{Id, Instance, Sealed};
use rcgen::{ExtendedKeyUsagePurpose, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::authority::{Issuing, NodeProfile};
use super::tls::kv_protocols;
use super::{ClusterKey, IdentityDirectory, IdentityError, files};

/// Issues the certificates of one instance.
pub struct InstanceAuthority {
    issuing: Issuing,
}

impl InstanceAuthority {
    /// A new instance's authority: its certificate, and its key sealed for the instance.
    pub fn generate(instance: Id, key: &ClusterKey) -> Result<(String, Sealed), IdentityError> {
        let issuing = Issuing::generate(&format!("Quorate instance {instance}"))?;
        let sealed = key.seal(instance, Instance::KV_CA_KEY, 1, issuing.key.serialize_pem().as_bytes());
        Ok((issuing.certificate, sealed))
    }

    /// The authority of a further instance.
    pub fn open(instance: &Instance, key: &ClusterKey) -> Result<Self, IdentityError> {
        let broken = |problem: String| IdentityError::Authority {
            instance: instance.name.clone(),
            problem,
        };
        let Some(sealed) = &instance.kv_ca_key else {
            return Err(broken("it has no key in the state".to_owned()));
        };
        let opened = key.unseal(instance.meta.id, Instance::KV_CA_KEY, sealed);
        let opened = opened.map_err(|error| broken(error.to_string()))?;
        let text = std::str::from_utf8(&opened).map_err(|_| broken("its key is no text".to_owned()))?;
        Ok(Self {
            issuing: Issuing {
                certificate: instance.kv_ca.clone(),
                key: KeyPair::from_pem(text)?,
            },
        })
    }

    /// TLS of the instance's port on a node, and the second since 1970 at which the certificate ends.
    pub fn server_config(
        &self,
        profile: &NodeProfile,
        mutual_tls: bool,
    ) -> Result<(Arc<ServerConfig>, i64), IdentityError> {
        let names = profile.server_names();
        let purposes = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let (certificate, key) = self.issuing.issue(&profile.name, names, purposes)?;
        let certificate = pem_certificate(&certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("rcgen writes PEM");
        let builder = ServerConfig::builder();
        let builder = if mutual_tls {
            let mut roots = RootCertStore::empty();
            roots.add(pem_certificate(&self.issuing.certificate)?)?;
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| IdentityError::Join(error.to_string()))?)
        } else {
            builder.with_no_client_auth()
        };
        let expiry = certificate_expiry_seconds(&certificate).unwrap_or_default();
        let mut config = builder.with_single_cert(vec![certificate], key)?;
        config.alpn_protocols = kv_protocols();
        Ok((Arc::new(config), expiry))
    }

    /// A new client certificate of the instance (A5.2).
    pub fn client_files(&self) -> Result<ClientFiles, IdentityError> {
        let (certificate, key) = self.issuing.issue_client()?;
        Ok(ClientFiles {
            ca: self.issuing.certificate.clone(),
            certificate,
            key,
        })
    }
}

/// The first instance's client files, as they lie in the identity directory.
pub fn first_client_files(directory: &IdentityDirectory) -> Result<ClientFiles, IdentityError> {
    Ok(ClientFiles {
        ca: directory.read_text(files::KV_CA)?,
        certificate: directory.read_text(files::CLIENT_CERT)?,
        key: directory.read_text(files::CLIENT_KEY)?,
    })
}

fn pem_certificate(pem: &str) -> Result<CertificateDer<'static>, IdentityError> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| IdentityError::Tls(rustls::Error::General(error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(key: &ClusterKey, number: u128) -> Instance {
        let id = Id::from_u128(number);
        let (kv_ca, sealed) = InstanceAuthority::generate(id, key).expect("generated");
        Instance {
            meta: quorate_machine::Meta {
                id,
                ..Default::default()
            },
            name: format!("i{number}"),
            ordinal: 2,
            kv_ca,
            kv_ca_key: Some(sealed),
            ..Instance::default()
        }
    }

    #[test]
    fn an_authority_opens_with_its_key_and_for_its_instance_alone() {
        let key = ClusterKey::generate();
        let (one, mut other) = (instance(&key, 1), instance(&key, 2));
        let authority = InstanceAuthority::open(&one, &key).expect("opened");
        let files = authority.client_files().expect("issued");
        assert_eq!(files.ca, one.kv_ca);
        assert!(files.key.contains("PRIVATE KEY"));
        assert!(InstanceAuthority::open(&one, &ClusterKey::generate()).is_err());
        // A key that was moved to another instance is refused: it is sealed for its own.
        other.kv_ca_key = one.kv_ca_key.clone();
        assert!(InstanceAuthority::open(&other, &key).is_err());
    }
}
