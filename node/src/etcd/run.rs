//! One member, from its start to its end.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use quorate_machine::{BootstrapEtcd, Command, Id, NodeRecord, SetKeyspaceQuota, UpsertNode};
use quorate_raft::{Handle, PeerTls, RaftOptions, Retention, TcpDialer};
use tokio::net::TcpSocket;
use tokio_util::sync::CancellationToken;

use super::config::EtcdConfig;
use super::member_file::{Began, MemberFile};
use super::{compaction, door, peers, start, tls, urls};
use crate::reconcilers::{Heartbeats, ProposeError, member_tasks, panicked, propose};
use crate::serve::StopRequest;

/// Time for handing leadership over when the member stops.
const HAND_OVER_DEADLINE: Duration = Duration::from_millis(500);
/// Looks at the registry after which a member that is not in it says so.
const UNREGISTERED_LOOKS: u32 = 500;
/// Pause between two tries of what every member must get through before it serves.
const PAUSE: Duration = Duration::from_millis(20);
/// A removed member that has heard of no leader for this long is no longer part of consensus.
const LEFT_ALONE: Duration = Duration::from_secs(2);
/// Time for the cluster to go on without a removed member, which then ends in any case.
const REMOVAL_DEADLINE: Duration = Duration::from_secs(20);
/// Connections that may wait at the peer port.
const BACKLOG: u32 = 1024;

/// Runs the member until it is told to stop, or cannot go on.
pub fn run(config: EtcdConfig) -> anyhow::Result<()> {
    crate::commands::raise_open_files_limit();
    crate::commands::runtime()?.block_on(member(config))
}

async fn member(config: EtcdConfig) -> anyhow::Result<()> {
    let mut stop_request = StopRequest::listen()?;
    let peer_tls = tls::peers(&config)?;
    let client_tls = tls::client_port(&config)?;
    let ports = door::Ports::reserve(&config)?;
    let mut file = start::identity(&config, peer_tls.as_ref()).await?;
    tracing::info!(
        local_member_id = format!("{:x}", file.member),
        cluster_id = format!("{:x}", file.cluster),
        local_server_version = quorate_etcd_api::EMULATED_VERSION,
        quorate_version = env!("CARGO_PKG_VERSION"),
        data_dir = %config.data_dir.display(),
        "starting etcd server"
    );
    let handle = consensus(&config, &file, peer_tls).await?;
    file.started = true;
    file.write(&config.data_dir)?;
    tracing::info!(
        local_member_id = format!("{:x}", file.member),
        listen_peer_urls = %config.listen_peer,
        listen_client_urls = urls::join(&config.listen_client),
        advertise_client_urls = urls::join(&config.advertise_client),
        "now serving peer/client/metrics"
    );
    let stop = CancellationToken::new();
    let heartbeats = Arc::<Heartbeats>::default();
    let mut tasks = member_tasks(&handle, heartbeats.clone(), &stop);
    let serving = serve(&config, &file, &handle, heartbeats, (ports, client_tls), &stop);
    let outcome = tokio::select! {
        reason = stop_request.wait() => {
            tracing::info!(signal = reason, "received signal; shutting down");
            Ok(())
        }
        problem = fatal(&handle) => Err(anyhow::anyhow!("consensus has stopped: {problem}")),
        problem = panicked(&mut tasks) => Err(anyhow::anyhow!("this member cannot go on: {problem}")),
        () = removed(&handle) => {
            tracing::warn!("the member has been permanently removed from the cluster");
            Ok(())
        }
        outcome = serving => outcome,
    };
    handle.prepare_stop();
    if handle.is_leader()
        && let Err(error) = handle.transfer_leadership(None, HAND_OVER_DEADLINE).await
    {
        tracing::debug!("leadership was not handed over: {error}");
    }
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    handle.shutdown().await;
    tracing::info!("closed etcd server");
    outcome
}

async fn consensus(
    config: &EtcdConfig,
    file: &MemberFile,
    peer_tls: Option<quorate_raft::NamelessTls>,
) -> anyhow::Result<Handle> {
    let address = config.listen_peer.bind_address().map_err(anyhow::Error::msg)?;
    let listen = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)?.into_std()
    };
    let listener = listen().with_context(|| format!("listen tcp {address}: bind (--listen-peer-urls)"))?;
    let cluster = start::cluster(file);
    let identity = PeerTls::by_headers(file.member, cluster.to_string(), peer_tls);
    let late_handle: Arc<OnceLock<Handle>> = Arc::default();
    let mut options = RaftOptions::new(
        file.member,
        cluster,
        config.data_dir.clone(),
        listener,
        identity,
        Arc::new(TcpDialer::default()),
    );
    options.beginning = start::beginning(file)?;
    options.timers = config.timers;
    options.anonymous_routes = Some(peers::router(late_handle.clone()).into());
    if let Some(snapshot_every_entries) = config.snapshot_every_entries {
        options.retention = Retention {
            snapshot_every_entries,
            kept_entries: snapshot_every_entries / 10,
            ..Retention::default()
        };
    }
    let handle = quorate_raft::start(options).await?;
    let _ = late_handle.set(handle.clone());
    Ok(handle)
}

