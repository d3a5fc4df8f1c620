//! Life, role and ailments of one Redis process.

use std::collections::BTreeMap;

use quorate_machine::FindingClass;
use redis::Value;
use tokio::time::Instant;

use super::session::Session;
use crate::{
    failure::{Failure, age_ms},
    kept::Answer,
    observation::{Connections, RoleInfo, Stage, bounded_text},
};

/// How the words of a replica begin.
pub(super) const REPLICA: &str = "replica: role:slave";

/// What changes seldom and is asked on fresh connections only. Optional by nature: an account that may not ask for it is no
/// fault of the server.
#[derive(Debug, Default)]
pub(super) struct Facts {
    version: String,
    /// `min-replicas-to-write`, where it is in force.
    min_replicas: Option<u64>,
    /// Writes are refused for want of memory, in words.
    out_of_memory: Option<String>,
    connections: Option<Connections>,
    /// When they were asked for.
    measured: Option<Instant>,
}

/// `PING` and role; on a fresh connection the rarer facts too.
pub(super) async fn ask(
    session: &mut Session,
    facts: &mut Facts,
    fresh: bool,
    deadline: Instant,
) -> Result<Answer, Failure> {
    let mut ailment = ping(session, deadline).await?;
    let replication = session.info("replication", deadline).await?;
    if fresh {
        *facts = learn(session, deadline).await?;
    }
    let field = |name: &str| replication.get(name).map(String::as_str);
    let replica = match field("role") {
        Some("master") => false,
        Some("slave") => true,
        other => {
            let text = format!("the role is {}", other.unwrap_or("not told"));
            return Err(Failure::new(Stage::Role, FindingClass::WrongAnswer, &text));
        }
    };
    let link = field("master_link_status");
    if replica {
        let link = link.unwrap_or("unknown");
        ailment = Some(format!("{REPLICA}, master_link_status:{link}"));
    }
    let good = field("min_slaves_good_slaves").and_then(|count| count.parse::<u64>().ok());
    if let (Some(least), Some(good)) = (facts.min_replicas, good)
        && good < least
    {
        ailment = ailment.or_else(|| Some(format!("NOREPLICAS: {good} good replicas, writes need {least}")));
    }
    let ailment = ailment.or_else(|| facts.out_of_memory.clone());
    Ok(Answer {
        role: RoleInfo {
            read_only: ailment.is_some(),
            replication_lag_seconds: replica.then(|| lag(&replication)).flatten(),
            replication_lag_bytes: replica.then(|| lag_bytes(&replication)).flatten(),
            replication_broken: (link != Some("up") && replica).then(|| {
                let link = link.unwrap_or("unknown");
                format!("master_link_status:{link}")
            }),
            connections: facts.connections,
            facts_age_ms: age_ms(facts.measured),
            server_version: facts.version.clone(),
            ..RoleInfo::default()
        },
        ailment: ailment.map(|text| (FindingClass::ReadOnly, bounded_text(&text))),
        reusable: true,
    })
}

/// `None`: well. A server that refuses writes says so to `PING` itself.
pub(super) async fn ping(session: &mut Session, deadline: Instant) -> Result<Option<String>, Failure> {
    match session.ask::<String>(&redis::cmd("PING"), Stage::Query, deadline).await {
        Ok(answer) if answer == "PONG" => Ok(None),
        Ok(answer) => {
            let text = format!("PING was answered with {answer}");
            Err(Failure::new(Stage::Query, FindingClass::WrongAnswer, &text))
        }
        Err(failure) if failure.class == FindingClass::ReadOnly => Ok(Some(failure.text)),
        Err(failure) => Err(failure),
    }
}

/// The version as the server names it.
pub(super) async fn version(session: &mut Session, deadline: Instant) -> Result<String, Failure> {
    let server = session.info("server", deadline).await?;
    Ok(bounded_text(server.get("redis_version").map_or("", String::as_str)))
}

async fn learn(session: &mut Session, deadline: Instant) -> Result<Facts, Failure> {
    let measured = Instant::now();
    let version = version(session, deadline).await?;
    let memory = session.info("memory", deadline).await?;
    let number = |name: &str| memory.get(name).and_then(|value| value.parse::<u64>().ok());
    let full = match (number("used_memory"), number("maxmemory")) {
        (Some(used), Some(most)) if most > 0 && used >= most => Some(format!("OOM: {used} of {most} bytes used")),
        _ => None,
    };
    // Other policies make room by themselves.
    let keeps = memory
        .get("maxmemory_policy")
        .is_some_and(|policy| policy == "noeviction");
    let setting = redis::cmd("CONFIG").arg("GET").arg("min-replicas-to-write").to_owned();
    let least = match session
        .ask::<BTreeMap<String, u64>>(&setting, Stage::Query, deadline)
        .await
    {
        Ok(found) => found.into_values().next().filter(|least| *least > 0),
        Err(failure) if failure.class == FindingClass::Timeout => return Err(failure),
        Err(_not_allowed) => None,
    };
    let clients = match session.info("clients", deadline).await {
        Ok(clients) => clients,
        Err(failure) if failure.class == FindingClass::Timeout => return Err(failure),
        Err(_not_told) => BTreeMap::new(),
    };
    let count = |name: &str| clients.get(name).and_then(|value| value.parse::<u64>().ok());
    // `maxclients` stands there from Redis 7.0 on.
    let limit = count("maxclients");
    Ok(Facts {
        connections: count("connected_clients").map(|used| Connections { used, limit }),
        version,
        min_replicas: least,
        out_of_memory: full.filter(|_| keeps),
        measured: Some(measured),
    })
}

/// Lag in seconds, as a replica knows it: how long its link is broken, or 0 when it has applied everything it received. Redis
/// tells no time for bytes that wait.
fn lag(replication: &BTreeMap<String, String>) -> Option<u64> {
    let number = |name: &str| replication.get(name).and_then(|value| value.parse::<u64>().ok());
    match replication.get("master_link_status").map(String::as_str) {
        Some("up") => (number("slave_read_repl_offset") == number("slave_repl_offset")).then_some(0),
        _ => number("master_link_down_since_seconds"),
    }
}

/// Bytes that a replica has received and not applied.
fn lag_bytes(replication: &BTreeMap<String, String>) -> Option<u64> {
    let number = |name: &str| replication.get(name).and_then(|value| value.parse::<u64>().ok());
    Some(number("slave_read_repl_offset")?.saturating_sub(number("slave_repl_offset")?))
}

/// How an operator reads a role.
pub(super) fn shown(answer: &Answer) -> String {
    let role = match &answer.ailment {
        Some((_, text)) => text.clone(),
        None => "master, writable".to_owned(),
    };
    match answer.role.replication_lag_seconds {
        Some(seconds) => format!("{role}; {seconds} s behind"),
        None => role,
    }
}

/// Whether a value is nil.
pub(super) fn is_nil(value: &Value) -> bool {
    matches!(value, Value::Nil)
}
