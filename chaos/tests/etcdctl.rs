//! An unmodified etcdctl against the KV endpoint, with the user and password from `dev.json`, over TLS and in plaintext.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use quorate_chaos::cluster::{Credentials, DevCluster, NodeInfo};
use quorate_chaos::harness::{Harness, step};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

const COMMAND_TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcdctl_works_unmodified() -> Result<()> {
    let program = program()?;
    let harness = Harness::start(&[]).await?;
    let test = async |harness: &mut Harness| {
        let cluster = &harness.cluster;
        for (tls, prefix) in [(true, "/tls/"), (false, "/plain/")] {
            let etcdctl = Etcdctl::new(&program, cluster, tls)?;
            let over = if tls { "TLS" } else { "plaintext" };
            step(&format!("keys over {over}"), keys(&etcdctl, prefix)).await?;
            step(&format!("transactions over {over}"), transactions(&etcdctl, prefix)).await?;
            step(&format!("leases over {over}"), leases(&etcdctl, prefix)).await?;
            step(&format!("watch with history over {over}"), watch(&etcdctl, prefix)).await?;
            step(&format!("members and status over {over}"), members(&etcdctl, cluster)).await?;
            step(&format!("logins over {over}"), logins(&etcdctl, prefix)).await?;
        }
        Ok(())
    };
    harness.run(test).await
}

/// etcdctl from `QUORATE_ETCDCTL`, else from the cache that `cargo xtask setup --peers` fills.
fn program() -> Result<PathBuf> {
    const IN_CACHE: &str = "quorate/etcd-v3.6.16/etcdctl";
    if let Some(path) = std::env::var_os("QUORATE_ETCDCTL") {
        return Ok(path.into());
    }
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    let found = cache.map(|cache| cache.join(IN_CACHE)).filter(|path| path.is_file());
    found.context("there is no etcdctl: run `cargo xtask setup --peers`, or set QUORATE_ETCDCTL")
}

struct Etcdctl {
    program: PathBuf,
    /// Endpoints and transport security.
    access: Vec<String>,
    user: Credentials,
}

impl Etcdctl {
    fn new(program: &std::path::Path, cluster: &DevCluster, tls: bool) -> Result<Self> {
        let scheme = if tls { "https" } else { "http" };
        let endpoint = |node: &NodeInfo| format!("{scheme}://{}", node.kv);
        let endpoints: Vec<String> = cluster.info.nodes.iter().map(endpoint).collect();
        let mut access = vec![format!("--endpoints={}", endpoints.join(","))];
        if tls {
            access.push("--insecure-transport=false".to_owned());
            access.push(format!("--cacert={}", cluster.info.kv.ca.display()));
        }
        Ok(Self {
            program: program.to_owned(),
            access,
            user: cluster.info.kv.root.clone(),
        })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .args(&self.access)
            .args(arguments)
            .kill_on_drop(true);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if !self.user.user.is_empty() {
            command
                .arg(format!("--user={}", self.user.user))
                .arg(format!("--password={}", self.user.password));
        }
        command
    }

    async fn output(&self, arguments: &[&str], input: &str) -> Result<Output> {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().context("starting etcdctl")?;
        let mut stdin = child.stdin.take().context("stdin")?;
        stdin.write_all(input.as_bytes()).await?;
        drop(stdin);
        let output = tokio::time::timeout(COMMAND_TIMEOUT, child.wait_with_output()).await;
        Ok(output.with_context(|| format!("etcdctl {arguments:?} does not end"))??)
    }

    /// What the command prints; it must succeed.
    async fn run(&self, arguments: &[&str]) -> Result<String> {
        self.run_with(arguments, "").await
    }

