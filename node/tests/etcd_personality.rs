//! The program under the name `etcd`: launched by etcd's flags, spoken to with the real `etcdctl`.

mod etcd_common;

use std::collections::BTreeMap;

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
fn three_members_with_certificates_of_their_own() {
    works(Transport::AutoTls, 3);
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
fn web_tokens_pass_on_every_member_until_they_end() {
    let keys = tempfile::tempdir().expect("a directory");
    let pair = rcgen::KeyPair::generate().expect("a key pair");
    let (public, private) = (keys.path().join("public.pem"), keys.path().join("private.pem"));
    std::fs::write(&public, pair.public_key_pem()).expect("written");
    std::fs::write(&private, pair.serialize_pem()).expect("written");
    let setting = format!(
        "--auth-token=jwt,pub-key={},priv-key={},sign-method=ES256,ttl=3s",
        public.display(),
        private.display()
    );
    let cluster = Cluster::start_with(3, Transport::Plain, &[&setting]);
    for command in [
        &["user", "add", "root:secret"][..],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        cluster.ctl(command);
    }
    let login = r#"{"name":"root","password":"secret"}"#;
    let (code, body) = post_with(cluster.places[0].client, "/v3/auth/authenticate", "", login);
    assert_eq!(code, 200, "{body}");
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let token = body["token"].as_str().expect("a token").to_owned();
    assert_eq!(token.split('.').count(), 3, "{token}");
    for member in 0..3 {
        let put = r#"{"key":"aw==","value":"dg=="}"#;
        let (code, body) = post_with(cluster.places[member].client, "/v3/kv/put", &token, put);
        assert_eq!(code, 200, "member {member}: {body}");
    }
    wait_until("the token has ended", || {
        let (code, body) = post_with(cluster.places[1].client, "/v3/kv/range", &token, r#"{"key":"aw=="}"#);
        code == 401 && body.contains("invalid auth token")
    });
    // A client that logs in anew goes on.
    let get = ["--user", "root:secret", "get", "k", "--print-value-only"];
    assert_eq!(cluster.ctl_at(2, &get).trim(), "v");
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

/// Ids of the members by name; those that have not started have none.
fn ids(list: &str) -> BTreeMap<String, String> {
    let fields = list.lines().map(|line| line.split(", ").collect::<Vec<_>>());
    fields
        .map(|fields| (fields[2].to_string(), fields[0].to_string()))
        .collect()
}

fn refusal(cluster: &Cluster, arguments: &[&str]) -> String {
    let output = cluster.output_at(0, arguments);
    assert!(!output.status.success(), "{arguments:?} must be refused");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn members_come_and_go_online() {
    let mut cluster = Cluster::start(1, Transport::Plain);
    cluster.ctl(&["put", "k", "v"]);
    // A learner answers nothing but status and serializable reads until it is promoted.
    let second = cluster.new_place();
    let url = format!("--peer-urls={}", cluster.peer_url(second));
    let added = cluster.ctl(&["member", "add", "m2", "--learner", &url]);
    assert!(added.contains("ETCD_INITIAL_CLUSTER_STATE=\"existing\""), "{added}");
    let again = refusal(&cluster, &["member", "add", "m3", "--learner", &url]);
    assert!(again.contains("etcdserver: member ID already exist"), "{again}");
    let other = ["member", "add", "m3", "--learner", "--peer-urls=http://127.0.0.1:9"];
    let too_many = refusal(&cluster, &other);
    assert!(
        too_many.contains("etcdserver: too many learner members in cluster"),
        "{too_many}"
    );
    let id = ids(&cluster.ctl(&["member", "list"]))[""].clone();
    let early = refusal(&cluster, &["member", "promote", &id]);
    let in_sync = "etcdserver: can only promote a learner member which is in sync with leader";
    assert!(early.contains(in_sync), "{early}");
    cluster.spawn_among(second, "existing", &[0, second]);
    cluster.wait_ready(second);
    assert_eq!(
        cluster
            .ctl_at(second, &["get", "k", "--consistency=s", "--print-value-only"])
            .trim(),
        "v"
    );
    let put = cluster.output_at(second, &["put", "k", "w"]);
    assert!(String::from_utf8_lossy(&put.stderr).contains("etcdserver: rpc not supported for learner"));
    wait_until("the learner is in sync", || {
        cluster.output_at(0, &["member", "promote", &id]).status.success()
    });
    let not_learner = refusal(&cluster, &["member", "promote", &id]);
    assert!(
        not_learner.contains("etcdserver: can only promote a learner member"),
        "{not_learner}"
    );
    cluster.ctl_at(second, &["put", "k", "w"]);

    // A third one as a voter at once, added by a member that does not lead.
    let third = cluster.new_place();
    let url = format!("--peer-urls={}", cluster.peer_url(third));
    cluster.ctl_at(second, &["member", "add", "m3", &url]);
    let twice = refusal(&cluster, &["member", "add", "m4", &url]);
    assert!(twice.contains("etcdserver: Peer URLs already exists"), "{twice}");
    cluster.spawn_among(third, "existing", &[0, second, third]);
    cluster.wait_ready(third);
    cluster.ctl_at(third, &["put", "k", "x"]);

    let unknown = refusal(&cluster, &["member", "remove", "1234"]);
    assert!(unknown.contains("etcdserver: member not found"), "{unknown}");
    let members = ids(&cluster.ctl(&["member", "list"]));
    // etcdctl looks at URLs itself, so this one goes by the JSON gateway.
    let id = u64::from_str_radix(&members["m3"], 16).expect("hexadecimal");
    let body = format!("{{\"ID\":\"{id}\",\"peerURLs\":[\"nonsense\"]}}");
    let malformed = post(cluster.places[0].client, "/v3/cluster/member/update", &body);
    assert!(
        malformed.contains("etcdserver: given member URLs are invalid"),
        "{malformed}"
    );
    // The first of all goes, which leads as like as not; the others go on without it.
    cluster.ctl_at(second, &["member", "remove", &members["m1"]]);
    cluster.wait_ended(0);
    wait_until("the other two go on", || {
        cluster.output_at(third, &["put", "k", "y"]).status.success()
    });
    let left = cluster.ctl_at(third, &["member", "list"]);
    assert_eq!(ids(&left).keys().collect::<Vec<_>>(), ["m2", "m3"], "{left}");
}

#[test]
fn a_lost_member_is_replaced_under_load() {
    let mut cluster = Cluster::start_with(3, Transport::Plain, &["--snapshot-count=10"]);
    let members = ids(&cluster.ctl(&["member", "list"]));
    let url = cluster.client_url(0);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (url, stop) = (&url, &stop);
        let writer = scope.spawn(move || {
            let mut acknowledged = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                // One transaction a line of etcdctl costs a process; a hundred puts in one cost one.
                acknowledged += write_batch(url, acknowledged);
            }
            acknowledged
        });
        cluster.kill(2);
        cluster.ctl(&["member", "remove", &members["m3"]]);
        let fresh = cluster.new_place();
        let peer_urls = format!("--peer-urls={}", cluster.peer_url(fresh));
        wait_until("the new member is added", || {
            cluster
                .output_at(0, &["member", "add", "m4", &peer_urls])
                .status
                .success()
        });
        cluster.spawn_among(fresh, "existing", &[0, 1, fresh]);
        cluster.wait_ready(fresh);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let acknowledged = writer.join().expect("the writer ends");
        assert!(acknowledged > 0, "there was load");
        let count = cluster.ctl_at(
            fresh,
            &["get", "load/", "--prefix", "--count-only", "--write-out=fields"],
        );
        assert!(
            count.contains(&format!("\"Count\" : {acknowledged}")),
            "{acknowledged}: {count}"
        );
        // It counts as a voter: with another one gone, two of three still decide.
        cluster.kill(1);
        wait_until("the new member votes", || {
            cluster.output_at(0, &["put", "k", "v"]).status.success()
        });
    });
}

/// Puts a hundred numbered keys in one transaction; gives how many were acknowledged.
fn write_batch(endpoint: &str, from: usize) -> usize {
    use std::io::Write;
    const KEYS: usize = 100;
    let mut child = etcd_common::etcdctl_command()
        .args(["--endpoints", endpoint, "txn"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("etcdctl runs");
    let puts: String = (from..from + KEYS)
        .map(|key| format!("put load/{key} value\n"))
        .collect();
    let mut input = child.stdin.take().expect("piped");
    input.write_all(format!("\n{puts}\n\n").as_bytes()).expect("it reads");
    drop(input);
    assert!(child.wait().expect("it ends").success(), "no write may fail");
    KEYS
}

/// One request to the JSON gateway; gives the whole answer.
fn post(port: u16, path: &str, body: &str) -> String {
    post_with(port, path, "", body).1
}

/// As [`post`], with a token; gives the status code and the body.
fn post_with(port: u16, path: &str, token: &str, body: &str) -> (u16, String) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (code.expect("a status"), body.to_owned())
}
