//! Every command of etcdctl 3.6 in every output format, on real etcd and on ours: what it prints, and how it ends, must be
//! equal but for ids, addresses and times.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quorate_chaos::differential::{Asked, Pair, Programs, System, peer};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
const FORMATS: [&str; 4] = ["simple", "json", "fields", "table"];

/// What of two outputs is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// Everything but ids, addresses and times.
    Text,
    /// The same without any number: sizes, indexes and rates are each system's own.
    Shape,
    /// That the command ends well, or does not: the systems have different members.
    End,
}

/// One command, its input, and how it is compared. `LEASE` stands for the id of the lease granted last.
struct Line {
    arguments: &'static str,
    input: &'static str,
    how: How,
}

const fn line(arguments: &'static str) -> Line {
    Line {
        arguments,
        input: "",
        how: How::Text,
    }
}

const fn shape(arguments: &'static str) -> Line {
    Line {
        how: How::Shape,
        ..line(arguments)
    }
}

const fn end(arguments: &'static str) -> Line {
    Line {
        how: How::End,
        ..line(arguments)
    }
}

const fn with(arguments: &'static str, input: &'static str) -> Line {
    Line {
        input,
        ..line(arguments)
    }
}

/// In order: later commands see what earlier ones did.
const SCRIPT: &[Line] = &[
    line("version"),
    // Keys.
    line("put k1 one"),
    line("put k2 two --prev-kv"),
    line("put k2 three --prev-kv"),
    with("put k3", "from stdin"),
    line("put k2 --ignore-value"),
    line("put none --ignore-value"),
    line("put"),
    line("get k1"),
    line("get k --prefix"),
    line("get k --prefix --keys-only"),
    line("get k --prefix --count-only"),
    line("get k1 --print-value-only"),
    line("get k1 k3"),
    line("get k2 --from-key"),
    line("get k --prefix --sort-by=MODIFY --order=DESCEND --limit=2"),
    line("get k1 --rev=2"),
    line("get k1 --rev=100000"),
    line("get k1 --consistency=s"),
    line("get k1 --hex"),
    line("get k --prefix --min-mod-rev=3 --max-mod-rev=4"),
    line("get nothing"),
    line("get k1 --consistency=x"),
    line("del k3 --prev-kv"),
    line("del nothing"),
    line("del k3 --range"),
    // Transactions.
    with("txn", "value(\"k1\") = \"one\"\n\nput k4 four\nget k1\n\nget k2\n\n"),
    with(
        "txn",
        "mod(\"k1\") > \"100\"\n\nput k4 five\n\ndel k4 --prev-kv\nget k2\n\n",
    ),
    with("txn", "ver(\"k9\") = \"0\"\n\nput k9 a\nput k9 b\n\n\n"),
    // Watches: history is read from a command's own end.
    with("txn --interactive=false", "create(\"k1\") = \"0\"\n\n\nget k1\n\n"),
    // Before there are ids of the servers' choice.
    line("endpoint hashkv"),
    line("endpoint hashkv --rev=3"),
    // Leases.
    line("lease grant 1000"),
    line("lease timetolive LEASE"),
    line("put leased value --lease=LEASE"),
    line("lease timetolive LEASE --keys"),
    line("lease list"),
    line("lease keep-alive LEASE --once"),
    line("lease revoke LEASE"),
    line("lease revoke LEASE"),
    line("lease timetolive LEASE"),
    line("lease grant 9000000001"),
    line("lease grant x"),
    // Users and roles.
    line("user add ann:secret"),
    line("user add ann:secret"),
    line("user add bob --no-password"),
    line("user list"),
    with("user passwd ann --interactive=false", "other\n"),
    line("role add reader"),
    line("role add reader"),
    line("role grant-permission reader read k1 k5"),
    line("role grant-permission reader readwrite dir/ --prefix=true"),
    line("role grant-permission reader write z --from-key=true"),
    line("role get reader"),
    line("role get root"),
    line("role get nothing"),
    line("role list"),
    line("user grant-role ann reader"),
    line("user grant-role ann nothing"),
    line("user get ann"),
    line("user get ann --detail"),
    line("user get nobody"),
    line("user revoke-role ann reader"),
    line("user revoke-role ann reader"),
    line("role revoke-permission reader k1 k5"),
    line("role revoke-permission reader k1 k5"),
    line("role delete reader"),
    line("role delete reader"),
    line("user delete ann"),
    line("user delete ann"),
    line("user delete bob"),
    line("user delete root"),
    shape("auth status"),
    line("auth enable"),
    // The cluster.
    end("member list"),
    end("member remove 1234"),
    end("member promote 1234"),
    end("member update 1234 --peer-urls=http://127.0.0.1:1"),
    end("move-leader 1234"),
    shape("endpoint health"),
    shape("endpoint status"),
    line("alarm list"),
    line("alarm disarm"),
    line("defrag"),
    line("compaction 5"),
    line("compaction 5"),
    line("compaction 100000"),
    line("compaction 8 --physical"),
    line("get k1 --rev=3"),
    // Locks and elections.
    shape("lock a-lock echo locked"),
    line("elect an-election --listen --hex=x"),
    line("nonsense"),
];