    async fn run_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        let output = self.output(arguments, input).await?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.success(),
            "etcdctl {arguments:?}: {}: {told}",
            output.status
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    async fn json(&self, arguments: &[&str]) -> Result<Value> {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["-w", "json"]).collect();
        let text = self.run(&arguments).await?;
        serde_json::from_str(&text).with_context(|| format!("etcdctl {arguments:?} printed {text}"))
    }

    /// What a command that must fail says.
    async fn fails(&self, arguments: &[&str]) -> Result<String> {
        let output = self.output(arguments, "").await?;
        ensure!(!output.status.success(), "etcdctl {arguments:?} succeeded");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn check(what: &str, found: &str, expected: &str) -> Result<()> {
    ensure!(found == expected, "{what}: {found:?}, not {expected:?}");
    Ok(())
}

async fn keys(etcdctl: &Etcdctl, prefix: &str) -> Result<()> {
    let (a, b) = (format!("{prefix}a"), format!("{prefix}b"));
    check("put", &etcdctl.run(&["put", &a, "one"]).await?, "OK\n")?;
    let first = etcdctl.json(&["get", &a]).await?["header"]["revision"]
        .as_i64()
        .context("revision")?;
    check("put again", &etcdctl.run(&["put", &a, "two"]).await?, "OK\n")?;
    check("put another", &etcdctl.run(&["put", &b, "three"]).await?, "OK\n")?;
    let expected = format!("{a}\ntwo\n{b}\nthree\n");
    check(
        "get with prefix",
        &etcdctl.run(&["get", "--prefix", prefix]).await?,
        &expected,
    )?;
    let past = format!("--rev={first}");
    check(
        "get at a revision",
        &etcdctl.run(&["get", "--prefix", prefix, &past]).await?,
        &format!("{a}\none\n"),
    )?;
    check(
        "keys alone",
        &etcdctl.run(&["get", "--prefix", prefix, "--keys-only"]).await?,
        &format!("{a}\n\n{b}\n\n"),
    )?;
    let newest = [
        "get",
        "--prefix",
        prefix,
        "--sort-by=MODIFY",
        "--order=DESCEND",
        "--limit=1",
        "--print-value-only",
    ];
    check("sorted and limited", &etcdctl.run(&newest).await?, "three\n")?;
    let future = etcdctl
        .fails(&["get", &a, &format!("--rev={}", first + 1_000_000)])
        .await?;
    ensure!(
        future.contains("etcdserver: mvcc: required revision is a future revision"),
        "{future}"
    );
    check(
        "put with the old value",
        &etcdctl.run(&["put", &b, "four", "--prev-kv"]).await?,
        &format!("OK\n{b}\nthree\n"),
    )?;
    check("del", &etcdctl.run(&["del", &b]).await?, "1\n")?;
    check("del of nothing", &etcdctl.run(&["del", &b]).await?, "0\n")?;
    let gone = etcdctl.run(&["del", "--prefix", prefix, "--prev-kv"]).await?;
    check("del with prefix", &gone, &format!("1\n{a}\ntwo\n"))
}

async fn transactions(etcdctl: &Etcdctl, prefix: &str) -> Result<()> {
    let key = format!("{prefix}txn");
    etcdctl.run(&["put", &key, "old"]).await?;
    let script = format!("value(\"{key}\") = \"old\"\n\nput {key} new\nget {key}\n\nget {key}\n\n");
    let taken = etcdctl.run_with(&["txn"], &script).await?;
    check(
        "the comparison holds",
        &taken,
        &format!("SUCCESS\n\nOK\n\n{key}\nnew\n"),
    )?;
    let taken = etcdctl.run_with(&["txn"], &script).await?;
    check("it no longer holds", &taken, &format!("FAILURE\n\n{key}\nnew\n"))
}

async fn leases(etcdctl: &Etcdctl, prefix: &str) -> Result<()> {
    let granted = etcdctl.run(&["lease", "grant", "600"]).await?;
    let id = granted.split_whitespace().nth(1).context("the id")?.to_owned();
    check("grant", &granted, &format!("lease {id} granted with TTL(600s)\n"))?;
    let key = format!("{prefix}leased");
    etcdctl.run(&["put", &key, "v", &format!("--lease={id}")]).await?;
    let alive = etcdctl.run(&["lease", "keep-alive", "--once", &id]).await?;
    check("keep-alive", &alive, &format!("lease {id} keepalived with TTL(600)\n"))?;
    let left = etcdctl.run(&["lease", "timetolive", "--keys", &id]).await?;
    ensure!(
        left.contains("granted with TTL(600s)") && left.contains(&key),
        "timetolive: {left}"
    );
    let all = etcdctl.run(&["lease", "list"]).await?;
    ensure!(all.contains(&id), "list: {all}");
    check(
        "revoke",
        &etcdctl.run(&["lease", "revoke", &id]).await?,
        &format!("lease {id} revoked\n"),
    )?;
    check("its key is gone", &etcdctl.run(&["get", &key]).await?, "")?;
    let unknown = etcdctl.fails(&["lease", "revoke", &id]).await?;
    ensure!(unknown.contains("etcdserver: requested lease not found"), "{unknown}");
    Ok(())
}

/// History first, then what happens while the watch stands.
async fn watch(etcdctl: &Etcdctl, prefix: &str) -> Result<()> {
    let key = format!("{prefix}watched");
    let put = etcdctl.json(&["put", &key, "past"]).await?;
    let revision = put["header"]["revision"].as_i64().context("revision")?;
    etcdctl.run(&["del", &key]).await?;
    let from = format!("--rev={revision}");
    let mut child = etcdctl.command(&["watch", "--prefix", prefix, &from]).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("stdout")?).lines();
    let mut seen = Vec::new();
    let expected = ["PUT", &key, "past", "DELETE", &key, "", "PUT", &key, "present"];
    let following = async {
        let mut written = false;
        while seen.len() < expected.len() {
            seen.push(lines.next_line().await?.context("the watch ended")?);
            if seen.len() == 6 && !written {
                written = true;
                etcdctl.run(&["put", &key, "present"]).await?;
            }
        }
        anyhow::Ok(())
    };
    match tokio::time::timeout(COMMAND_TIMEOUT, following).await {
        Ok(result) => result?,
        Err(_) => bail!("the watch showed only {seen:?}"),
    }
    child.kill().await?;
    ensure!(seen == expected, "{seen:?}");
    Ok(())
}

