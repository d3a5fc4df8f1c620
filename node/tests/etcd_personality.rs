//! The program under the name `etcd`: launched by etcd's flags, spoken to with the real `etcdctl`.

mod etcd_common;

use etcd_common::{Cluster, Transport, etcd, wait_until};

fn works(transport: Transport, members: usize) {
    let mut cluster = Cluster::start(members, transport);
    cluster.ctl(&["put", "greeting", "hello"]);
    assert_eq!(cluster.ctl(&["get", "greeting", "--print-value-only"]).trim(), "hello");
    let list = cluster.ctl(&["member", "list"]);
    assert_eq!(list.lines().count(), members, "{list}");
    for line in list.lines() {
        let fields: Vec<&str> = line.split(", ").collect();
        assert_eq!((fields[1], fields[5]), ("started", "false"), "{line}");
        assert!(
            fields[3].starts_with(transport.scheme()) && fields[4].starts_with(transport.scheme()),
            "{line}"
        );
    }
    let health = cluster.ctl(&["endpoint", "health", "--cluster"]);
    assert_eq!(health.matches("is healthy").count(), members, "{health}");
    let status = cluster.ctl(&["endpoint", "status", "--cluster"]);
    assert_eq!(status.lines().count(), members, "{status}");
    assert!(status.contains(", 3.6.16, "), "{status}");
    // Authentication is the users' business, as with etcd; and no key is anybody's but theirs.
    cluster.ctl(&["put", "/mas-monitor/x", "ours"]);

    cluster.restart();
    assert_eq!(cluster.ctl(&["get", "greeting", "--print-value-only"]).trim(), "hello");
    cluster.stop();
}

#[test]
fn one_member_in_the_clear() {
    works(Transport::Plain, 1);
}

#[test]
fn three_members_in_the_clear() {
    works(Transport::Plain, 3);
}

#[test]
fn three_members_with_server_certificates() {
    works(Transport::Tls, 3);
}

#[test]
fn three_members_with_client_certificates() {
    works(Transport::MutualTls, 3);
}

#[test]
fn a_client_without_certificate_is_refused() {
    let cluster = Cluster::start(1, Transport::MutualTls);
    let refused = cluster.ctl_without_certificate(&["get", "x"]);
    assert!(!refused.status.success());
}

#[test]
fn a_member_that_lost_its_data_does_not_vote_again() {
    let mut cluster = Cluster::start(3, Transport::Plain);
    cluster.ctl(&["put", "k", "v"]);
    cluster.kill(2);
    cluster.lose_data(2);
    let refused = cluster.start_expecting_refusal(2);
    assert!(refused.contains("has already been bootstrapped"), "{refused}");
    assert_eq!(cluster.ctl(&["get", "k", "--print-value-only"]).trim(), "v");
}

#[test]
fn users_and_tokens_work_on_every_member() {
    let cluster = Cluster::start(3, Transport::Plain);
    for command in [
        &["user", "add", "root:secret"][..],
        &["role", "add", "root"],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        cluster.ctl(command);
    }
    for member in 0..3 {
        let put = ["--user", "root:secret", "put", "k", "v"];
        assert_eq!(cluster.ctl_at(member, &put).trim(), "OK");
        let refused = cluster.output_at(member, &["put", "k", "v"]);
        assert!(!refused.status.success(), "without a user nothing is written any more");
    }
}

#[test]
fn revisions_are_compacted_by_themselves() {
    let cluster = Cluster::start_with(1, Transport::Plain, &["--auto-compaction-retention=500ms"]);
    for _ in 0..3 {
        cluster.ctl(&["put", "k", "v"]);
    }
    wait_until("revision 2 is compacted", || {
        let output = cluster.output_at(0, &["get", "k", "--rev=2"]);
        String::from_utf8_lossy(&output.stderr).contains("required revision has been compacted")
    });
}

#[test]
fn it_answers_as_etcd_on_the_command_line() {
    let version = etcd().arg("--version").output().expect("it runs");
    let text = String::from_utf8(version.stdout).expect("text");
    assert!(
        version.status.success() && text.starts_with("etcd Version: 3.6."),
        "{text}"
    );
    assert!(text.contains("Quorate"), "{text}");
    for (flag, part) in [
        (
            "--force-new-cluster",
            "etcd flag --force-new-cluster is not supported: ",
        ),
        ("--nonsense", "flag provided but not defined: -nonsense"),
    ] {
        let output = etcd().arg(flag).output().expect("it runs");
        let text = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2));
        assert!(text.contains(part), "{text}");
    }
}
