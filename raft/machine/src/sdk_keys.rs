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
    /// Data sources of the connection pool by name.
    DataSource,
    /// Which data sources are masters and replicas where, and the routing.
    Router,
    /// The servers of both sides; several addresses of one side with this between them.
    Servers(&'static str),
    RouteAlgorithm,
    Active,
    Readable(DataCenter),
    Writable(DataCenter),
}

/// The keys of a kind. `{a}` application, `{m}` monitor, `{d}` connecting database of the pool.
type Family = [(Subject, &'static str)];

const NONE: &Family = &[];

/// `db`: relational kinds.
const DB: &Family = &[
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

/// `dds`: MongoDB. Not known from an SDK yet: as relational, without the read/write state.
const DDS: &Family = &[
    (
        Subject::DataSource,
        "/mas-monitor/conf/dds/services/{a}/{m}/database/{d}/datasource",
    ),
    (
        Subject::Router,
        "/mas-monitor/conf/dds/services/{a}/{m}/database/{d}/router",
    ),
    (
        Subject::Active,
        "/mas-monitor/status/dds/services/{a}/{m}/database/{d}/active",
    ),
];

/// `dcs`: Redis.
const DCS: &Family = &[
    (Subject::Servers(","), "/mas-monitor/conf/dcs/services/{a}/{m}/servers"),
    (
        Subject::RouteAlgorithm,
        "/mas-monitor/conf/dcs/services/{a}/{m}/route-algorithm",
    ),
    (Subject::Active, "/mas-monitor/status/dcs/services/{a}/{m}/active"),
];

/// `css`: Elasticsearch. Not known from an SDK yet: as Redis.
const CSS: &Family = &[
    (Subject::Servers(";"), "/mas-monitor/conf/css/services/{a}/{m}/servers"),
    (
        Subject::RouteAlgorithm,
        "/mas-monitor/conf/css/services/{a}/{m}/route-algorithm",
    ),
    (Subject::Active, "/mas-monitor/status/css/services/{a}/{m}/active"),
];

/// The one table: kind and keys. A further kind is a further row.
const KEYS: [(&str, &Family); 7] = [
    ("mysql", DB),
    ("postgresql", DB),
    ("oracle", DB),
    ("redis", DCS),
    ("mongodb", DDS),
    ("elasticsearch", CSS),
    ("api", NONE),
];

fn family(monitor: &MonitorRecord) -> &'static Family {
    let row = KEYS.iter().find(|(kind, _)| *kind == monitor.kind_name());
    row.map_or(NONE, |(_, family)| family)
}

/// Every SDK key of a monitor with its value, in order of publication; none until a connection pool is saved where the kind
/// has one (C10).
pub fn sdk_keys(monitor: &MonitorRecord) -> Vec<(String, String)> {
    if !monitor.sdk_keys_published() {
        return Vec::new();
    }
    let entries = family(monitor).iter();
    entries
        .filter_map(|(subject, template)| Some((fill(template, monitor), value(*subject, monitor)?)))
        .collect()
}

/// What a key holds; `None` for what the monitor has not (a family that does not fit its kind).
fn value(subject: Subject, monitor: &MonitorRecord) -> Option<String> {
    let kind = monitor.spec.kind.as_ref()?;
    Some(match subject {
        Subject::DataSource => datasource(monitor.pool.as_ref()?, kind),
        Subject::Router => router(monitor.pool.as_ref()?),
        Subject::Servers(separator) => servers(kind, separator),
        Subject::RouteAlgorithm => kind.routing()?.name().to_owned(),
        Subject::Active => monitor.active().name().to_owned(),
        Subject::Readable(dc) => monitor.side(dc).read_write.readable.to_string(),
        Subject::Writable(dc) => monitor.side(dc).read_write.writable.to_string(),
    })
}

/// The `active` key of a monitor with its value.
pub(crate) fn active_key(monitor: &MonitorRecord) -> Option<(String, String)> {
    if !monitor.sdk_keys_published() {
        return None;
    }
    let mut entries = family(monitor).iter();
    let (subject, template) = entries.find(|(subject, _)| matches!(subject, Subject::Active))?;
    Some((fill(template, monitor), value(*subject, monitor)?))
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

fn fill(template: &str, monitor: &MonitorRecord) -> String {
    let database = monitor.pool.as_ref().map_or("", |pool| &pool.database);
    template
        .replace("{a}", &monitor.application.to_string())
        .replace("{m}", &monitor.id().to_string())
        .replace("{d}", database)
}

/// Both sides of a kind without a pool. What kind of servers they are is said where the kind has modes.
fn servers(kind: &MonitorKind, separator: &str) -> String {
    let sides: Vec<String> = DataCenter::ALL
        .into_iter()
        .map(|dc| {
            let place = kind.place(dc);
            let mode = match kind.mode() {
                Some(mode) => format!("\"type\":{},", json_string(mode)),
                None => String::new(),
            };
            format!(
                "\"{}\":{{\"hosts\":{},{mode}\"cloud\":{},\"region\":{},\"azs\":{}}}",
                dc.name(),
                json_string(&place.addresses.join(separator)),
                json_string(&place.cloud),
                json_string(&place.region),
                json_string(&place.zones.join(","))
            )
        })
        .collect();
    format!("{{{}}}", sides.join(","))
}

fn datasource(pool: &ConnectionPool, kind: &MonitorKind) -> String {
    let entries: Vec<String> = DataCenter::ALL
        .into_iter()
        .flat_map(|dc| sources(pool.site(dc)).map(move |source| (dc, source)))
        .map(|(dc, source)| {
            let (site, zones) = (kind.place(dc), &pool.site(dc).zones);
            let azs = match zones.as_slice() {
                [] => String::new(),
                zones => format!(",\"azs\":{}", json_string(&zones.join(","))),
            };
            format!(
                "{}:{{\"server\":{},\"schema\":{},\"cloud\":{},\"region\":{}{azs}}}",
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
