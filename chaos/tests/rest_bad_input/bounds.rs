//! Every field of a monitor at, below and above its bounds, hosts that are not hosts, and what must not slip through a header.

use anyhow::{Context, Result, ensure};
use quorate_chaos::scenario::INSTANCE;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{Scene, expect};

/// A field, what is just within its bounds and what is just outside.
struct Bounds {
    kind: &'static str,
    /// From the section on, or from the body on where it begins with `/timing` or `/name`.
    pointer: &'static str,
    accepted: Vec<Value>,
    refused: Vec<Value>,
}

fn numbers(kind: &'static str, pointer: &'static str, least: u32, most: u32) -> Bounds {
    Bounds {
        kind,
        pointer,
        accepted: vec![json!(least), json!(most)],
        refused: vec![
            json!(least - 1),
            json!(most + 1),
            json!(u64::from(u32::MAX) + 1),
            json!(-1),
            json!("1000"),
        ],
    }
}

/// A text of `least` to `most` characters; Chinese ones count as one each.
fn text(kind: &'static str, pointer: &'static str, least: usize, most: usize) -> Bounds {
    let mut bounds = Bounds {
        kind,
        pointer,
        accepted: vec![
            json!("a".repeat(least)),
            json!("a".repeat(most)),
            json!("库".repeat(most)),
        ],
        refused: vec![
            json!("a".repeat(most + 1)),
            json!("库".repeat(most + 1)),
            json!("a\u{0}b"),
            json!("a\nb"),
            json!("a\u{202e}b"),
        ],
    };
    if least > 0 {
        bounds.refused.push(json!(""));
    }
    bounds
}

/// A list of `least` to `most` entries made by `entry`.
fn list(kind: &'static str, pointer: &'static str, least: usize, most: usize, entry: fn(usize) -> Value) -> Bounds {
    let of = |count: usize| Value::Array((0..count).map(entry).collect());
    let mut bounds = Bounds {
        kind,
        pointer,
        accepted: vec![of(least), of(most)],
        refused: vec![of(most + 1)],
    };
    if least > 0 {
        bounds.refused.push(of(least - 1));
    }
    bounds
}

fn address(number: usize) -> Value {
    json!(format!("10.9.0.{}:7000", number + 1))
}

fn header(number: usize) -> Value {
    json!({"name": format!("x-{number}"), "value": "v"})
}

fn zone(number: usize) -> Value {
    json!(format!("可用区{number}"))
}

fn every_field() -> Vec<Bounds> {
    let longest_path = |bytes: usize| json!(format!("/{}", "p".repeat(bytes - 1)));
    let one_header = |name: String, value: String| json!([{"name": name, "value": value}]);
    let passwords = |kind, pointer| Bounds {
        kind,
        pointer,
        accepted: vec![json!("p"), json!("p".repeat(512))],
        refused: vec![json!(""), json!("p".repeat(513)), json!(7)],
    };
    vec![
        numbers("mysql", "/timing/retry_interval_ms", 1000, 30_000),
        numbers("mysql", "/timing/monitor_timeout_ms", 1000, 400_000),
        numbers("mysql", "/timing/access_timeout_ms", 3000, 100_000),
        numbers("redis", "/timing/access_timeout_ms", 3000, 3000),
        numbers("api", "/timing/retry_interval_ms", 1000, 30_000),
        numbers("api", "/successes", 1, 5),
        numbers("api", "/failures", 3, 10),
        numbers("api", "/dc1/expected_status", 200, 599),
        Bounds {
            kind: "mysql",
            pointer: "/name",
            accepted: vec![json!("n"), json!("n".repeat(64))],
            refused: vec![json!("n".repeat(65)), json!("订单"), json!("a b"), json!("a/b")],
        },
        text("mysql", "/user", 1, 64),
        text("mysql", "/monitoring_database", 1, 64),
        // Empty, it is the monitoring database.
        text("mysql", "/connecting_database", 0, 64),
        text("mysql", "/dc1/cloud", 0, 64),
        text("postgresql", "/dc2/region", 0, 64),
        text("api", "/dc1/body_contains", 0, 1024),
        passwords("mysql", "/password"),
        passwords("redis", "/dc1/password"),
        passwords("elasticsearch", "/dc2/password"),
        list("mysql", "/dc1/replicas", 0, 16, address),
        list("redis", "/dc1/addresses", 1, 1, address),
        list("redis", "/dc1/zones", 0, 16, zone),
        list("mongodb", "/dc1/addresses", 1, 32, address),
        list("elasticsearch", "/dc1/addresses", 1, 32, address),
        list("api", "/dc1/headers", 0, 50, header),
        Bounds {
            kind: "api",
            pointer: "/dc1/path",
            accepted: vec![json!("/"), longest_path(2048)],
            refused: vec![
                longest_path(2049),
                json!(""),
                json!("health"),
                json!("/a b"),
                json!("/\r\nHost: evil"),
                json!("/#x"),
            ],
        },
        Bounds {
            kind: "api",
            pointer: "/dc1/headers",
            accepted: vec![
                one_header("x".repeat(128), "v".repeat(4096)),
                one_header("x".into(), String::new()),
            ],
            refused: vec![
                one_header("x".repeat(129), "v".into()),
                one_header("x".into(), "v".repeat(4097)),
                one_header("x".into(), "a\r\nHost: evil".into()),
                one_header("x".into(), "a\nb".into()),
                one_header("x: y\r\nHost".into(), "evil".into()),
                one_header("Host".into(), "evil".into()),
                one_header("Transfer-Encoding".into(), "chunked".into()),
                one_header("名".into(), "v".into()),
                one_header(String::new(), "v".into()),
                json!([{"name": "x", "value": "1"}, {"name": "X", "value": "2"}]),
                json!([{"name": "x", "value": "a\r\nHost: evil", "secret": true}]),
            ],
        },
        hosts("mysql", "/dc1/address"),
        hosts("api", "/dc2/address"),
    ]
}