/// Gets through what clients must find, opens the ports, and serves until `stop`. Ends only with an error.
async fn serve(
    config: &EtcdConfig,
    file: &MemberFile,
    handle: &Handle,
    heartbeats: Arc<Heartbeats>,
    (ports, client_tls): (door::Ports, Option<Arc<rustls::ServerConfig>>),
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let (instance, token_secret) = bootstrapped(file, handle).await?;
    publish(config, file, handle).await?;
    part_of_the_quorum(handle).await?;
    if let Some(quota_bytes) = config.quota_bytes {
        let quota = SetKeyspaceQuota { instance, quota_bytes };
        until_done(handle, Command::SetKeyspaceQuota(quota)).await?;
    }
    let parts = door::Parts {
        config,
        handle,
        heartbeats,
        instance,
        token_secret,
        tls: client_tls,
    };
    let open = door::open(parts, ports, stop).await?;
    tracing::info!("ready to serve client requests");
    let compacting = compaction::run(handle.clone(), instance, config.compaction);
    let compacting = stop.clone().run_until_cancelled_owned(compacting);
    let (served, _) = tokio::join!(open, compacting);
    served
}

/// Waits until the cluster is bootstrapped, proposing it where this member is one of the first; gives the keyspace and what
/// tokens are signed with.
async fn bootstrapped(file: &MemberFile, handle: &Handle) -> anyhow::Result<(Id, Id)> {
    loop {
        let present = handle.read(|state| {
            let cluster = state.cluster()?;
            Some((cluster.default_instance, cluster.etcd_token_secret?))
        });
        if let Some(present) = present {
            return Ok(present);
        }
        match &file.began {
            Began::New(members) => {
                let command = BootstrapEtcd {
                    cluster_id: start::cluster(file),
                    nodes: start::first_nodes(members),
                    instance_id: crate::identity::new_id(),
                    namespace_id: crate::identity::new_id(),
                    token_secret: Id::from_u128(u128::from_be_bytes(crate::identity::random_bytes())),
                };
                // Refused where another member was first; its secret and ids then hold.
                let command = Command::BootstrapEtcd(Box::new(command));
                if let Err(error) = propose(handle, command).await {
                    tracing::debug!("the bootstrap did not get through: {error}");
                }
            }
            Began::Existing => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Tells the cluster this member's name and client URLs.
async fn publish(config: &EtcdConfig, file: &MemberFile, handle: &Handle) -> anyhow::Result<()> {
    let mut looked = 0;
    loop {
        let present = handle.read(|state| state.node(file.member).cloned());
        if looked == UNREGISTERED_LOOKS {
            tracing::warn!(
                local_member_id = format!("{:x}", file.member),
                "the cluster does not know this member: it was removed, or has not heard of the cluster since it was added; a \
                 removed one joins again with an empty data directory, after `member add`"
            );
        }
        looked += 1;
        if let Some(present) = present {
            let wanted = NodeRecord {
                name: config.name.clone(),
                kv: urls::join(&config.advertise_client),
                ..present.clone()
            };
            if wanted != present {
                let command = UpsertNode {
                    node: wanted,
                    new: Some(false),
                    keeps_place: true,
                };
                until_done(handle, Command::UpsertNode(command)).await?;
            }
            tracing::info!(
                local_member_id = format!("{:x}", file.member),
                cluster_id = format!("{:x}", file.cluster),
                "published local member to cluster through raft"
            );
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until this member votes, or is to stay a learner: who reads that it is ready may stop another one.
async fn part_of_the_quorum(handle: &Handle) -> anyhow::Result<()> {
    let mut status = handle.status();
    loop {
        let votes = status.borrow_and_update().voters.contains(&handle.node_id());
        if votes || handle.read(|state| state.node(handle.node_id()).is_some_and(|node| node.learner)) {
            return Ok(());
        }
        status.changed().await.context("consensus has stopped")?;
    }
}

/// Proposes until the cluster has taken it.
async fn until_done(handle: &Handle, command: Command) -> anyhow::Result<()> {
    loop {
        match propose(handle, command.clone()).await {
            Ok(_) => return Ok(()),
            Err(error @ ProposeError::Refused(_)) => return Err(error.into()),
            Err(error) => tracing::debug!("not yet: {error}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until consensus cannot go on; gives the reason.
async fn fatal(handle: &Handle) -> String {
    let mut status = handle.status();
    match status.wait_for(|status| status.fatal.is_some()).await {
        Ok(status) => status.fatal.clone().unwrap_or_default(),
        Err(_) => "its threads have ended".to_string(),
    }
}

/// Waits until the cluster no longer knows this member, having known it, and has gone on without it: until then it counts for the
/// quorum that its removal needs.
async fn removed(handle: &Handle) {
    unregistered(handle).await;
    let mut status = handle.status();
    let left_alone = async {
        loop {
            if status.wait_for(|status| !status.serving).await.is_err() {
                return;
            }
            let again = status.wait_for(|status| status.serving);
            if !matches!(tokio::time::timeout(LEFT_ALONE, again).await, Ok(Ok(_))) {
                return;
            }
        }
    };
    if tokio::time::timeout(REMOVAL_DEADLINE, left_alone).await.is_err() {
        tracing::warn!(
            "the cluster still counts this member, which was removed {} s ago",
            REMOVAL_DEADLINE.as_secs()
        );
    }
}

/// Waits until the cluster's registry no longer has this member, having had it.
async fn unregistered(handle: &Handle) {
    let mut wakeups = handle.wakeups();
    let mut known = false;
    loop {
        wakeups.borrow_and_update();
        match handle.read(|state| state.node(handle.node_id()).is_some()) {
            true => known = true,
            false if known => return,
            false => {}
        }
        if wakeups.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
