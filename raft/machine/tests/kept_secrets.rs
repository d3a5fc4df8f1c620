//! A secret that an edit leaves out is kept, and goes nowhere but where it went before.

mod common;

use common::build::{self, id};
use common::kinds::{sample, set};
use quorate_machine::*;

fn changed(kind: &MonitorKind, changes: &[(&str, &str)]) -> MonitorKind {
    let mut kind = kind.clone();
    for (field, value) in changes {
        set(&mut kind, field, value);
    }
    kind
}

/// The fields whose secrets have to be given again.
fn needed_again(present: &MonitorKind, edited: &MonitorKind) -> Vec<String> {
    let Err(refusal) = check_kept_secrets(present, edited) else {
        return Vec::new();
    };
    assert_eq!(refusal.code(), RefusalCode::SecretNeededAgain);
    for problem in &refusal.fields {
        assert_eq!(problem.code, "needed-again");
        assert!(problem.detail.starts_with("give the "), "{}", problem.detail);
    }
    refusal.fields.into_iter().map(|problem| problem.pointer).collect()
}

#[test]
fn what_both_sides_share_goes_to_the_servers_of_both() {
    for name in ["mysql", "postgresql", "oracle"] {
        let present = changed(&sample(name).expect("a kind"), &[("replicas", "10.0.1.9:3306")]);
        let kept = changed(&present, &[("password", "none")]);
        let again = [format!("/{name}/password")];
        for (field, value) in [
            ("dc1", "10.9.9.9:3306"),
            ("dc2", "10.0.2.1:3307"),
            ("replicas", "10.0.1.9:3306,10.9.9.9:3306"),
            ("tls", "unverified"),
        ] {
            let edited = changed(&kept, &[(field, value)]);
            assert_eq!(needed_again(&present, &edited), again, "{field}");
            let given = changed(&edited, &[("password", "another")]);
            assert_eq!(needed_again(&present, &given), [""; 0], "{field}");
        }
        for changes in [
            &[("user", "other"), ("database", "other")][..],
            &[("dc1", "10.0.2.1:3306"), ("dc2", "10.0.1.1:3306")],
            &[("replicas", "")],
            &[("dc1", "10.0.1.9:3306")],
            &[("tls", "off")],
        ] {
            assert_eq!(needed_again(&present, &changed(&kept, changes)), [""; 0], "{changes:?}");
        }
    }
}

#[test]
fn a_certificate_authority_is_not_exchanged_under_a_kept_password() {
    let verified = [("tls", "verified"), ("ca", "one")];
    let present = changed(&sample("mongodb").expect("a kind"), &verified);
    let kept = changed(&present, &[("password", "none")]);
    assert_eq!(needed_again(&present, &kept), [""; 0]);
    for change in [("ca", "another"), ("tls", "unverified"), ("tls", "off")] {
        assert_eq!(
            needed_again(&present, &changed(&kept, &[change])),
            ["/mongodb/password"]
        );
    }
}

#[test]
fn the_secrets_of_one_side_are_no_business_of_the_other() {
    let present = sample("redis").expect("a kind");
    let kept = changed(&present, &[("dc1.password", "none"), ("dc2.password", "none")]);
    let dc2 = ("dc2.addresses", "10.9.9.9:6379");
    assert_eq!(needed_again(&present, &changed(&kept, &[dc2])), ["/redis/dc2/password"]);
    let swapped = [("dc1.addresses", "10.0.2.1:6379"), ("dc2.addresses", "10.0.1.1:6379")];
    assert_eq!(
        needed_again(&present, &changed(&kept, &swapped)),
        ["/redis/dc1/password", "/redis/dc2/password"]
    );
    let open = [("dc2.addresses", "10.9.9.9:6379"), ("dc2.passwordless", "on")];
    assert_eq!(
        needed_again(&present, &changed(&kept, &open)),
        [""; 0],
        "no secret goes there"
    );

    let sentinels = [
        ("mode", "sentinel"),
        ("master", "mymaster"),
        ("dc1.sentinel_user", "watcher"),
        ("dc1.sentinel_password", "sealed"),
    ];
    let present = changed(&present, &sentinels);
    let kept = changed(&present, &[("dc1.sentinel_password", "none")]);
    let moved = changed(&kept, &[("dc1.addresses", "10.9.9.9:26379")]);
    assert_eq!(needed_again(&present, &moved), ["/redis/dc1/sentinel_password"]);

    let present = sample("elasticsearch").expect("a kind");
    let kept = changed(&present, &[("dc1.password", "none"), ("dc2.password", "none")]);
    let fewer = changed(&kept, &[("dc1.addresses", "10.0.1.2:9200")]);
    assert_eq!(needed_again(&present, &fewer), [""; 0]);
    let plain = changed(&kept, &[("dc1.scheme", "http")]);
    assert_eq!(needed_again(&present, &plain), ["/elasticsearch/dc1/password"]);
}