/// Hosts and ports that are some, and what is none.
fn hosts(kind: &'static str, pointer: &'static str) -> Bounds {
    let good = [
        "10.0.0.1:1".to_owned(),
        "10.0.0.1:65535".to_owned(),
        "[2001:db8::1]:3306".to_owned(),
        "db.example.com:3306".to_owned(),
        format!("{}:1", "l".repeat(63)),
        format!(
            "{}:1",
            ["l".repeat(63), "l".repeat(63), "l".repeat(63), "l".repeat(61)].join(".")
        ),
    ];
    let bad = [
        String::new(),
        ":3306".to_owned(),
        "10.0.0.1".to_owned(),
        "10.0.0.1:0".to_owned(),
        "10.0.0.1:65536".to_owned(),
        "10.0.0.1:03306".to_owned(),
        "10.0.0.256:1".to_owned(),
        "1.2.3:1".to_owned(),
        "[::g]:1".to_owned(),
        "::1:1".to_owned(),
        "tcp://10.0.0.1:1".to_owned(),
        "user@host:1".to_owned(),
        "a b:1".to_owned(),
        "a..b:1".to_owned(),
        "-a:1".to_owned(),
        "数据库:1".to_owned(),
        "host:1/path".to_owned(),
        "host:1\r\nevil:2".to_owned(),
        format!("{}:1", "l".repeat(64)),
        format!(
            "{}:1",
            ["l".repeat(63), "l".repeat(63), "l".repeat(63), "l".repeat(62)].join(".")
        ),
    ];
    Bounds {
        kind,
        pointer,
        accepted: good.into_iter().map(Value::String).collect(),
        refused: bad.into_iter().map(Value::String).collect(),
    }
}

/// A section that would be accepted.
fn section(kind: &str) -> Value {
    let account = json!({"user": "mon", "password": "pw"});
    let with = |base: &Value, more: Value| {
        let mut base = base.clone();
        if let (Some(base), Some(more)) = (base.as_object_mut(), more.as_object()) {
            base.extend(more.clone());
        }
        base
    };
    let side = |host: &str| json!({"address": format!("{host}:7001")});
    let several = |host: &str| json!({"addresses": [format!("{host}:7001")]});
    match kind {
        "redis" => json!({
            "mode": "normal", "routing": "single-read-write",
            "dc1": with(&account, several("10.8.0.1")), "dc2": with(&account, several("10.8.0.2")),
        }),
        "mongodb" => with(
            &account,
            json!({
                "monitoring_database": "admin", "connecting_database": "orders",
                "dc1": several("10.8.0.1"), "dc2": several("10.8.0.2"),
            }),
        ),
        "elasticsearch" => json!({
            "routing": "single-read-write",
            "dc1": with(&account, several("10.8.0.1")), "dc2": with(&account, several("10.8.0.2")),
        }),
        "api" => json!({"dc1": side("10.8.0.1"), "dc2": side("10.8.0.2")}),
        _ => with(
            &account,
            json!({
                "monitoring_database": "orders", "connecting_database": "orders",
                "dc1": side("10.8.0.1"), "dc2": side("10.8.0.2"),
            }),
        ),
    }
}

/// The body with one value in the place that is meant; gives its whole pointer as well.
fn body(scene: &Scene<'_>, bounds: &Bounds, value: &Value) -> Result<(Value, String)> {
    let mut body = scene.good_monitor();
    let fields = body.as_object_mut().context("a body")?;
    fields.remove("mysql");
    fields.insert("timing".to_owned(), json!({}));
    fields.insert("probing".to_owned(), json!(false));
    fields.insert(bounds.kind.to_owned(), section(bounds.kind));
    if bounds.kind == "api" {
        fields.remove("automatic_switch");
    }
    let whole = if ["/timing", "/name"]
        .iter()
        .any(|start| bounds.pointer.starts_with(start))
    {
        bounds.pointer.to_owned()
    } else {
        format!("/{}{}", bounds.kind, bounds.pointer)
    };
    let (parent, field) = whole.rsplit_once('/').context("a pointer")?;
    let parent = body
        .pointer_mut(parent)
        .and_then(Value::as_object_mut)
        .context("a parent")?;
    parent.insert(field.to_owned(), value.clone());
    Ok((body, whole))
}

