//! What is refused of members: text without bound, ids given twice.

mod common;

use common::build;
use quorate_machine::*;

fn apply_as_node(state: &mut State, command: Command) -> Reply {
    let envelope = build::envelope(0, None, build::node_principal(1), command);
    let index = state.applied_index() + 1;
    apply(state, index, &envelope).reply
}

fn upsert(node: NodeRecord, new: Option<bool>) -> Command {
    Command::UpsertNode(UpsertNode {
        node,
        new,
        keeps_place: false,
    })
}

fn fields(reply: &Reply) -> Vec<(&str, &str)> {
    let refusal = reply.refusal().expect("it must be refused");
    let fields = refusal.fields.iter();
    fields
        .map(|field| (field.pointer.as_str(), field.code.as_str()))
        .collect()
}

fn bootstrap(change: impl FnOnce(&mut Bootstrap)) -> Command {
    let Command::Bootstrap(mut command) = build::bootstrap() else {
        panic!("a bootstrap");
    };
    change(&mut command);
    Command::Bootstrap(command)
}

#[test]
fn a_node_has_bounded_texts() {
    let mut state = State::new();
    assert_eq!(apply_as_node(&mut state, build::bootstrap()).refusal(), None);
    let long = "x".repeat(1_100);
    type Change = fn(&mut NodeRecord, String);
    let changes: [(&str, Change); 5] = [
        ("/name", |node, text| node.name = text),
        ("/zone", |node, text| node.zone = text),
        ("/peer", |node, text| node.peer = text),
        ("/kv", |node, text| node.kv = text),
        ("/console", |node, text| node.console = text),
    ];
    for (pointer, change) in changes {
        let mut node = build::node(4);
        change(&mut node, long.clone());
        let reply = apply_as_node(&mut state, upsert(node.clone(), Some(true)));
        assert_eq!(fields(&reply), [(pointer, "too-long")]);
        let reply = apply_as_node(&mut State::new(), bootstrap(|command| command.nodes.push(node)));
        assert_eq!(fields(&reply), [(pointer, "too-long")]);
    }
    assert!(state.node(4).is_none());
}

#[test]
fn a_bootstrap_gives_no_id_twice() {
    let reply = apply_as_node(&mut State::new(), bootstrap(|command| command.nodes[2].id = 1));
    assert_eq!(fields(&reply), [("/nodes", "duplicate")]);
    let reply = apply_as_node(
        &mut State::new(),
        bootstrap(|command| command.instance_id = command.namespace_id),
    );
    assert_eq!(fields(&reply), [("/module_id", "duplicate")]);
    let reply = apply_as_node(
        &mut State::new(),
        bootstrap(|command| command.kv_sdk_password_hash = vec![b'x'; 2_000].into()),
    );
    assert_eq!(fields(&reply), [("/root_password_hash", "too-long")]);
}

fn bootstrap_etcd() -> Command {
    Command::BootstrapEtcd(Box::new(BootstrapEtcd {
        cluster_id: etcd_numbered_cluster(5),
        nodes: vec![build::node(1), build::node(2)],
        instance_id: build::instance(),
        namespace_id: build::id(4, 1),
        token_secret: build::id(9, 9),
    }))
}

#[test]
fn a_cluster_that_stands_in_for_etcd_is_open_and_keeps_no_key_for_itself() {
    let mut state = State::new();
    assert_eq!(apply_as_node(&mut state, bootstrap_etcd()).refusal(), None);
    assert!(state.stands_in_for_etcd());
    assert_eq!(state.users().count(), 0);
    assert!(!state.keyspace(&build::instance()).expect("it exists").auth_enabled());
    let put = |key: &'static str| {
        Command::Kv(KvCommand {
            instance: build::instance(),
            op: Some(quorate_kv::KvOp::Put(quorate_kv::PutRequest {
                key: key.into(),
                value: "v".into(),
                ..quorate_kv::PutRequest::default()
            })),
        })
    };
    let reply = apply_as_node(&mut state, put("/mas-monitor/x"));
    let Some(ReplyKind::Kv(reply)) = reply.kind else {
        panic!("an operation on keys is answered as such")
    };
    assert_eq!(
        (
            reply.revision,
            matches!(reply.result, Some(quorate_kv::KvResult::Put(_)))
        ),
        (2, true)
    );
    let again = apply_as_node(&mut state, bootstrap_etcd());
    assert_eq!(
        again.refusal().expect("only once").code(),
        RefusalCode::AlreadyBootstrapped
    );
    // It survives a snapshot.
    let mut decoder = StateDecoder::new();
    for block in encode_snapshot(&state) {
        decoder.push(&block).expect("a good block");
    }
    let decoded = decoder.finish().expect("a whole state");
    assert!(decoded.stands_in_for_etcd());
    assert_eq!(decoded.state_hash(), state.state_hash());
}

