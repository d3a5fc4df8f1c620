//! Members come, are promoted, die, are replaced and go, online and under writes: nothing acknowledged is lost, and all hold
//! the same at the end.
//!
//! The members run the `etcd` personality, whose port may change them (core contract 6 of `docs/architecture.md`).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use quorate_chaos::checkers;
use quorate_chaos::cluster::binary;
use quorate_chaos::etcd::{Client, ConnectOptions};
use quorate_chaos::harness::{eventually, step};
use quorate_chaos::readers::Readers;
use quorate_chaos::suites::{Members, Program};
use quorate_chaos::wire::etcdserverpb as pb;
use quorate_chaos::writers::{WriterOptions, Writers, failures, longest_gap};

const TIMEOUT: Duration = Duration::from_secs(60);
const PREFIX: &str = "/members/";
/// Entries between two snapshots, and those kept behind one: a member that comes later needs the snapshot.
const SNAPSHOT_FLAGS: [&str; 2] = ["--snapshot-count=200", "--snapshot-catchup-entries=50"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_change_under_writes_and_nothing_is_lost() -> Result<()> {
    // An error means that another test of this process has done it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let program = Program::Quorate(binary()?);
    let mut members = Members::start_with(&program, 3, &SNAPSHOT_FLAGS).await?;
    let outcome = scenario(&mut members).await;
    // The cause first: a long output is cut at its end.
    outcome.map_err(|error| anyhow!("{error:#}\n{}", members.log_tails()))?;
    members.stop().await
}

async fn scenario(members: &mut Members) -> Result<()> {
    // The first two stay until the end; the writers speak to them.
    let paths = [members.path(0), members.path(1)];
    let options = WriterOptions {
        per_path: 2,
        prefix: PREFIX.to_owned(),
        ..WriterOptions::default()
    };
    let writers = Writers::start(&paths, &options).await?;
    let readers = Readers::start(&paths, &writers.log());
    writers.wait_acknowledged(500, TIMEOUT).await?;

    let fourth = step("a fourth member learns and is promoted", join(members, &[0, 1, 2])).await?;
    let fifth = step("a fifth one", join(members, &[0, 1, 2, fourth])).await?;
    writers.wait_acknowledged(200, TIMEOUT).await?;
    step("two of five die", async {
        members.kill(2).await?;
        members.kill(fourth).await?;
        writers.wait_acknowledged(200, TIMEOUT).await
    })
    .await?;
    step("one of them comes back with its data", async {
        members.spawn_among(fourth, "existing", &[0, 1, 2, fourth])?;
        members.wait_ready(fourth).await
    })
    .await?;
    step("the other is replaced by a new one", async {
        remove(&paths[0], members.peer_url(2)).await?;
        join(members, &[0, 1, fourth, fifth]).await
    })
    .await?;
    let sixth = members.count() - 1;
    step("the leader is removed, or another one that may be", async {
        let leader = members.leader().await?;
        let leaving = if leader > 1 { leader } else { fifth };
        remove(&paths[0], members.peer_url(leaving)).await?;
        members.wait_ended(leaving).await
    })
    .await?;
    writers.wait_acknowledged(200, TIMEOUT).await?;

    let writes = writers.finish().await;
    let reads = readers.finish().await?;
    let failed = failures(&writes).len();
    println!(
        "  {} writes ({failed} failed), {} reads, longest gap {:.0?}",
        writes.len(),
        reads.len(),
        longest_gap(&writes)
    );
    ensure!(!reads.is_empty(), "no read was answered");
    let mut violations = checkers::revision_order(&writes, &reads);
    let standing: Vec<usize> = [0, 1, fourth, fifth, sixth]
        .into_iter()
        .filter(|number| members.runs(*number))
        .collect();
    ensure!(standing.len() == 4, "{standing:?} run, not four of five");
    for number in &standing {
        violations.extend(checkers::lost_writes(&writes, &present(&members.path(*number)).await?));
    }
    ensure!(violations.is_empty(), "{violations:?}");
    step("all hold the same", same_everywhere(members, &standing)).await
}

/// Adds a member as a learner, starts it, and promotes it once it has caught up; gives its number.
async fn join(members: &mut Members, among: &[usize]) -> Result<usize> {
    let number = members.new_place()?;
    let mut client = Client::connect(&members.path(0), TIMEOUT).await?;
    let request = pb::MemberAddRequest {
        peer_ur_ls: vec![members.peer_url(number)],
        is_learner: true,
    };
    let path = "/etcdserverpb.Cluster/MemberAdd";
    // Another change may be under way: a leader that has just been elected, a promotion that is not everywhere yet.
    let added = eventually("a learner is added", TIMEOUT, async || {
        let added: pb::MemberAddResponse = client.unary(path, request.clone()).await?;
        Ok(Some(added))
    });
    let id = added.await?.member.context("a member")?.id;
    let all: Vec<usize> = among.iter().copied().chain([number]).collect();
    members.spawn_among(number, "existing", &all)?;
    members.wait_serving(number).await?;
    let log = std::fs::read_to_string(members.log(number))?;
    ensure!(log.contains("snapshot"), "it caught up without a snapshot: {log}");
    eventually("the learner is promoted", TIMEOUT, async || {
        let path = "/etcdserverpb.Cluster/MemberPromote";
        let promoted: pb::MemberPromoteResponse = client.unary(path, pb::MemberPromoteRequest { id }).await?;
        Ok(Some(promoted))
    })
    .await?;
    members.wait_ready(number).await?;
    Ok(number)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_is_removed_and_the_other_serves_on() -> Result<()> {
    for (leads, asked_itself) in [(false, false), (false, true), (true, true)] {
        let mut members = Members::start_with(&Program::Quorate(binary()?), 2, &[]).await?;
        let outcome = remove_one_of_two(&mut members, leads, asked_itself).await;
        outcome.map_err(|error| {
            anyhow!(
                "leads: {leads}, asked itself: {asked_itself}: {error:#}\n{}",
                members.log_tails()
            )
        })?;
        members.stop().await?;
    }
    Ok(())
}

/// The removed one's acknowledgement is needed for its own removal.
async fn remove_one_of_two(members: &mut Members, leads: bool, asked_itself: bool) -> Result<()> {
    let leader = members.leader().await?;
    let (leaving, staying) = if leads {
        (leader, 1 - leader)
    } else {
        (1 - leader, leader)
    };
    step("a member is removed, and ends", async {
        let asked = if asked_itself { leaving } else { staying };
        remove(&members.path(asked), members.peer_url(leaving)).await?;
        members.wait_ended(leaving).await
    })
    .await?;
    step("the other takes writes", put_through(&members.path(staying))).await
}

async fn put_through(path: &ConnectOptions) -> Result<()> {
    let put = eventually("a write", TIMEOUT, async || {
        let mut client = Client::connect(path, TIMEOUT).await?;
        let request = pb::PutRequest {
            key: "through".into(),
            value: "value".into(),
            ..pb::PutRequest::default()
        };
        let put: pb::PutResponse = client.unary("/etcdserverpb.KV/Put", request).await?;
        Ok(Some(put))
    });
    put.await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_moves_to_another_address() -> Result<()> {
    let mut members = Members::start_with(&Program::Quorate(binary()?), 3, &[]).await?;
    let outcome = move_one(&mut members).await;
    outcome.map_err(|error| anyhow!("{error:#}\n{}", members.log_tails()))?;
    members.stop().await
}

async fn move_one(members: &mut Members) -> Result<()> {
    let leader = members.leader().await?;
    let (moving, third) = ((leader + 1) % 3, (leader + 2) % 3);
    step("a member is given another address while it is down", async {
        let before = members.peer_url(moving);
        members.kill(moving).await?;
        members.move_peer(moving)?;
        let mut client = Client::connect(&members.path(leader), TIMEOUT).await?;
        let request = pb::MemberListRequest { linearizable: true };
        let list: pb::MemberListResponse = client.unary("/etcdserverpb.Cluster/MemberList", request).await?;
        let member = list.members.iter().find(|member| member.peer_ur_ls.contains(&before));
        let request = pb::MemberUpdateRequest {
            id: member.context("the member")?.id,
            peer_ur_ls: vec![members.peer_url(moving)],
        };
        let _: pb::MemberUpdateResponse = client.unary("/etcdserverpb.Cluster/MemberUpdate", request).await?;
        Ok(())
    })
    .await?;
    step("it serves there", async {
        members.spawn_among(moving, "existing", &[0, 1, 2])?;
        members.wait_ready(moving).await
    })
    .await?;
    step("and counts for the quorum", async {
        members.kill(third).await?;
        put_through(&members.path(leader)).await
    })
    .await
}

async fn remove(path: &ConnectOptions, peer_url: String) -> Result<()> {
    let mut client = Client::connect(path, TIMEOUT).await?;
    let request = pb::MemberListRequest { linearizable: true };
    let list: pb::MemberListResponse = client.unary("/etcdserverpb.Cluster/MemberList", request).await?;
    let member = list.members.iter().find(|member| member.peer_ur_ls.contains(&peer_url));
    let id = member.with_context(|| format!("no member has {peer_url}"))?.id;
    let path = "/etcdserverpb.Cluster/MemberRemove";
    let _: pb::MemberRemoveResponse = client.unary(path, pb::MemberRemoveRequest { id }).await?;
    Ok(())
}

/// Every key of the load, read linearizably through one member.
async fn present(path: &ConnectOptions) -> Result<BTreeMap<String, (String, i64)>> {
    let mut client = Client::connect(path, TIMEOUT).await?;
    let reply = client.get_prefix(PREFIX).await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let kvs = reply.kvs.iter();
    Ok(kvs
        .map(|kv| (text(&kv.key), (text(&kv.value), kv.mod_revision)))
        .collect())
}

/// etcd's hash of every revision is the same on every member, and none has found itself to differ.
async fn same_everywhere(members: &Members, standing: &[usize]) -> Result<()> {
    let mut newest = Client::connect(&members.path(0), TIMEOUT).await?;
    let reply = newest.get("any").await?;
    let revision = quorate_chaos::etcd::revision(reply.header.as_ref());
    let mut hashes = BTreeMap::new();
    for number in standing {
        let mut client = Client::connect(&members.path(*number), TIMEOUT).await?;
        let what = format!("member {number} has applied the newest revision");
        let hash: pb::HashKvResponse = eventually(&what, TIMEOUT, async || {
            let request = pb::HashKvRequest { revision };
            Ok(Some(client.unary("/etcdserverpb.Maintenance/HashKV", request).await?))
        })
        .await?;
        hashes.insert(*number, (hash.hash, hash.compact_revision));
        let request = pb::AlarmRequest::default();
        let alarms: pb::AlarmResponse = client.unary("/etcdserverpb.Maintenance/Alarm", request).await?;
        ensure!(alarms.alarms.is_empty(), "member {number}: {:?}", alarms.alarms);
    }
    let first = hashes.values().next().context("no member")?;
    ensure!(
        hashes.values().all(|hash| hash == first),
        "revision {revision}: {hashes:?}"
    );
    println!("  revision {revision}, hash {:x} on {} members", first.0, hashes.len());
    Ok(())
}
