//! Replica sets of several members and routers, by recorded answers.

use anyhow::{Context, Result};
use mongodb::bson::{Document, doc};
use quorate_machine::FindingClass;
use quorate_probes::{Stage, kept::FRESH_EVERY_CYCLES, mongodb::MongodbProber};
use quorate_real_parts::PortBlock;

use crate::{ACCESS_TIMEOUT, attempt, found, recorded::Member, serves, target};

fn primary() -> Document {
    doc! {
        "topologyVersion": { "counter": 6_i64 }, "hosts": ["db1:27017", "db2:27017", "db3:27017"], "setName": "rs0",
        "setVersion": 1, "isWritablePrimary": true, "secondary": false, "primary": "db1:27017", "me": "db1:27017",
        "maxWireVersion": 17, "readOnly": false, "ok": 1.0,
    }
}

fn secondary(of: Option<&str>) -> Document {
    let mut reply = doc! {
        "topologyVersion": { "counter": 4_i64 }, "hosts": ["db1:27017", "db2:27017", "db3:27017"], "setName": "rs0",
        "setVersion": 1, "isWritablePrimary": false, "secondary": true, "me": "db2:27017", "maxWireVersion": 17, "ok": 1.0,
    };
    if let Some(primary) = of {
        reply.insert("primary", primary);
    }
    reply
}

async fn set(members: &[Document]) -> Result<(Vec<Member>, MongodbProber)> {
    let mut started = Vec::new();
    for hello in members {
        started.push(Member::start(hello.clone()).await?);
    }
    let addresses: Vec<String> = started.iter().map(|member| member.address.to_string()).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let prober = MongodbProber::new(target(&addresses, ACCESS_TIMEOUT));
    Ok((started, prober))
}

#[tokio::test]
async fn the_primary_is_found_behind_a_secondary_and_kept() -> Result<()> {
    let (members, mut prober) = set(&[secondary(Some("db1:27017")), primary()]).await?;
    for cycle in 0..=FRESH_EVERY_CYCLES {
        let observation = attempt(&mut prober).await;
        assert!(serves(&observation), "{cycle}: {observation:?}");
        let role = observation.role.context("a role")?;
        assert_eq!(
            (role.read_only, role.server_version.as_str()),
            (false, "MongoDB 4.4.29")
        );
    }
    // The second fresh connection begins with the one that spoke.
    assert_eq!(members[0].heard("hello"), 1);
    Ok(())
}

#[tokio::test]
async fn an_election_is_followed() -> Result<()> {
    let (members, mut prober) = set(&[primary(), secondary(Some("db1:27017"))]).await?;
    assert!(serves(&attempt(&mut prober).await));
    members[0].says(secondary(None));
    members[1].says(secondary(None));
    let electing = attempt(&mut prober).await;
    assert_eq!(
        (electing.class, electing.stage),
        (FindingClass::WrongAnswer, Stage::Role),
        "{electing:?}"
    );
    assert!(
        electing.engine_text.contains("rs0, which has no primary"),
        "{electing:?}"
    );
    members[1].says(primary());
    let elected = attempt(&mut prober).await;
    assert!(serves(&elected), "{elected:?}");
    Ok(())
}

#[tokio::test]
async fn secondaries_of_a_primary_elsewhere_are_read_only_and_well() -> Result<()> {
    let (members, mut prober) = set(&[secondary(Some("db1:27017")), secondary(Some("db1:27017"))]).await?;
    for _ in 0..3 {
        let observation = attempt(&mut prober).await;
        assert_eq!(
            (observation.class, observation.stage),
            (FindingClass::ReadOnly, Stage::Role),
            "{observation:?}"
        );
        assert_eq!(
            observation.engine_text,
            "read-only; secondary of rs0, its primary is db1:27017"
        );
        let role = observation.role.context("a role")?;
        assert_eq!((role.read_only, role.replication_lag_seconds), (true, Some(5)));
    }
    // The primary moves into this data center.
    members[1].says(primary());
    members[0].says(secondary(Some("db2:27017")));
    let moved = attempt(&mut prober).await;
    assert!(serves(&moved), "{moved:?}");
    Ok(())
}

#[tokio::test]
async fn a_primary_that_only_its_secondaries_see_is_a_failure() -> Result<()> {
    let ports = PortBlock::claim()?;
    let name = format!("127.0.0.1:{}", ports.port(9));
    let alive = Member::start(secondary(Some(&name))).await?;
    let mut prober = MongodbProber::new(target(&[&name, &alive.address.to_string()], ACCESS_TIMEOUT));
    let observation = attempt(&mut prober).await;
    assert_eq!(
        found(&observation),
        (FindingClass::Refused, Stage::Tcp, true),
        "{observation:?}"
    );
    assert!(
        observation.engine_text.starts_with(&format!("the primary {name}: ")),
        "{observation:?}"
    );
    Ok(())
}

#[tokio::test]
async fn arbiters_and_recovering_members_do_not_serve() -> Result<()> {
    let arbiter =
        doc! { "isWritablePrimary": false, "secondary": false, "arbiterOnly": true, "setName": "rs0", "ok": 1.0 };
    let recovering = doc! { "isWritablePrimary": false, "secondary": false, "setName": "rs0", "ok": 1.0 };
    let (_members, mut prober) = set(std::slice::from_ref(&arbiter)).await?;
    let observation = attempt(&mut prober).await;
    assert_eq!(
        (observation.class, observation.stage),
        (FindingClass::WrongAnswer, Stage::Role),
        "{observation:?}"
    );
    let (_members, mut prober) = set(&[arbiter, recovering]).await?;
    let observation = attempt(&mut prober).await;
    assert_eq!(observation.class, FindingClass::ServerStarting, "{observation:?}");
    Ok(())
}

#[tokio::test]
async fn a_router_asks_its_config_servers() -> Result<()> {
    let router = doc! { "isWritablePrimary": true, "msg": "isdbgrid", "maxWireVersion": 17, "ok": 1.0 };
    let (members, mut prober) = set(&[router]).await?;
    let observation = attempt(&mut prober).await;
    assert!(serves(&observation), "{observation:?}");
    assert_eq!((members[0].heard("find"), members[0].heard("ping")), (1, 0));
    Ok(())
}

#[tokio::test]
async fn a_server_before_hello_is_asked_as_it_knows_it() -> Result<()> {
    let old = doc! { "ismaster": true, "maxWireVersion": 8, "ok": 1.0 };
    let (members, mut prober) = set(&[old]).await?;
    let observation = attempt(&mut prober).await;
    assert!(serves(&observation), "{observation:?}");
    assert_eq!(members[0].heard("isMaster"), 1);
    Ok(())
}
