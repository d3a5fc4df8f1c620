//! Command lines that parse or do not, printed forms, exit codes.

use clap::Parser;
use serde_json::{Value, json};

use super::failure::Failure;
use super::kv::range_end;
use super::language::Language;
use super::output::Rendered;
use super::{Cli, Format, Noun, application, instance, monitor, switch};

#[derive(Parser, Debug)]
#[command(name = "quorate")]
struct Program {
    #[command(flatten)]
    cli: Cli,
}

fn parse(line: &str) -> Result<Cli, String> {
    let parsed = Program::try_parse_from(std::iter::once("quorate").chain(line.split(' ')));
    parsed
        .map(|program| program.cli)
        .map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
}

const CREATE: &str = "monitor create --application shop --kind mysql --user probe --password-env DATABASE_PASSWORD \
    --monitoring-database orders --dc1-address 10.0.0.1:3306 --dc2-address 10.0.0.2:3306";

#[test]
fn command_lines() {
    let lines = [
        "cluster status --cluster dev.json -o json",
        "application create --name shop",
        "application create",
        CREATE,
        "monitor create --application shop --user probe --password secret",
        "monitor pool set orders --database orders --dc1-source ds1=10.0.0.1:3306/orders --dc2-source ds2=10.0.0.2:3306/orders",
        "monitor pool set orders --file pool.json",
        "monitor pool set orders --file pool.json --database orders",
        "monitor pool set orders --database orders --dc1-source ds1 --dc2-source ds2",
        "monitor test-connection --address 10.0.0.1:3306 --user probe --monitoring-database orders",
        "monitor test-connection --monitor orders",
        "monitor test-connection --kind redis --file redis.json",
        "monitor create --application shop --kind redis --file redis.json --user probe",
        "monitor create --application shop --kind graph --file graph.json",
        "monitor create --application shop --kind api --dc1-address 10.0.0.1:443",
        "monitor list --kind redis",
        "monitor read-write orders --data-center dc1 --readable true --writable false",
        "switch application shop --to dc2 --dry-run",
        "switch application shop --to dc2 --partial --reason drill",
        "switching pause",
        "switching pause --reason storm",
        "switching resume --this-instance",
        "window create --reason patching --minutes 90 --monitor orders",
        "window create --reason patching",
        "window create --reason patching --minutes 90 --monitor orders --application shop",
        "site automatic-switch on",
        "site set-settings",
        "site set-settings --target dc1=10.0.0.254:22 --target public=192.0.2.1:53",
        "site maintenance 1 on --reason upgrade",
        "monitor history orders",
        "event export --format jsonl --since 2026-01-01T00:00:00Z",
        "event export --format xml",
        "switch monitor one two --to dc2 --acknowledge",
        "switch monitor one --to dc3",
        "switch monitor one --to dc2 --force",
        "switch monitor one --to dc2 --force --reason fire",
        "monitor acknowledge orders",
        "event list --watch --limit 10 --level major",
        "event list --limit 501",
        "event list --since yesterday",
        "audit list --actor user:root -o yaml",
        "user create --name ada --role king",
        "token create --name ci --role viewer --days 30",
        "kv get /mas-monitor/ --prefix --revision 3",
        "kv put key",
        "kv snapshot save file.db",
        "kv import",
        "kv import file.db --kv-user root",
        "login --address https://10.0.0.1:8443 --ca ca.crt --password-file secret",
        "monitor list -o xml",
        "monitor list --state abnormal --active dc2 --withheld true --name shop --language zh-CN",
        "monitor list --language fr",
        "monitor checks orders",
        "monitor sdk-configuration orders --file java-properties",
        "monitor sdk-configuration orders --file toml",
        "monitor delete one two three",
        "monitor delete",
        "application processes shop",
        "token create --name ci --role operator --application shop --application bank",
        "instance show shop --instance other",
        "instance create --name shop --passwords-file passwords",
        "instance delete shop",
    ];
    let outcome = |line: &str| parse(line).map_or_else(|error| error, |_| "ok".to_owned());
    let text: Vec<String> = lines
        .iter()
        .map(|line| format!("{line}\n  {}", outcome(line)))
        .collect();
    insta::assert_snapshot!(text.join("\n"));
}

