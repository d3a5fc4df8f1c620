//! The cluster's certificate authorities and what they issue.
//!
//! Three authorities that do not know each other: peers, the first instance's KV endpoint, the console. Who holds a
//! certificate of one reaches nothing of another. Their keys are stored sealed with `cluster.key`, on every node, so that any
//! node can admit a further one.

use quorate_machine::{Id, Sealed};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};

use super::directory::{NodeIdentity, files};
use super::{ClusterKey, IdentityDirectory, IdentityError, IdentityFiles};

/// How long authorities are valid, years.
const AUTHORITY_YEARS: i16 = 20;
/// How long node and client certificates are valid, years.
const CERTIFICATE_YEARS: i16 = 5;

/// What a certificate and the registry must know of a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeProfile {
    pub node_id: u64,
    pub name: String,
    pub zone: String,
    /// `dc1`, `dc2` or `arbiter`.
    pub site: String,
    /// Advertised addresses, `host:port`.
    pub peer: String,
    pub kv: String,
    pub console: String,
    /// Host names and IP addresses that its server certificates name beside the advertised ones.
    pub hosts: Vec<String>,
}

impl NodeProfile {
    pub(super) fn server_names(&self) -> Vec<String> {
        let mut names = vec!["localhost".to_string(), "127.0.0.1".to_string(), "::1".to_string()];
        for address in [&self.kv, &self.console] {
            let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
            names.push(host.trim_start_matches('[').trim_end_matches(']').to_string());
        }
        names.extend(self.hosts.iter().cloned());
        names.sort();
        names.dedup();
        names
    }
}

/// Name in a peer's certificate.
pub fn peer_name(node_id: u64) -> String {
    format!("node-{node_id}.quorate.internal")
}

/// One certificate authority with its key.
pub(super) struct Issuing {
    pub(super) certificate: String,
    pub(super) key: KeyPair,
}

impl Issuing {
    pub(super) fn generate(name: &str) -> Result<Self, IdentityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, AUTHORITY_YEARS);
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { certificate, key })
    }

    /// (certificate, key) in PEM for `names`, usable as the given purposes.
    pub(super) fn issue(
        &self,
        common_name: &str,
        names: Vec<String>,
        purposes: Vec<ExtendedKeyUsagePurpose>,
    ) -> Result<(String, String), IdentityError> {
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, &self.key)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = purposes;
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, CERTIFICATE_YEARS);
        let certificate = params.signed_by(&key, &issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    /// A client certificate of an instance, for the bundle that SDKs are given.
    pub(super) fn issue_client(&self) -> Result<(String, String), IdentityError> {
        let purposes = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue("quorate-kv-client", Vec::new(), purposes)
    }
}

fn set_validity(params: &mut CertificateParams, years: i16) {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let day = |date: jiff::civil::Date| rcgen::date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8);
    // A day of tolerance for clocks that run behind.
    params.not_before = day(today.yesterday().unwrap_or(today));
    params.not_after = day(today.saturating_add(jiff::Span::new().years(years)));
}

/// Everything that signs for one cluster.
pub struct Authority {
    pub cluster_id: Id,
    /// The first instance.
    pub instance_id: Id,
    pub key: ClusterKey,
    peer: Issuing,
    kv: Issuing,
    console: Issuing,
}

impl Authority {
    /// A new cluster's authorities and key.
    pub fn generate() -> Result<Self, IdentityError> {
        let cluster_id = super::new_id();
        let instance_id = super::new_id();
        Ok(Self {
            cluster_id,
            instance_id,
            key: ClusterKey::generate(),
            peer: Issuing::generate(&format!("Quorate peers {cluster_id}"))?,
            kv: Issuing::generate(&format!("Quorate instance {instance_id}"))?,
            console: Issuing::generate(&format!("Quorate console {cluster_id}"))?,
        })
    }

