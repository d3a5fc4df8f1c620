//! What is refused of members: text without bound, ids given twice.

mod common;

use common::build;
use quorate_machine::*;

fn apply_as_node(state: &mut State, command: Command) -> Reply {
    let envelope = build::envelope(0, None, build::node_principal(1), command);
    let index = state.applied_index() + 1;
    apply(state, index, &envelope).reply
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
    let long = "x".repeat(300);
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
        let reply = apply_as_node(&mut state, Command::UpsertNode(UpsertNode { node: node.clone() }));
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
