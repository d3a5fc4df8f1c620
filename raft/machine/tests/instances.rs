//! Who sets passwords of KV users and takes client certificates, what records of it say, and what nodes say of ports.

mod common;

use bytes::Bytes;
use common::build::{self, id};
use quorate_kv::{KvOp, UserCredential, UserRole};
use quorate_machine::*;

const SHOP: u64 = 2;
const TOKEN: u64 = 9;

/// A cluster with a second instance, an administrator `ada`, and a token of root's with root's own role.
fn cluster() -> State {
    let mut state = State::new();
    let root = build::user_principal("root", 1);
    for (author, command) in [
        (build::node_principal(1), build::bootstrap()),
        (root.clone(), build::instance_command(id(5, SHOP), "shop")),
        (
            root.clone(),
            Command::CreateUser(CreateUser {
                id: id(6, 2),
                name: "ada".to_owned(),
                password_hash: "argon2-of-ada".to_owned(),
                role: Role::Admin as i32,
            }),
        ),
        (
            root,
            Command::CreateApiToken(CreateApiToken {
                id: id(9, TOKEN),
                name: "deploy".to_owned(),
                hash: Bytes::from(vec![7; 32]),
                role: Role::Root as i32,
                expires_at_ms: 1_800_000_000_000,
                applications: Vec::new(),
            }),
        ),
    ] {
        assert_eq!(apply_as(&mut state, author, command).reply.refusal(), None);
    }
    state
}

fn apply_as(state: &mut State, author: Principal, command: Command) -> Outcome {
    let index = state.applied_index() + 1;
    apply(state, index, &build::envelope(0, None, author, command))
}

fn with_token(user: &str) -> Principal {
    let mut principal = build::user_principal(user, 1);
    if let Some(PrincipalKind::User(user)) = &mut principal.kind {
        user.token = Some(id(9, TOKEN));
    }
    principal
}

fn kv(instance: Id, op: KvOp) -> Command {
    Command::Kv(KvCommand { instance, op: Some(op) })
}

fn password(instance: Id, user: &str) -> Command {
    let credential = UserCredential {
        name: user.to_owned(),
        password_hash: Bytes::from_static(b"bcrypt-new"),
        no_password: false,
    };
    kv(instance, KvOp::UserChangePassword(credential))
}

/// The code that refuses the command, if one does, and what the audit log says of it: code, refusal, parameters.
fn tried(state: &mut State, author: Principal, command: Command) -> (Option<RefusalCode>, String) {
    let before = state.audit().last_sequence();
    let reply = apply_as(state, author, command).reply;
    let records = state.audit().from_sequence(before + 1).map(|record| {
        let params = record
            .params
            .iter()
            .map(|param| format!(" {}={}", param.name, param.value));
        format!("{}{}{}", record.code, record.refused, params.collect::<String>())
    });
    let text = records.collect::<Vec<_>>().join("; ");
    (reply.refusal().map(Refusal::code), text)
}

#[test]
fn the_kv_root_of_the_first_instance_is_for_the_root_of_the_console() {
    let mut state = cluster();
    let (first, shop) = (build::instance(), id(5, SHOP));
    let (ada, root) = (build::user_principal("ada", 1), build::user_principal("root", 1));
    let denied = Some(RefusalCode::PermissionDenied);
    let refused = |user: &str| (denied, format!("kvpermission-denied role=admin user={user}"));
    let done = |user: &str| (None, format!("kv operation=user-change-password user={user}"));
    assert_eq!(tried(&mut state, ada.clone(), password(first, "root")), refused("root"));
    assert_eq!(tried(&mut state, ada.clone(), password(first, "mas")), done("mas"));
    assert_eq!(tried(&mut state, ada.clone(), password(shop, "root")), done("root"));
    assert_eq!(tried(&mut state, root, password(first, "root")), done("root"));
    // Another user with the role can do the same.
    let grant = UserRole {
        user: "mas".to_owned(),
        role: "root".to_owned(),
    };
    apply_as(
        &mut state,
        build::node_principal(1),
        kv(first, KvOp::UserGrantRole(grant)),
    );
    assert_eq!(tried(&mut state, ada, password(first, "mas")), refused("mas"));
}

#[test]
fn a_token_sets_no_kv_password_and_takes_no_certificate() {
    let mut state = cluster();
    let shop = id(5, SHOP);
    let certificate = || Command::IssueClientCertificate(IssueClientCertificate { instance: shop });
    let denied = Some(RefusalCode::PermissionDenied);
    assert_eq!(tried(&mut state, with_token("root"), password(shop, "mas")).0, denied);
    assert_eq!(tried(&mut state, with_token("root"), certificate()).0, denied);
    let taken = (None, "issue-client-certificate instance=shop".to_owned());
    assert_eq!(tried(&mut state, build::user_principal("ada", 1), certificate()), taken);
    let record = state.audit().iter().next_back().expect("a record");
    assert_eq!((record.object, record.actor.as_str()), (Some(shop), "user:ada"));
    let gone = Command::IssueClientCertificate(IssueClientCertificate { instance: id(5, 77) });
    let unknown = Some(RefusalCode::NotFound);
    assert_eq!(tried(&mut state, build::user_principal("root", 1), gone).0, unknown);
}

#[test]
fn a_long_problem_of_a_port_is_kept_as_the_node_compares_it() {
    let mut state = cluster();
    let shop = id(5, SHOP);
    let report = |problem: String| {
        let port = InstancePort { node: 2, problem };
        Command::ReportInstancePort(ReportInstancePort { instance: shop, port })
    };
    let text = format!("{}é", "x".repeat(511));
    let outcome = apply_as(&mut state, build::node_principal(2), report(text.clone()));
    assert!(outcome.wake.any(), "whoever shows the instance looks again");
    let known = &state.instance(&shop).expect("the instance").ports;
    assert_eq!(known[..], [InstancePort::new(2, &text)]);
    assert_eq!(known[0].problem.len(), 511);
    let event = state.events().iter().next_back().expect("an event");
    assert_eq!((event.code(), event.instance), (EventCode::InstanceFailed, Some(shop)));
    // It opens: no event, and a look all the same.
    let outcome = apply_as(&mut state, build::node_principal(2), report(String::new()));
    assert!(outcome.wake.any());
    let outcome = apply_as(&mut state, build::node_principal(2), report(String::new()));
    assert!(!outcome.wake.any(), "nothing new was said");
}

#[test]
fn no_command_shows_a_hash() {
    let commands = [
        build::bootstrap(),
        build::instance_command(id(5, SHOP), "shop"),
        Command::CreateUser(CreateUser {
            password_hash: "argon2".to_owned(),
            ..CreateUser::default()
        }),
        Command::SetUserPassword(SetUserPassword {
            name: "ada".to_owned(),
            password_hash: "argon2".to_owned(),
        }),
        Command::CreateApiToken(CreateApiToken {
            hash: Bytes::from_static(b"sha256"),
            ..CreateApiToken::default()
        }),
        password(id(5, SHOP), "mas"),
    ];
    for command in commands {
        let shown = format!("{command:?}");
        for hash in ["bcrypt", "argon2", "sha256"] {
            assert!(!shown.contains(hash), "{shown}");
        }
    }
}
