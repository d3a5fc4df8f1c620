//! `quorate cluster member`: the members, over the service Cluster of the KV endpoint, with its credentials. Ids are
//! hexadecimal, as etcd's tools write them.

use clap::Subcommand;
use quorate_etcd_api::pb::etcdserverpb::{
    Member, MemberAddRequest, MemberListRequest, MemberPromoteRequest, MemberRemoveRequest, MemberUpdateRequest,
    MoveLeaderRequest,
};
use serde_json::{Value, json};

use super::door::{Door, DoorOptions};
use super::refused;
use crate::cli::Options;
use crate::cli::failure::Failure;
use crate::cli::output::{self, Column, Rendered};

/// What to do with members.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// List the members
    List {
        #[command(flatten)]
        door: DoorOptions,
    },
    /// Add a member; it joins with `quorate join`, under this peer address
    Add {
        /// Peer URL, such as https://10.0.0.4:2380
        #[arg(long, required = true, value_name = "URL")]
        peer_url: Vec<String>,
        /// It does not vote before it is promoted
        #[arg(long)]
        learner: bool,
        #[command(flatten)]
        door: DoorOptions,
    },
    /// Let a learner vote, once it has caught up
    Promote {
        #[arg(value_parser = parse_id)]
        id: u64,
        #[command(flatten)]
        door: DoorOptions,
    },
    /// Give a member another peer address
    Update {
        #[arg(value_parser = parse_id)]
        id: u64,
        #[arg(long, required = true, value_name = "URL")]
        peer_url: Vec<String>,
        #[command(flatten)]
        door: DoorOptions,
    },
    /// Remove a member for good
    Remove {
        #[arg(value_parser = parse_id)]
        id: u64,
        #[command(flatten)]
        door: DoorOptions,
    },
    /// Hand leadership to a member; asked of the node that leads
    MoveLeader {
        #[arg(value_parser = parse_id)]
        id: u64,
        #[command(flatten)]
        door: DoorOptions,
    },
}

const MEMBERS: &[Column] = &[
    ("ID", &["/id"]),
    ("NAME", &["/name"]),
    ("STARTED", &["/started"]),
    ("LEARNER", &["/learner"]),
    ("PEERS", &["/peer_urls"]),
    ("CLIENTS", &["/client_urls"]),
];

fn parse_id(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16)
        .map_err(|_| "is no member id: hexadecimal, as `quorate cluster member list` shows it".to_owned())
}

/// Carries a verb out.
pub async fn run(options: &Options, verb: &Verb) -> Result<(), Failure> {
    let (Verb::List { door }
    | Verb::Add { door, .. }
    | Verb::Promote { door, .. }
    | Verb::Update { door, .. }
    | Verb::Remove { door, .. }
    | Verb::MoveLeader { door, .. }) = verb;
    let mut door = Door::open(options, door).await?;
    let rendered = match verb {
        Verb::List { .. } => {
            let request = door.request(MemberListRequest { linearizable: true });
            let found = door.cluster().member_list(request).await.map_err(refused)?.into_inner();
            let items: Vec<Value> = found.members.iter().map(member_json).collect();
            Rendered::list(json!({ "items": items }), MEMBERS)
        }
        Verb::Add { peer_url, learner, .. } => {
            let request = door.request(MemberAddRequest {
                peer_ur_ls: peer_url.clone(),
                is_learner: *learner,
            });
            let done = door.cluster().member_add(request).await.map_err(refused)?.into_inner();
            let member = done.member.unwrap_or_default();
            Rendered::done(format!("added member {:x}", member.id), member_json(&member))
        }
        Verb::Promote { id, .. } => {
            let request = door.request(MemberPromoteRequest { id: *id });
            door.cluster().member_promote(request).await.map_err(refused)?;
            changed("promoted", *id)
        }
        Verb::Update { id, peer_url, .. } => {
            let request = door.request(MemberUpdateRequest {
                id: *id,
                peer_ur_ls: peer_url.clone(),
            });
            door.cluster().member_update(request).await.map_err(refused)?;
            changed("updated", *id)
        }
        Verb::Remove { id, .. } => {
            let request = door.request(MemberRemoveRequest { id: *id });
            door.cluster().member_remove(request).await.map_err(refused)?;
            changed("removed", *id)
        }
        Verb::MoveLeader { id, .. } => {
            let request = door.request(MoveLeaderRequest { target_id: *id });
            door.maintenance().move_leader(request).await.map_err(refused)?;
            changed("leadership is with", *id)
        }
    };
    output::write(&rendered.print(options.output)?)
}

fn changed(what: &str, id: u64) -> Rendered {
    Rendered::done(format!("{what} member {id:x}"), json!({ "id": format!("{id:x}") }))
}

fn member_json(member: &Member) -> Value {
    json!({
        "id": format!("{:x}", member.id),
        "name": member.name,
        "started": !member.client_ur_ls.is_empty(),
        "learner": member.is_learner,
        "peer_urls": member.peer_ur_ls,
        "client_urls": member.client_ur_ls,
    })
}
