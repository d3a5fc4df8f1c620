//! SDK keys (SDK contract, Keys): one table of templates and the exact bytes of every value.
//!
//! User names and passwords are never published: in a value they would override the application's own.

use crate::kinds::MonitorKind;
use crate::live::MonitorRecord;
use crate::model::*;

/// Prefix that the machine alone writes.
pub const RESERVED_PREFIX: &str = "/mas-monitor/";

/// Times and delay (milliseconds) of an SDK's retries, as the strings that SDKs want.
const RETRY: &str = r#"{"times":"3","delay":"50"}"#;

/// What a key says.
#[derive(Clone, Copy)]
enum Subject {
    DataSource,
    Router,
    Active,
    Readable(DataCenter),
    Writable(DataCenter),
}

/// The family `db` of relational kinds. `{a}` application, `{m}` monitor, `{d}` connecting database.
const RELATIONAL: [(Subject, &str); 7] = [
    (
        Subject::DataSource,
        "/mas-monitor/conf/db/services/{a}/{m}/database/{d}/datasource",
    ),
    (
        Subject::Router,
        "/mas-monitor/conf/db/services/{a}/{m}/database/{d}/router",
    ),
    (
        Subject::Active,
        "/mas-monitor/status/db/services/{a}/{m}/database/{d}/active",
    ),
    (
        Subject::Readable(DataCenter::Dc1),
        "/mas-monitor/status/db/services/{a}/{m}/database/{d}/dc1/readable",
    ),
    (
        Subject::Writable(DataCenter::Dc1),
        "/mas-monitor/status/db/services/{a}/{m}/database/{d}/dc1/writable",
    ),
    (
        Subject::Readable(DataCenter::Dc2),
        "/mas-monitor/status/db/services/{a}/{m}/database/{d}/dc2/readable",
    ),
    (
        Subject::Writable(DataCenter::Dc2),
        "/mas-monitor/status/db/services/{a}/{m}/database/{d}/dc2/writable",
    ),
];

/// Every SDK key of a monitor with its value, in order of publication; none until a connection pool is saved (C10).
pub fn sdk_keys(monitor: &MonitorRecord) -> Vec<(String, String)> {
    let (Some(pool), Some(kind)) = (&monitor.pool, &monitor.spec.kind) else {
        return Vec::new();
    };
    RELATIONAL
        .iter()
        .map(|(subject, template)| {
            let value = match subject {
                Subject::DataSource => datasource(pool, kind),
                Subject::Router => router(pool),
                Subject::Active => monitor.active().name().to_owned(),
                Subject::Readable(dc) => monitor.side(*dc).read_write.readable.to_string(),
                Subject::Writable(dc) => monitor.side(*dc).read_write.writable.to_string(),
            };
            (fill(template, monitor, &pool.database), value)
        })
        .collect()
}

/// The `active` key of a monitor with its value.
pub(crate) fn active_key(monitor: &MonitorRecord) -> Option<(String, String)> {
    let pool = monitor.pool.as_ref()?;
    let (_, template) = RELATIONAL
        .iter()
        .find(|(subject, _)| matches!(subject, Subject::Active))?;
    Some((
        fill(template, monitor, &pool.database),
        monitor.active().name().to_owned(),
    ))
}

/// What must be written so that the keys of `before` become those of `after`: changed and new keys are put, the rest of the
/// old ones deleted (`None`).
pub(crate) fn changes(before: &[(String, String)], after: &[(String, String)]) -> Vec<(String, Option<String>)> {
    let puts = after.iter().filter(|entry| !before.contains(entry));
    let gone = before
        .iter()
        .filter(|(key, _)| !after.iter().any(|(kept, _)| kept == key));
    let puts = puts.map(|(key, value)| (key.clone(), Some(value.clone())));
    puts.chain(gone.map(|(key, _)| (key.clone(), None))).collect()
}

fn fill(template: &str, monitor: &MonitorRecord, database: &str) -> String {
    template
        .replace("{a}", &monitor.application.to_string())
        .replace("{m}", &monitor.id().to_string())
        .replace("{d}", database)
}

fn datasource(pool: &ConnectionPool, kind: &MonitorKind) -> String {
    let entries: Vec<String> = DataCenter::ALL
        .into_iter()
        .flat_map(|dc| sources(pool.site(dc)).map(move |source| (dc, source)))
        .map(|(dc, source)| {
            let site = kind.place(dc);
            format!(
                "{}:{{\"server\":{},\"schema\":{},\"cloud\":{},\"region\":{}}}",
                json_string(&source.name),
                json_string(&source.address),
                json_string(&source.schema),
                json_string(&site.cloud),
                json_string(&site.region)
            )
        })
        .collect();
    format!("{{{}}}", entries.join(","))
}

fn router(pool: &ConnectionPool) -> String {
    let nodes: Vec<String> = DataCenter::ALL
        .into_iter()
        .map(|dc| {
            let site = pool.site(dc);
            let slaves: Vec<String> = site.replicas.iter().map(|source| json_string(&source.name)).collect();
            format!(
                "\"{}\":{{\"master\":{},\"loadBalance\":\"{}\",\"slaves\":[{}]}}",
                dc.name(),
                json_string(&site.source.name),
                site.load_balance().name(),
                slaves.join(",")
            )
        })
        .collect();
    let algorithm = pool.routing().name();
    format!(
        "{{\"route-algorithm\":\"{algorithm}\",\"retry\":{RETRY},\"nodes\":{{{}}}}}",
        nodes.join(",")
    )
}

/// The data source of a side, then its replicas.
fn sources(site: &PoolSite) -> impl Iterator<Item = &DataSource> {
    std::iter::once(&site.source).chain(&site.replicas)
}

/// A JSON string (RFC 8259); everything but quotes, backslashes and control characters stays as it is.
fn json_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