#[test]
fn a_secret_header_is_pointed_at_where_it_stands() {
    let headers = [("dc1.header", "x-plain:v"), ("dc1.secret", "X-Token:sealed")];
    let present = changed(&sample("api").expect("a kind"), &headers);
    let kept = changed(&present, &[("dc1.secret", "X-Token:none")]);
    assert_eq!(
        needed_again(&present, &changed(&kept, &[("dc1.path", "/other")])),
        [""; 0]
    );
    for change in [("dc1.address", "10.9.9.9:443"), ("dc1.scheme", "http")] {
        let edited = changed(&kept, &[change]);
        assert_eq!(needed_again(&present, &edited), ["/api/dc1/headers/1/value"]);
    }
}

/// A cluster with a monitor, and an edit of it that moves dc1 and keeps the password.
#[test]
fn an_edit_is_refused_before_its_test_and_one_from_an_old_log_is_not() {
    let mut state = State::new();
    let mut by = |author: Principal, command: Command| {
        let index = state.applied_index() + 1;
        let outcome = apply(&mut state, index, &build::envelope(0, None, author, command));
        outcome.reply.refusal().map(Refusal::code)
    };
    let node = || build::node_principal(1);
    let root = || build::user_principal("root", 1);
    let leader = Command::LeaderStarted(LeaderStarted { term: 1, node: 1 });
    assert_eq!(by(node(), leader), None);
    assert_eq!(by(node(), build::bootstrap()), None);
    assert_eq!(by(root(), build::application(1, "shop")), None);
    let create = CreateMonitor {
        id: id(8, 1),
        application: id(7, 1),
        spec: build::monitor_spec("orders"),
        pool: None,
        connection_test: Some(TestGate::of(TestVerdict::Passed)),
    };
    assert_eq!(by(root(), Command::CreateMonitor(Box::new(create))), None);

    let edit = |password: &str, connection_test: Option<TestGate>| {
        let mut spec = build::monitor_spec("orders");
        let kind = spec.kind.as_mut().expect("a kind");
        set(kind, "dc1", "10.9.9.9:3306");
        set(kind, "password", password);
        Command::UpdateMonitor(Box::new(UpdateMonitor {
            id: id(8, 1),
            generation: 1,
            spec,
            connection_test,
        }))
    };
    let reasoned = TestGate {
        reason: "moved at night".to_owned(),
        ..TestGate::of(TestVerdict::Overridden)
    };
    let passed = TestGate::of(TestVerdict::Passed);
    for gate in [TestGate::of(TestVerdict::Owed), passed.clone(), reasoned] {
        let refused = by(root(), edit("none", Some(gate)));
        assert_eq!(refused, Some(RefusalCode::SecretNeededAgain));
    }
    assert_eq!(by(root(), edit("another", Some(passed))), None);
    let Command::UpdateMonitor(mut old) = edit("none", None) else {
        unreachable!("an edit");
    };
    old.generation = 2;
    set(old.spec.kind.as_mut().expect("a kind"), "dc1", "10.9.9.8:3306");
    assert_eq!(by(root(), Command::UpdateMonitor(old)), None, "it was decided long ago");
}
