//! What a node lends to the routes, as tests know it: keys of instances, connected processes, links, and what probers learned.

use quorate_console_api::{
    ClientFiles, ConnectedProcess, EdgeFuture, InstanceKeys, InstanceSecrets, KvPasswords, LinkMeasure, LinkSource,
    MeasureSource, ProcessSource, Sealer, SideMeasure,
};
use quorate_machine::{DataCenter, Id, Instance, LinkState, ReplicaLag};

use crate::support::ReversingSealer;

/// Makes recognisable secrets: nothing here has to be safe.
pub struct PlainKeys;

impl InstanceKeys for PlainKeys {
    fn make(&self, instance: Id, passwords: KvPasswords) -> EdgeFuture<Result<InstanceSecrets, String>> {
        let hash = |password: &str| bytes::Bytes::from(format!("hash-{}", password.len()));
        let secrets = InstanceSecrets {
            kv_root_password_hash: hash(&passwords.root),
            kv_sdk_password_hash: hash(&passwords.sdk),
            kv_ca: format!("authority of {instance}"),
            kv_ca_key: ReversingSealer.seal(instance, "kv-ca-key", 1, b"key"),
        };
        Box::pin(async move { Ok(secrets) })
    }

    fn hash(&self, password: String) -> EdgeFuture<Result<bytes::Bytes, String>> {
        Box::pin(async move { Ok(format!("hash-{}", password.len()).into()) })
    }

    fn client_files(&self, instance: &Instance) -> EdgeFuture<Result<ClientFiles, String>> {
        let files = ClientFiles {
            ca: instance.kv_ca.clone(),
            certificate: "certificate".to_owned(),
            key: "key".to_owned(),
        };
        Box::pin(async move { Ok(files) })
    }
}

/// One process of every application that is asked for.
pub struct OneProcess;

impl ProcessSource for OneProcess {
    fn connected(&self, _instance: Id, application: Id) -> Vec<ConnectedProcess> {
        vec![ConnectedProcess {
            user: "mas".to_owned(),
            source: format!("192.0.2.{}:5000", application.as_u128() % 200),
            watches: 1,
            since_wall_ms: 1_700_000_000_000,
        }]
    }
}

/// A link to every other node, of which the third does not answer.
pub struct OneLink;

impl LinkSource for OneLink {
    fn links(&self) -> Vec<LinkMeasure> {
        let link = |peer, state: LinkState, rtt_us, loss_permille| LinkMeasure {
            peer,
            state: state as i32,
            rtt_us,
            loss_permille,
            ..LinkMeasure::default()
        };
        vec![link(2, LinkState::Up, 700, 0), link(3, LinkState::Silent, 0, 1_000)]
    }
}

/// dc1 has 80 connections; dc2 has room for 30, is 42 s behind and read-only.
pub struct TwoMeasures;

impl MeasureSource for TwoMeasures {
    fn measures(&self, monitors: &[Id]) -> Vec<SideMeasure> {
        let of_monitor = |monitor: &Id| {
            let dc1 = SideMeasure {
                monitor: *monitor,
                data_center: DataCenter::Dc1 as i32,
                age_ms: 70,
                connections_used: Some(80),
                connections_limit: Some(100),
                ..SideMeasure::default()
            };
            let dc2 = SideMeasure {
                data_center: DataCenter::Dc2 as i32,
                read_only: true,
                lag: Some(ReplicaLag {
                    seconds: Some(42),
                    ..ReplicaLag::default()
                }),
                connections_used: Some(20),
                connections_limit: Some(50),
                ..dc1.clone()
            };
            [dc1, dc2]
        };
        monitors.iter().flat_map(of_monitor).collect()
    }
}