/// The option of every command is not taken for the instance that is meant.
#[test]
fn the_instance_of_a_verb_stands_beside_the_option() {
    for verb in [
        "show shop",
        "edit shop",
        "password shop",
        "certificate shop --directory d",
        "delete shop --confirm shop",
    ] {
        let cli = parse(&format!("instance {verb} --instance other")).expect("a valid line");
        assert_eq!(cli.options.instance, "other", "{verb}");
        let Noun::Instance(verb) = cli.noun else {
            panic!("a verb of instances");
        };
        match verb {
            instance::Verb::Show { which }
            | instance::Verb::Edit { which, .. }
            | instance::Verb::Password { which, .. }
            | instance::Verb::Certificate { which, .. }
            | instance::Verb::Delete { which, .. } => assert_eq!(which, "shop"),
            other => panic!("another verb: {other:?}"),
        }
    }
}

fn body_of(line: &str) -> Value {
    match parse(line).expect("a valid line").noun {
        Noun::Monitor(monitor::Verb::Pool(monitor::PoolVerb::Set(options))) => options.body().expect("a body"),
        Noun::Switch(switch::Verb::Application { options, .. }) => options.body(),
        Noun::Monitor(monitor::Verb::Edit(options)) => options.body(&monitor_fixture()).expect("a body"),
        Noun::Monitor(monitor::Verb::Create(options)) => options.body("0123").expect("a body"),
        Noun::Monitor(monitor::Verb::TestConnection(options)) => options.body(None).expect("a body"),
        other => panic!("no body for {other:?}"),
    }
}

#[test]
fn bodies() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), "hunter2\nsecond line\n").expect("written");
    let create = CREATE.replace(
        "--password-env DATABASE_PASSWORD",
        &format!("--password-file {}", file.path().display()),
    );
    let lines = [
        format!("{create} --retry-interval-ms 300 --fast-profile --dc1-replica 10.0.0.3:3306"),
        "monitor edit orders --probing false --dc1-address 10.0.0.9:3306 --monitor-timeout-ms 20000 --lag-seconds 60"
            .to_owned(),
        "monitor pool set orders --database orders --dc1-source ds1=10.0.0.1:3306/orders --dc1-replica \
         ds1-s0=10.0.0.3:3306/orders --dc2-source ds2=10.0.0.2:3306/orders"
            .to_owned(),
        "switch application shop --to dc2 --force --reason fire --restore-readable".to_owned(),
    ];
    let text: Vec<String> = lines.iter().map(|line| format!("{:#}", body_of(line))).collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn bodies_of_kinds() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let written = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let password = written("password", "hunter2\n");
    let ca = written("ca.pem", "PEM");
    let section = written(
        "redis.json",
        r#"{"routing": "single-read-write", "dc1": {"addresses": ["a:1"], "password": "own"},
            "dc2": {"addresses": ["b:1"], "passwordless": true}}"#,
    );
    let create = "monitor create --application shop";
    let sides = "--dc1-address 10.0.0.1:1 --dc2-address 10.0.0.2:1";
    let lines = [
        format!(
            "{create} --kind postgresql {sides} --user probe --monitoring-database orders --password-file {password} \
                 --tls verified --tls-ca {ca} --dc1-replica 10.0.0.3:1"
        ),
        format!(
            "{create} --kind oracle {sides} --user probe --monitoring-database ORCL --database-is-sid --password-file {password}"
        ),
        format!(
            "{create} --kind redis {sides} --dc1-address 10.0.0.3:1 --mode sentinel --master-name m --dc1-zone az1 \
                 --routing single-read-write --password-file {password}"
        ),
        format!("{create} --kind redis --file {section}"),
        format!(
            "{create} --kind mongodb {sides} --user probe --monitoring-database admin --replica-set rs0 --password-file {password}"
        ),
        format!("{create} --kind elasticsearch {sides} --scheme http --passwordless --routing single-read-write"),
        format!(
            "{create} --kind api {sides} --path /health --method POST --expected-status 204 --header X-A:b --failures 5"
        ),
        format!(
            "monitor test-connection --kind elasticsearch {sides} --user watcher --password-file {password} --routing single-read-write"
        ),
    ];
    let text: Vec<String> = lines.iter().map(|line| format!("{:#}", body_of(line))).collect();
    insta::assert_snapshot!(text.join("\n"));
}

