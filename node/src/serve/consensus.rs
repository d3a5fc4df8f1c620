//! Starts consensus from the node's identity.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use futures_util::future::BoxFuture;
use quorate_raft::{Beginning, Handle, Member, PeerDialer, PeerTls, Purpose, RaftOptions, Retention};
use tokio::net::TcpStream;

use super::ports::ReservedPort;
use crate::config::Config;
use crate::identity::{IdentityDirectory, JoinDesk, NodeIdentity, PendingBootstrap, files};
use crate::links::Links;
use crate::reconcilers::registrar;

impl PeerDialer for Links {
    fn connect(&self, _to: u64, address: String, _purpose: Purpose) -> BoxFuture<'static, io::Result<TcpStream>> {
        let links = self.clone();
        Box::pin(async move { Links::connect(&links, &address).await })
    }
}

/// Starts consensus; a node that starts for the first time begins as its identity says.
pub async fn start(
    config: &Config,
    directory: &IdentityDirectory,
    identity: &NodeIdentity,
    links: &Links,
    port: ReservedPort,
) -> anyhow::Result<Handle> {
    let tls = PeerTls::from_pem(
        &directory.read(files::PEER_CA)?,
        &directory.read(files::PEER_CERT)?,
        &directory.read(files::PEER_KEY)?,
    )
    .with_context(|| format!("the certificates in {} are no use", directory.path().display()))?;
    let listener = port.listen()?.into_std().context("cannot use the peer port")?;
    // Newcomers are registered through consensus, which does not run yet when its port is described.
    let late_handle: Arc<OnceLock<Handle>> = Arc::default();
    let desk = JoinDesk::new(directory.clone(), registrar(late_handle.clone()));
    let mut options = RaftOptions::new(
        identity.profile.node_id,
        identity.cluster_id,
        config.data_dir.clone(),
        listener,
        tls,
        Arc::new(links.clone()),
    );
    options.beginning = beginning(directory)?;
    if let Some(snapshot_every_entries) = config.snapshot_every_entries {
        options.retention = Retention {
            snapshot_every_entries,
            kept_entries: snapshot_every_entries / 10,
            ..Retention::default()
        };
    }
    options.anonymous_routes = Some(desk.router().into());
    let handle = quorate_raft::start(options).await?;
    // The data directory has this node's mark now: from here on an empty one means lost data.
    directory.remove(files::FIRST_START)?;
    let _ = late_handle.set(handle.clone());
    Ok(handle)
}

fn beginning(directory: &IdentityDirectory) -> anyhow::Result<Beginning> {
    if let Some(PendingBootstrap(command)) = PendingBootstrap::read(directory)? {
        let members: BTreeMap<u64, Member> = command
            .nodes
            .into_iter()
            .map(|node| {
                (
                    node.id,
                    Member {
                        name: node.name,
                        zone: node.zone,
                        peer: node.peer,
                    },
                )
            })
            .collect();
        return Ok(Beginning::Initialise(members));
    }
    let first = directory.path().join(files::FIRST_START).exists();
    Ok(if first { Beginning::Join } else { Beginning::Continue })
}