#[test]
fn a_removed_node_leaves_nothing_behind() {
    let mut state = State::new();
    let monitor = build::id(8, 1);
    let create = CreateMonitor {
        id: monitor,
        application: build::id(7, 1),
        spec: build::monitor_spec("orders"),
        pool: None,
        connection_test: Some(TestGate::of(TestVerdict::Passed)),
    };
    let report = ReportHealth {
        node: 2,
        incarnation: 1,
        sequence: 1,
        votes: DataCenter::ALL
            .map(|dc| build::vote(monitor, 1, dc, Vote::Down))
            .to_vec(),
        full: true,
    };
    let hash = ReportStateHash {
        node: 2,
        index: 1,
        hash: vec![7; 32].into(),
    };
    let root = build::user_principal("root", 1);
    for (author, command) in [
        (build::node_principal(1), build::bootstrap()),
        (
            build::node_principal(1),
            Command::LeaderStarted(LeaderStarted { term: 1, node: 1 }),
        ),
        (root.clone(), build::application(1, "shop")),
        (root, Command::CreateMonitor(Box::new(create))),
        (build::node_principal(2), Command::ReportHealth(report)),
        (build::node_principal(2), Command::ReportStateHash(hash)),
    ] {
        let index = state.applied_index() + 1;
        let reply = apply(&mut state, index, &build::envelope(0, None, author, command)).reply;
        assert_eq!(reply.refusal(), None);
    }
    let votes = |state: &State| {
        let found = state.monitor(&monitor).expect("it exists");
        DataCenter::ALL.map(|dc| found.side(dc).votes.len())
    };
    assert!(state.worker(2).is_some() && state.hash_report(2).is_some());
    assert_eq!(votes(&state), [1, 1]);
    for _ in 0..2 {
        let reply = apply_as_node(&mut state, Command::RemoveNode(RemoveNode { node: 2 }));
        assert_eq!(reply.refusal(), None, "to remove a node again changes nothing");
        assert!(state.node(2).is_none() && state.worker(2).is_none() && state.hash_report(2).is_none());
        assert_eq!(votes(&state), [0, 0], "what it voted would hold for ever");
    }
}

/// What becomes of the record of a node: the code of the refusal, and the peer address that the id stands for then.
fn upserted(state: &mut State, node: NodeRecord, new: Option<bool>) -> (Option<RefusalCode>, Option<String>) {
    let id = node.id;
    let reply = apply_as_node(state, upsert(node, new));
    let code = reply.refusal().map(|refusal| refusal.code());
    (code, state.node(id).map(|node| node.peer.clone()))
}

fn at(id: u64, peer: &str) -> NodeRecord {
    NodeRecord {
        peer: peer.to_owned(),
        ..build::node(id)
    }
}

#[test]
fn an_id_is_given_to_one_node() {
    let mut state = State::new();
    assert_eq!(apply_as_node(&mut state, build::bootstrap()).refusal(), None);
    let (x, y) = (Some("x:2380".to_owned()), Some("y:2380".to_owned()));
    let id = state.next_node_id();
    let taken = Some(RefusalCode::NodeIdTaken);
    assert_eq!(upserted(&mut state, at(id, "x:2380"), Some(true)), (None, x.clone()));
    assert_eq!(upserted(&mut state, at(id, "y:2380"), Some(true)), (taken, x.clone()));
    let index = state.audit().last_sequence();
    assert_eq!(
        upserted(&mut state, at(id, "x:2380"), Some(true)),
        (None, x),
        "the same once more"
    );
    assert_eq!(state.audit().last_sequence(), index, "which changes nothing");
    assert_eq!(
        upserted(&mut state, at(id, "y:2380"), Some(false)),
        (None, y),
        "it moves"
    );
}

#[test]
fn nothing_brings_a_removed_node_back() {
    let mut state = State::new();
    assert_eq!(apply_as_node(&mut state, build::bootstrap()).refusal(), None);
    assert_eq!(upserted(&mut state, at(4, "x:2380"), Some(true)).0, None);
    assert_eq!(upserted(&mut state, at(5, "y:2380"), Some(true)).0, None);
    for node in [5, 4] {
        apply_as_node(&mut state, Command::RemoveNode(RemoveNode { node }));
    }
    let gone = (Some(RefusalCode::NotFound), None);
    assert_eq!(upserted(&mut state, at(4, "x:2380"), Some(false)), gone);
    let taken = (Some(RefusalCode::NodeIdTaken), None);
    for id in [4, 5] {
        assert_eq!(upserted(&mut state, at(id, "z:2380"), Some(true)), taken);
    }
    assert_eq!(upserted(&mut state, at(6, "z:2380"), Some(true)).0, None);
    // An entry of a log from before is applied as it was then.
    assert_eq!(
        upserted(&mut state, at(4, "x:2380"), None),
        (None, Some("x:2380".to_owned()))
    );
}

#[test]
fn what_a_node_says_of_itself_changes_neither_its_role_nor_its_address() {
    let mut state = State::new();
    assert_eq!(apply_as_node(&mut state, build::bootstrap()).refusal(), None);
    let learner = NodeRecord {
        learner: true,
        ..at(4, "x:2380")
    };
    assert_eq!(upserted(&mut state, learner.clone(), Some(true)).0, None);
    // It read its record, and was moved and promoted before what it says of itself arrived.
    let promoted = at(4, "y:2380");
    assert_eq!(upserted(&mut state, promoted.clone(), Some(false)).0, None);
    let said = UpsertNode {
        node: NodeRecord {
            name: "four".to_owned(),
            kv: "http://x:2379".to_owned(),
            ..learner
        },
        new: Some(false),
        keeps_place: true,
    };
    let reply = apply_as_node(&mut state, Command::UpsertNode(said.clone()));
    assert_eq!(reply.refusal(), None);
    let expected = NodeRecord {
        learner: false,
        peer: promoted.peer,
        ..said.node
    };
    assert_eq!(state.node(4), Some(&expected));
}