/// What is just within is created (and deleted again), what is just outside is refused by the field's pointer.
pub(crate) async fn bounds(scene: &Scene<'_>) -> Result<()> {
    let rest = &scene.cluster.rest;
    let path = format!("{INSTANCE}/monitors");
    let (mut accepted, mut refused) = (0, 0);
    for bounds in every_field() {
        for value in &bounds.accepted {
            let (body, pointer) = body(scene, &bounds, value)?;
            let created = rest.try_post(&path, body).await?;
            let shown = shorten(value);
            ensure!(
                created.status == 201,
                "{} {pointer} = {shown}: {created:?}",
                bounds.kind
            );
            let own = format!("{path}/{}", created.body["id"].as_str().context("an id")?);
            rest.request(Method::DELETE, &own, None, created.etag)
                .await?
                .success()?;
            accepted += 1;
        }
        for value in &bounds.refused {
            let (body, pointer) = body(scene, &bounds, value)?;
            let answer = rest.try_post(&path, body).await?;
            let name = format!("{} {pointer} = {}", bounds.kind, shorten(value));
            let told: Vec<&str> = pointers(&answer.body);
            let named = told.iter().any(|found| found.starts_with(&pointer));
            ensure!(answer.status == 422 && named, "{name}: {answer:?}");
            expect(&name, &answer, 422, "invalid-spec", &told)?;
            refused += 1;
        }
    }
    println!("  {accepted} values at a bound accepted, {refused} beyond refused");
    Ok(())
}

fn pointers(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().into_iter().flatten();
    errors.filter_map(|error| error["pointer"].as_str()).collect()
}

fn shorten(value: &Value) -> String {
    const CHARACTERS: usize = 60;
    value.to_string().chars().take(CHARACTERS).collect()
}

/// The same server on both sides, however it is spelt, for every kind that has two.
pub(crate) async fn same_sides(scene: &Scene<'_>) -> Result<()> {
    let spellings = [
        ("10.8.0.1:7001", "10.8.0.1:7001"),
        ("10.8.0.1:7001", "[::ffff:10.8.0.1]:7001"),
        ("db.example.com:7001", "DB.Example.COM:7001"),
        ("[2001:db8::1]:7001", "[2001:0db8:0:0::1]:7001"),
    ];
    for kind in ["mysql", "postgresql", "redis", "mongodb", "elasticsearch", "api"] {
        for (one, other) in spellings {
            let mut body = scene.good_monitor();
            let fields = body.as_object_mut().context("a body")?;
            fields.remove("mysql");
            fields.insert("timing".to_owned(), json!({}));
            if kind == "api" {
                fields.remove("automatic_switch");
            }
            let mut section = section(kind);
            let several = section["dc1"]["addresses"].is_array();
            for (side, address) in [("dc1", one), ("dc2", other)] {
                if several {
                    section[side]["addresses"] = json!([address]);
                } else {
                    section[side]["address"] = json!(address);
                }
            }
            fields.insert(kind.to_owned(), section);
            let answer = scene
                .cluster
                .rest
                .try_post(&format!("{INSTANCE}/monitors"), body)
                .await?;
            let pointer = format!("/{kind}/dc2/{}", if several { "addresses" } else { "address" });
            expect(
                &format!("{kind}: {one} and {other}"),
                &answer,
                422,
                "invalid-spec",
                &[&pointer],
            )?;
        }
    }
    Ok(())
}

/// Kind, application and name of a monitor stay what they were.
pub(crate) async fn fixed_fields(scene: &Scene<'_>) -> Result<()> {
    let path = scene.monitor_path();
    let editable = || -> Result<Value> {
        let mut edit = scene.good_monitor();
        let fields = edit.as_object_mut().context("a body")?;
        fields.remove("application");
        fields.remove("name");
        Ok(edit)
    };
    for (field, value) in [("name", json!("renamed")), ("application", json!(scene.application))] {
        let mut edit = editable()?;
        edit[field] = value;
        let answer = scene.try_edit(&path, edit).await?;
        let pointer = format!("/{field}");
        expect(&format!("another {field}"), &answer, 422, "invalid-spec", &[&pointer])?;
    }
    let mut edit = editable()?;
    edit.as_object_mut().context("a body")?.remove("mysql");
    edit["redis"] = section("redis");
    edit["timing"] = json!({});
    let answer = scene.try_edit(&path, edit).await?;
    ensure!(answer.status == 422 || answer.status == 409, "another kind: {answer:?}");
    ensure!(
        !answer.code().is_empty() && answer.body["detail"].is_string(),
        "another kind: {answer:?}"
    );
    Ok(())
}