fn monitor_fixture() -> Value {
    json!({
        "id": "0192f0c0a1b27c3d8e4f5a6b7c8d9e0f", "generation": 4, "name": "orders", "kind": "mysql",
        "application": "0192f0c0a1b27c3d8e4f5a6b7c8d9e00",
        "notification": false, "probing": true, "automatic_switch": true, "fence_policy": "none",
        "timing": {"retry_interval_ms": 3000, "monitor_timeout_ms": 40000, "access_timeout_ms": null, "fast_profile": false},
        "mysql": {"user": "probe", "password_set": true, "monitoring_database": "orders", "connecting_database": "orders",
            "dc1": {"cloud": "", "region": "", "address": "10.0.0.1:3306", "replicas": []},
            "dc2": {"cloud": "", "region": "", "address": "10.0.0.2:3306", "replicas": []}},
        "connection_pool": null, "active": "dc1", "epoch": 2,
        "dc1": {"state": "abnormal", "readable": true, "writable": true, "votes": [], "sub_health": []},
        "dc2": {"state": "healthy", "readable": false, "writable": true, "votes": [],
            "sub_health": [{"condition": "read-only", "text": "", "node": 1}, {"condition": "replica-lag", "text": "", "node": 2}]},
        "withheld": "repeat-block", "needs_acknowledgement": true,
    })
}

#[test]
fn printed_forms() {
    let list = Rendered::list(json!({"items": [monitor_fixture()]}), monitor::COLUMNS);
    let empty = Rendered::list(json!({"items": []}), application::COLUMNS);
    let done = Rendered::done("created application shop", json!({"id": "0192", "generation": 1}));
    let mut text = String::new();
    for (name, rendered) in [("list", &list), ("empty", &empty), ("done", &done)] {
        for format in [Format::Table, Format::Json, Format::Yaml] {
            let printed = rendered.print(format).expect("printable");
            text.push_str(&format!("--- {name} as {format:?}\n{printed}"));
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn failures_and_exit_codes() {
    let statuses = [
        (401, "unauthenticated"),
        (403, "permission-denied"),
        (404, "not-found"),
        (409, "duplicate-name"),
        (409, "target-abnormal"),
        (412, "generation-conflict"),
        (422, "invalid-spec"),
        (428, "if-match-required"),
        (429, "rate-limited"),
        (503, "no-leader"),
        (504, "timed-out"),
        (500, "?"),
    ];
    let mut text: Vec<String> = statuses
        .iter()
        .map(|(status, code)| {
            let failure = Failure::from_problem(*status, &json!({"code": code}));
            format!("{status} {code} -> {}", failure.code as u8)
        })
        .collect();
    let problem = json!({"title": "Invalid spec", "code": "invalid-spec", "detail": "see the fields",
        "errors": [{"pointer": "/mysql/dc1/address", "code": "invalid-address", "detail": "no port"}]});
    text.push(Failure::from_problem(422, &problem).to_string());
    text.push(Failure::from_problem(500, &Value::Null).to_string());
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn range_ends_of_prefixes() {
    assert_eq!(range_end("a", false), b"");
    assert_eq!(range_end("a/", true), b"a0");
    assert_eq!(range_end("", true), [0]);
}

#[test]
fn languages_of_locales() {
    for chinese in ["zh_CN.UTF-8", "zh", "zh_TW@hans", "zh-CN"] {
        assert_eq!(Language::of_locale(Some(chinese)), Language::ZhCn, "{chinese}");
    }
    for english in ["C", "en_US.UTF-8", "POSIX", "", "zhx"] {
        assert_eq!(Language::of_locale(Some(english)), Language::EnUs, "{english}");
    }
    assert_eq!(Language::of_locale(None), Language::EnUs);
}