struct Ended {
    success: bool,
    stdout: String,
    stderr: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_prints_what_it_prints_on_etcd() -> Result<()> {
    let program = peer("etcdctl")?;
    let pair = Pair::start(&Programs::find()?, Asked::Leader).await?;
    let (mut leases, mut differences) = ([String::new(), String::new()], Vec::new());
    let mut compared = 0;
    for line in SCRIPT {
        // Each format sees what the one before did.
        for format in FORMATS {
            let mut seen = Vec::new();
            for (system, lease) in [&pair.etcd, &pair.quorate].into_iter().zip(&mut leases) {
                let arguments = line
                    .arguments
                    .replace("LEASE", if lease.is_empty() { "1" } else { lease });
                let ended = run(&program, system, &arguments, line.input, format).await?;
                if line.arguments == "lease grant 1000"
                    && let Some(granted) = granted_id(&ended.stdout, format)
                {
                    *lease = granted;
                }
                seen.push(normal(&ended, system, line.how));
            }
            compared += 1;
            if seen[0] != seen[1] {
                differences.push(format!(
                    "etcdctl {} -w {format}\n--- etcd\n{}\n--- quorate\n{}",
                    line.arguments, seen[0], seen[1]
                ));
            }
        }
    }
    pair.stop().await?;
    println!("{compared} outputs compared");
    ensure!(
        differences.is_empty(),
        "{} of {compared} outputs differ:\n{}",
        differences.len(),
        differences.join("\n\n")
    );
    Ok(())
}

async fn run(program: &std::path::Path, system: &System, arguments: &str, input: &str, format: &str) -> Result<Ended> {
    let mut command = Command::new(program);
    command
        .env_clear()
        .arg(format!("--endpoints=http://{}", system.endpoint))
        .arg(format!("--user={}", system.root.user))
        .arg(format!("--password={}", system.root.password))
        .arg(format!("--write-out={format}"))
        .args(arguments.split(' '))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().context("starting etcdctl")?;
    let mut stdin = child.stdin.take().context("stdin")?;
    // A command that reads nothing may have ended.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = tokio::time::timeout(COMMAND_TIMEOUT, child.wait_with_output()).await;
    let output = output.with_context(|| format!("{}: etcdctl {arguments} does not end", system.name))??;
    Ok(Ended {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// The lease's id in hexadecimal, as commands take it.
fn granted_id(stdout: &str, format: &str) -> Option<String> {
    match format {
        "json" => {
            let reply: serde_json::Value = serde_json::from_str(stdout).ok()?;
            Some(format!("{:x}", reply["ID"].as_i64()?))
        }
        "fields" => {
            let line = stdout.lines().find(|line| line.starts_with("\"ID\""))?;
            let id: i64 = line.rsplit(' ').next()?.parse().ok()?;
            Some(format!("{id:x}"))
        }
        _ => stdout.split_whitespace().nth(1).map(str::to_owned),
    }
}

/// Output without what must differ.
fn normal(ended: &Ended, system: &System, how: How) -> String {
    if how == How::End {
        return format!("success: {}", ended.success);
    }
    let text = format!("success: {}\n{}{}", ended.success, ended.stdout, ended.stderr);
    let text = text.replace(&system.endpoint, "ENDPOINT");
    let mut lines = Vec::new();
    for line in text.lines().filter(|line| !is_log(line)) {
        // Where the client itself crashes, addresses of its memory follow.
        if line.starts_with("[signal") {
            break;
        }
        let times = ["took", "remaining(", "\"ttl\"", "\"TTL\""]
            .iter()
            .any(|word| line.contains(word));
        lines.push(without_ids(line, how == How::Shape || times));
    }
    // Ids alone on a line come in the order of a list without one.
    lines.sort_by_key(|line| line != "#");
    lines.join("\n")
}

/// The client's own log lines carry times and addresses of memory; the error itself follows them.
fn is_log(line: &str) -> bool {
    line.starts_with("{\"level\"")
}

/// Replaces numbers by `#`: all of them, or only long ones, which are ids, and terms. Spaces and lines of tables, whose
/// widths follow from their contents, shrink to one character.
fn without_ids(line: &str, every_number: bool) -> String {
    const ID_DIGITS: usize = 12;
    let is_term = ["raft_term", "RaftTerm"].iter().any(|name| line.contains(name));
    let replaced = |word: &str| {
        let hex = word.chars().all(|c| c.is_ascii_hexdigit()) && word.chars().any(|c| c.is_ascii_digit());
        let number = word.chars().next().is_some_and(|c| c.is_ascii_digit());
        match (every_number, is_term) {
            (true, _) => number || hex,
            (false, true) => hex && (word.len() >= ID_DIGITS || word.len() <= 2),
            (false, false) => hex && word.len() >= ID_DIGITS,
        }
    };
    let mut told = String::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let word_end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(if word_end == 0 { first.len_utf8() } else { word_end });
        let shown = if word_end > 0 && replaced(word) { "#" } else { word };
        let fraction = every_number && matches!(shown, "." | "#" | "µ") && told.ends_with('#');
        let repeated = matches!(shown, " " | "-") && told.ends_with(shown);
        if !fraction && !repeated {
            told.push_str(shown);
        }
        rest = after;
    }
    match every_number {
        // A size or a time may have one unit here and another there.
        true => ["# kB", "# MB", "# GB", "# B", "#s"]
            .iter()
            .fold(told, |told, unit| told.replace(unit, "#")),
        false => told,
    }
}
