//! From `bootstrap` to a second voter: real processes, a token that works once, refusals on the way. The metrics tell of the
//! voter, to whoever logs in.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Bound of every wait.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// A node that is killed when it is dropped.
struct Node {
    child: Child,
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a configuration with free ports; gives its path and the console's address.
fn configure(folder: &Path, name: &str) -> (PathBuf, String) {
    let directory = folder.join(name);
    std::fs::create_dir(&directory).expect("a folder");
    // Held together, so that they differ; free again when this returns.
    let listeners = [0; 3].map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    let [peer, kv, console] = listeners.map(|listener| listener.local_addr().expect("an address"));
    let text = format!(
        "data_dir = \"data\"\nidentity_dir = \"identity\"\n[peer]\nlisten = \"{peer}\"\n[kv]\nlisten = \"{kv}\"\n\
         [console]\nlisten = \"{console}\"\n[limits]\nminimum_free_bytes = 1\nminimum_free_percent = 0\n"
    );
    let file = directory.join("quorate.toml");
    std::fs::write(&file, text).expect("the file is written");
    (file, format!("https://{console}"))
}

fn quorate(config: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command.args(arguments).arg("--config").arg(config).stdin(Stdio::null());
    command.output().expect("the program runs")
}

fn refusal(output: &Output) -> String {
    assert!(!output.status.success(), "it was to be refused");
    String::from_utf8_lossy(&output.stderr).to_string()
}

fn serve(config: &Path) -> Node {
    let log = std::fs::File::create(config.with_file_name("log")).expect("a log file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command
        .args(["serve", "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .stderr(log);
    Node {
        child: command.spawn().expect("the program runs"),
    }
}

/// A client that trusts the console of this node.
fn client(config: &Path) -> reqwest::Client {
    let ca = std::fs::read(config.with_file_name("identity").join("console-ca.crt")).expect("the authority");
    let certificate = reqwest::Certificate::from_pem(&ca).expect("a certificate");
    reqwest::Client::builder()
        .tls_certs_only([certificate])
        .no_proxy()
        .build()
        .expect("a client")
}

/// A session of the console's root, with the password that `bootstrap` printed.
async fn login(config: &Path, console: &str, printed: &str) -> String {
    let password = printed
        .lines()
        .find_map(|line| line.strip_prefix("console  user root  password "));
    let body = serde_json::json!({"user": "root", "password": password.expect("it is printed")});
    let answer = client(config)
        .post(format!("{console}/api/v1/login"))
        .json(&body)
        .send()
        .await
        .expect("an answer");
    let body: serde_json::Value = answer.json().await.expect("JSON");
    body["session"].as_str().expect("a session").to_owned()
}

/// Waits until `path` of a console answers with success and a body that contains `part`; without login if `session` is empty.
async fn wait_for(config: &Path, console: &str, session: &str, path: &str, part: &str) {
    let client = client(config);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut request = client.get(format!("{console}{path}"));
        if !session.is_empty() {
            request = request.bearer_auth(session);
        }
        if let Ok(answer) = request.send().await {
            let good = answer.status().is_success();
            if good && answer.text().await.is_ok_and(|body| body.contains(part)) {
                return;
            }
        }
        let log = std::fs::read_to_string(config.with_file_name("log")).unwrap_or_default();
        assert!(Instant::now() < deadline, "no `{part}` at {console}{path}:\n{log}");
        tokio::time::sleep(POLL).await;
    }
}

#[tokio::test]
async fn a_second_node_joins_and_becomes_a_voter() {
    // The first caller in the process installs it; the test has no other.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (first, first_console) = configure(folder.path(), "first");
    let (second, second_console) = configure(folder.path(), "second");

    let bootstrapped = quorate(&first, &["bootstrap"]);
    assert!(bootstrapped.status.success());
    let printed = String::from_utf8(bootstrapped.stdout).expect("text");
    assert!(refusal(&quorate(&first, &["bootstrap"])).contains("already holds the identity of node 1"));
    let _first = serve(&first);
    wait_for(&first, &first_console, "", "/readyz", "ready").await;

    let token = String::from_utf8(quorate(&first, &["join-token"]).stdout).expect("text");
    let damaged = format!("{}x", token.trim_end());
    assert!(refusal(&quorate(&second, &["join", "--token", &damaged])).contains("is damaged"));
    let taken = std::fs::read_to_string(&first).expect("the first node's settings");
    let taken = taken
        .split("[peer]\nlisten = \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let taken = [
        "join",
        "--token",
        &token,
        "--peer-advertise",
        taken.expect("an address"),
    ];
    let refused = refusal(&quorate(&second, &taken));
    assert!(refused.contains("is the peer address of"), "{refused}");
    let joined = quorate(&second, &["join", "--token", &token]);
    assert!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
    let elsewhere = folder.path().join("third").display().to_string();
    let again = quorate(&second, &["join", "--identity-dir", &elsewhere, "--token", &token]);
    assert!(refusal(&again).contains("was used already"), "a token works once");

    let joined = serve(&second);
    wait_for(&second, &second_console, "", "/readyz", "ready").await;
    let metrics = client(&first).get(format!("{first_console}/metrics")).send().await;
    let stranger = metrics.expect("an answer");
    assert_eq!(stranger.status().as_u16(), 401, "the metrics are not for strangers");
    assert!(!stranger.text().await.expect("a text").contains("quorate_raft"));
    let session = login(&first, &first_console, &printed).await;
    let two = "quorate_raft_voters 2\n";
    wait_for(&first, &first_console, &session, "/metrics", two).await;

    drop(joined);
    std::fs::remove_dir_all(second.with_file_name("data")).expect("its data");
    let lost = refusal(&quorate(&second, &["serve"]));
    assert!(lost.contains("lost its data"), "{lost}");
}