async fn members(etcdctl: &Etcdctl, cluster: &DevCluster) -> Result<()> {
    let list = etcdctl.json(&["member", "list"]).await?;
    let members = list["members"].as_array().context("members")?;
    let mut names: Vec<_> = members.iter().filter_map(|member| member["name"].as_str()).collect();
    names.sort_unstable();
    ensure!(names == ["node-1", "node-2", "node-3"], "{list}");
    for node in &cluster.info.nodes {
        let listed = members
            .iter()
            .any(|member| member["clientURLs"].to_string().contains(&node.kv));
        ensure!(listed, "{} is not listed with {}: {list}", node.name, node.kv);
    }
    let status = etcdctl.json(&["endpoint", "status"]).await?;
    let status = status.as_array().context("a list")?;
    ensure!(status.len() == 3, "{status:?}");
    let leader = status[0]["Status"]["leader"].as_u64().context("leader")?;
    let led = status
        .iter()
        .filter(|one| one["Status"]["header"]["member_id"].as_u64() == Some(leader))
        .count();
    ensure!(
        led == 1
            && status
                .iter()
                .all(|one| one["Status"]["leader"].as_u64() == Some(leader)),
        "{status:?}"
    );
    etcdctl.run(&["endpoint", "health"]).await.map(drop)
}

async fn logins(etcdctl: &Etcdctl, prefix: &str) -> Result<()> {
    let other = |user: &str, password: &str| Etcdctl {
        program: etcdctl.program.clone(),
        access: etcdctl.access.clone(),
        user: Credentials {
            user: user.to_owned(),
            password: password.to_owned(),
        },
    };
    let wrong = other("root", "wrong").fails(&["get", prefix]).await?;
    ensure!(
        wrong.contains("authentication failed, invalid user ID or password"),
        "{wrong}"
    );
    let nobody = other("", "").fails(&["get", prefix]).await?;
    ensure!(nobody.contains("etcdserver: user name is empty"), "{nobody}");
    Ok(())
}
