//! Who this member is, and how its consensus begins.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use quorate_machine::{Id, NodeRecord, etcd_numbered_cluster};
use quorate_raft::{Beginning, Member, NamelessTls};

use super::config::{EtcdConfig, InitialState};
use super::ids::{cluster_id, member_id};
use super::member_file::{Began, FirstMember, MemberFile};
use super::peers::{ToldCluster, ask};
use super::urls::{Url, texts};

/// Folder that real etcd keeps below its data directory.
const ETCD_FOLDER: &str = "member";

/// Reads who this member is, or finds it out the first time.
pub async fn identity(config: &EtcdConfig, tls: Option<&NamelessTls>) -> anyhow::Result<MemberFile> {
    let directory = &config.data_dir;
    if directory.join(ETCD_FOLDER).exists() {
        bail!(
            "{} holds the data of a real etcd, which this program cannot run on: take `etcdctl snapshot save` there, start here \
             with an empty --data-dir, and load it with `quorate kv import`",
            directory.display()
        );
    }
    make_private_directory(directory)?;
    if let Some(file) = MemberFile::read(directory)? {
        return Ok(file);
    }
    let file = match config.initial_state {
        InitialState::New => new_member(config, tls).await?,
        InitialState::Existing => existing_member(config, tls).await?,
    };
    file.write(directory)?;
    Ok(file)
}

/// As etcd makes it: nobody but its owner reads the data.
fn make_private_directory(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot make the data directory {}", path.display()))
}

async fn new_member(config: &EtcdConfig, tls: Option<&NamelessTls>) -> anyhow::Result<MemberFile> {
    let members: Vec<FirstMember> = config
        .initial_cluster
        .iter()
        .map(|(name, urls)| FirstMember {
            id: member_id(&texts(urls), &config.token, None),
            name: name.clone(),
            peer_urls: texts(urls),
        })
        .collect();
    let own = members.iter().find(|member| member.name == config.name);
    let own = own.context("this member is in its own initial cluster")?.id;
    let ids: Vec<u64> = members.iter().map(|member| member.id).collect();
    let cluster = cluster_id(&ids);
    for told in ask_others(config, tls).await.into_iter().flatten() {
        if told.id != cluster {
            bail!(
                "cluster ID mismatch: the members of --initial-cluster are of cluster {:x}, this one would be of {cluster:x}",
                told.id
            );
        }
        // Members are known by name and client URLs once they have started; then they had data.
        let known = told.members.iter().find(|member| member.id == own);
        if known.is_none_or(|member| !member.client_urls.is_empty()) {
            bail!(
                "member {own:x} has already been bootstrapped: its data is not in {}. A member that lost its data must be \
                 removed with `etcdctl member remove` and added again, with an empty directory and --initial-cluster-state=existing",
                config.data_dir.display()
            );
        }
    }
    Ok(MemberFile::new(cluster, own, Began::New(members)))
}

/// What the other members tell, for each that answers or not.
async fn ask_others(config: &EtcdConfig, tls: Option<&NamelessTls>) -> Vec<anyhow::Result<ToldCluster>> {
    let others = config.initial_cluster.iter().filter(|(name, _)| **name != config.name);
    let questions = others.filter_map(|(_, urls)| urls.first()).map(|url| ask(url, tls));
    futures_util::future::join_all(questions).await
}

async fn existing_member(config: &EtcdConfig, tls: Option<&NamelessTls>) -> anyhow::Result<MemberFile> {
    let mut reasons = Vec::new();
    for answer in ask_others(config, tls).await {
        match answer {
            Ok(told) => return found_in(config, &told),
            Err(error) => reasons.push(format!("{error:#}")),
        }
    }
    bail!("cannot fetch cluster info from peer urls: {}", reasons.join("; "))
}

fn found_in(config: &EtcdConfig, told: &ToldCluster) -> anyhow::Result<MemberFile> {
    let mut own_urls = texts(&config.advertise_peer);
    own_urls.sort();
    let own = told.members.iter().find(|member| {
        let mut urls = member.peer_urls.clone();
        urls.sort();
        urls == own_urls
    });
    let Some(own) = own else {
        bail!(
            "error validating peerURLs: no member of cluster {:x} has the peer URLs {}; add it first with `etcdctl member add`",
            told.id,
            own_urls.join(",")
        );
    };
    if !own.client_urls.is_empty() {
        bail!(
            "member {:x} has already been bootstrapped: remove it with `etcdctl member remove` and add it again",
            own.id
        );
    }
    Ok(MemberFile::new(told.id, own.id, Began::Existing))
}

/// The id under which consensus and state know the cluster.
pub fn cluster(file: &MemberFile) -> Id {
    etcd_numbered_cluster(file.cluster)
}

/// How consensus begins with an empty data directory.
pub fn beginning(file: &MemberFile) -> anyhow::Result<Beginning> {
    if file.started {
        return Ok(Beginning::Continue);
    }
    let Began::New(members) = &file.began else {
        return Ok(Beginning::Join);
    };
    let mut first = BTreeMap::new();
    for member in members {
        let peer = peer_address(&member.peer_urls)?;
        let (name, zone) = (member.name.clone(), String::new());
        first.insert(member.id, Member { name, zone, peer });
    }
    Ok(Beginning::Initialise(first))
}

/// Registry of the first members; client URLs are not known before each has started.
pub fn first_nodes(members: &[FirstMember]) -> Vec<NodeRecord> {
    let record = |member: &FirstMember| NodeRecord {
        id: member.id,
        name: member.name.clone(),
        peer: member.peer_urls.join(","),
        ..NodeRecord::default()
    };
    members.iter().map(record).collect()
}

/// Where consensus reaches a member: the first of its peer URLs.
fn peer_address(urls: &[String]) -> anyhow::Result<String> {
    let url = urls.first().context("a member has a peer URL")?;
    Url::parse(url).map(|url| url.address()).map_err(anyhow::Error::msg)
}
