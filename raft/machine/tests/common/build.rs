//! Commands with sensible contents, for scenarios and properties.

use bytes::Bytes;
use quorate_machine::*;

/// A stable id of a kind and a number.
pub fn id(kind: u64, number: u64) -> Id {
    Id {
        high: kind,
        low: number,
    }
}

pub fn instance() -> Id {
    id(5, 1)
}

pub fn node_principal(node: u64) -> Principal {
    Principal {
        kind: Some(PrincipalKind::Node(node)),
        source: format!("127.0.0.{node}"),
    }
}

pub fn user_principal(name: &str, auth_revision: u64) -> Principal {
    let user = UserPrincipal {
        name: name.to_owned(),
        auth_revision,
        token: None,
    };
    Principal {
        kind: Some(PrincipalKind::User(user)),
        source: "192.0.2.1:5000".to_owned(),
    }
}

pub fn node(id: u64) -> NodeRecord {
    NodeRecord {
        id,
        name: format!("node-{id}"),
        zone: format!("az{id}"),
        peer: format!("127.0.0.1:{id}2380"),
        kv: format!("127.0.0.1:{id}2379"),
        console: format!("127.0.0.1:{id}8443"),
        site: ["dc1", "dc2", "arbiter"][(id as usize - 1) % 3].to_owned(),
        learner: false,
    }
}

pub fn bootstrap() -> Command {
    Command::Bootstrap(Box::new(Bootstrap {
        cluster_id: id(1, 1),
        nodes: (1..=3).map(node).collect(),
        module_id: id(3, 1),
        namespace_id: id(4, 1),
        instance_id: instance(),
        root_user_id: id(6, 1),
        root_password_hash: "argon2".to_owned(),
        kv_root_password_hash: Bytes::from_static(b"bcrypt-root"),
        kv_sdk_password_hash: Bytes::from_static(b"bcrypt-mas"),
        feature_points: vec!["mysql".to_owned(), "redis".to_owned()],
    }))
}

pub fn application(number: u64, name: &str) -> Command {
    let spec = ApplicationSpec {
        name: name.to_owned(),
        description: String::new(),
    };
    Command::CreateApplication(CreateApplication {
        id: id(7, number),
        instance: instance(),
        spec,
    })
}

pub fn site(address: &str, region: &str) -> RelationalSite {
    RelationalSite {
        cloud: "acme".to_owned(),
        region: region.to_owned(),
        address: address.to_owned(),
        replicas: Vec::new(),
    }
}

pub fn monitor_spec(name: &str) -> MonitorSpec {
    MonitorSpec {
        name: name.to_owned(),
        notification: false,
        probing: true,
        automatic_switch: true,
        timing: Timing {
            monitor_timeout_ms: Some(10_000),
            ..Timing::default()
        },
        fence_policy: FencePolicy::None as i32,
        lag_threshold: None,
        kind: Some(MonitorKind::Mysql(RelationalSpec {
            user: "monitor".to_owned(),
            password: Some(Sealed {
                bytes: Bytes::from_static(b"sealed"),
            }),
            monitoring_database: "mysql".to_owned(),
            connecting_database: "orders".to_owned(),
            dc1: site("10.0.1.1:3306", "east"),
            dc2: site("10.0.2.1:3306", "west"),
            tls: None,
            database_is_sid: false,
            canary: None,
        })),
    }
}

pub fn source(name: &str, address: &str) -> DataSource {
    DataSource {
        name: name.to_owned(),
        address: address.to_owned(),
        schema: "orders".to_owned(),
    }
}

pub fn pool(database: &str) -> ConnectionPool {
    ConnectionPool {
        database: database.to_owned(),
        routing: Routing::SingleReadWrite as i32,
        dc1: PoolSite {
            source: source("ds1", "10.0.1.1:3306"),
            replicas: vec![source("ds1-s0", "10.0.1.2:3306")],
            load_balance: LoadBalance::Random as i32,
            zones: Vec::new(),
        },
        dc2: PoolSite {
            source: source("ds2", "10.0.2.1:3306"),
            replicas: Vec::new(),
            load_balance: LoadBalance::RoundRobin as i32,
            zones: Vec::new(),
        },
    }
}

/// The class that usually goes with a vote.
pub fn class_of(vote: Vote) -> FindingClass {
    match vote {
        Vote::Up | Vote::UpSteady => FindingClass::Ok,
        Vote::Down => FindingClass::Refused,
        Vote::Unknown => FindingClass::Dns,
    }
}

pub fn vote(monitor: Id, generation: u64, dc: DataCenter, vote: Vote) -> VoteReport {
    VoteReport {
        monitor,
        generation,
        data_center: dc as i32,
        vote: vote as i32,
        class: class_of(vote) as i32,
        text: if vote == Vote::Down {
            "connection refused".to_owned()
        } else {
            String::new()
        },
        never_logged_in: false,
        age_ms: 100,
        conditions: Vec::new(),
    }
}

pub fn envelope(time_ms: u64, session: Option<SessionStamp>, author: Principal, command: Command) -> Envelope {
    use prost::Message;
    let proposal = Proposal {
        author: Some(author),
        command: Some(command),
    };
    Envelope {
        time_ms,
        wall_ms: 1_700_000_000_000 + time_ms as i64,
        session,
        proposal: proposal.encode_to_vec().into(),
    }
}

/// A further instance.
pub fn instance_command(id: Id, name: &str) -> Command {
    Command::CreateInstance(Box::new(CreateInstance {
        id,
        namespace: self::id(4, 1),
        spec: InstanceSpec {
            name: name.to_owned(),
            description: String::new(),
        },
        kv_root_password_hash: Bytes::from_static(b"bcrypt-root"),
        kv_sdk_password_hash: Bytes::from_static(b"bcrypt-mas"),
        kv_ca: "PEM".to_owned(),
        kv_ca_key: Sealed {
            bytes: Bytes::from_static(b"sealed"),
        },
    }))
}