    /// The authorities whose sealed keys lie in an existing node's directory.
    pub fn open(directory: &IdentityDirectory) -> Result<Self, IdentityError> {
        let NodeIdentity {
            cluster_id,
            instance_id,
            ..
        } = directory.node()?;
        let key = directory.cluster_key()?;
        let issuing = |certificate: &str, sealed: &str| -> Result<Issuing, IdentityError> {
            let opened = key
                .unseal(
                    cluster_id,
                    sealed,
                    &Sealed {
                        bytes: directory.read(sealed)?.into(),
                    },
                )
                .map_err(|error| IdentityError::damaged(&directory.path().join(sealed), error.to_string()))?;
            let text = std::str::from_utf8(&opened)
                .map_err(|_| IdentityError::damaged(&directory.path().join(sealed), "holds no key"))?;
            Ok(Issuing {
                certificate: directory.read_text(certificate)?,
                key: KeyPair::from_pem(text)?,
            })
        };
        Ok(Self {
            cluster_id,
            instance_id,
            peer: issuing(files::PEER_CA, files::PEER_CA_KEY)?,
            kv: issuing(files::KV_CA, files::KV_CA_KEY)?,
            console: issuing(files::CONSOLE_CA, files::CONSOLE_CA_KEY)?,
            key,
        })
    }

    /// Every file of one node's identity directory, by name.
    pub fn issue_node(&self, profile: &NodeProfile) -> Result<IdentityFiles, IdentityError> {
        use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        let names = profile.server_names();
        let peer_name = peer_name(profile.node_id);
        let peer = self
            .peer
            .issue(&peer_name, vec![peer_name.clone()], vec![ServerAuth, ClientAuth])?;
        let kv = self.kv.issue(&profile.name, names.clone(), vec![ServerAuth])?;
        let console = self.console.issue(&profile.name, names, vec![ServerAuth])?;
        let client = self.kv.issue_client()?;
        let seal = |name: &str, key: &KeyPair| {
            self.key
                .seal(self.cluster_id, name, 1, key.serialize_pem().as_bytes())
                .bytes
                .to_vec()
        };
        let identity = NodeIdentity {
            version: NodeIdentity::VERSION,
            cluster_id: self.cluster_id,
            instance_id: self.instance_id,
            profile: profile.clone(),
        };
        Ok(IdentityFiles::from([
            (files::NODE.to_string(), identity.to_json()),
            (files::FIRST_START.to_string(), Vec::new()),
            (
                files::CLUSTER_KEY.to_string(),
                self.key.to_file_text().as_bytes().to_vec(),
            ),
            (files::PEER_CA.to_string(), self.peer.certificate.clone().into_bytes()),
            (files::PEER_CA_KEY.to_string(), seal(files::PEER_CA_KEY, &self.peer.key)),
            // With its authority behind it: a newcomer knows that one by its hash.
            (
                files::PEER_CERT.to_string(),
                format!("{}{}", peer.0, self.peer.certificate).into_bytes(),
            ),
            (files::PEER_KEY.to_string(), peer.1.into_bytes()),
            (files::KV_CA.to_string(), self.kv.certificate.clone().into_bytes()),
            (files::KV_CA_KEY.to_string(), seal(files::KV_CA_KEY, &self.kv.key)),
            (files::KV_CERT.to_string(), kv.0.into_bytes()),
            (files::KV_KEY.to_string(), kv.1.into_bytes()),
            (files::CLIENT_CERT.to_string(), client.0.into_bytes()),
            (files::CLIENT_KEY.to_string(), client.1.into_bytes()),
            (
                files::CONSOLE_CA.to_string(),
                self.console.certificate.clone().into_bytes(),
            ),
            (
                files::CONSOLE_CA_KEY.to_string(),
                seal(files::CONSOLE_CA_KEY, &self.console.key),
            ),
            (files::CONSOLE_CERT.to_string(), console.0.into_bytes()),
            (files::CONSOLE_KEY.to_string(), console.1.into_bytes()),
        ]))
    }
}
