//! `quorate kv`: get, put, delete and watch keys of an instance over gRPC, and move whole keyspaces, with KV credentials.
//!
//! A convenience for operators, not a replacement of etcd's own tools, which work on the same port.

mod door;
pub mod member;
mod snapshot;

use clap::{Args, Subcommand};
use quorate_etcd_api::pb::etcdserverpb::watch_request::RequestUnion;
use quorate_etcd_api::pb::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse, WatchCreateRequest, WatchRequest, WatchResponse,
};
use quorate_etcd_api::pb::mvccpb;
use serde_json::{Value, json};
use tonic::{Code as GrpcCode, Status};

use super::Options;
use super::failure::{Code, Failure};
use super::output::{self, Column, Rendered};
use door::Door;
pub use door::DoorOptions;
pub use snapshot::{ImportOptions, SnapshotVerb};

/// What to do with keys.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Read a key, or all keys with a prefix
    Get {
        key: String,
        /// All keys that begin with KEY
        #[arg(long)]
        prefix: bool,
        /// As of this revision; the present one when left out
        #[arg(long, default_value_t = 0, value_name = "REVISION")]
        revision: i64,
        /// Keys at most; 0 for all
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
        limit: i64,
        #[command(flatten)]
        door: DoorOptions,
    },
    /// Write a key
    Put {
        key: String,
        value: String,
        #[command(flatten)]
        door: DoorOptions,
    },
    /// Delete a key, or all keys with a prefix
    Del {
        key: String,
        /// All keys that begin with KEY
        #[arg(long)]
        prefix: bool,
        #[command(flatten)]
        door: DoorOptions,
    },
    /// Follow the changes of a key, or of all keys with a prefix, until interrupted
    Watch(WatchOptions),
    /// Save snapshots
    #[command(subcommand)]
    Snapshot(SnapshotVerb),
    /// Import the snapshot of an etcd, or of another instance, into an instance without keys of its own
    Import(ImportOptions),
}

/// What to follow.
#[derive(Args, Debug)]
pub struct WatchOptions {
    key: String,
    /// All keys that begin with KEY
    #[arg(long)]
    prefix: bool,
    /// From this revision on; from now on when left out
    #[arg(long, default_value_t = 0, value_name = "REVISION")]
    revision: i64,
    #[command(flatten)]
    door: DoorOptions,
}

const KEYS: &[Column] = &[
    ("KEY", &["/key"]),
    ("VALUE", &["/value"]),
    ("REVISION", &["/mod_revision"]),
    ("VERSION", &["/version"]),
];

/// Carries a verb out.
pub async fn run(options: &Options, verb: &Verb) -> Result<(), Failure> {
    let rendered = match verb {
        Verb::Get {
            key,
            prefix,
            revision,
            limit,
            door,
        } => {
            let request = RangeRequest {
                key: key.clone().into(),
                range_end: range_end(key, *prefix).into(),
                limit: *limit,
                revision: *revision,
                ..RangeRequest::default()
            };
            let mut door = Door::open(options, door).await?;
            let request = door.request(request);
            let found = door.kv().range(request).await.map_err(refused)?.into_inner();
            Rendered::list(range_json(&found), KEYS)
        }
        Verb::Put { key, value, door } => {
            let request = PutRequest {
                key: key.clone().into(),
                value: value.clone().into(),
                ..PutRequest::default()
            };
            let mut door = Door::open(options, door).await?;
            let request = door.request(request);
            let done = door.kv().put(request).await.map_err(refused)?.into_inner();
            let revision = done.header.map_or(0, |header| header.revision);
            Rendered::done(format!("OK at revision {revision}"), json!({"revision": revision}))
        }
        Verb::Del { key, prefix, door } => {
            let request = DeleteRangeRequest {
                key: key.clone().into(),
                range_end: range_end(key, *prefix).into(),
                prev_kv: false,
            };
            let mut door = Door::open(options, door).await?;
            let request = door.request(request);
            let done = door.kv().delete_range(request).await.map_err(refused)?.into_inner();
            Rendered::done(format!("{} deleted", done.deleted), json!({"deleted": done.deleted}))
        }
        Verb::Snapshot(SnapshotVerb::Save(wanted)) => snapshot::save(options, wanted).await?,
        Verb::Import(wanted) => snapshot::import(options, wanted).await?,
        Verb::Watch(watch) => return follow(options, watch).await,
    };
    output::write(&rendered.print(options.output)?)
}

async fn follow(options: &Options, watch: &WatchOptions) -> Result<(), Failure> {
    let mut door = Door::open(options, &watch.door).await?;
    let create = WatchCreateRequest {
        key: watch.key.clone().into(),
        range_end: range_end(&watch.key, watch.prefix).into(),
        start_revision: watch.revision,
        ..WatchCreateRequest::default()
    };
    let first = WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(create)),
    };
    // The server ends a watch whose requests end: the stream of requests stays open behind the first one.
    let requests = futures_util::StreamExt::chain(
        futures_util::stream::iter([first]),
        futures_util::stream::pending::<WatchRequest>(),
    );
    let request = door.stream(requests);
    let mut stream = door.watch().watch(request).await.map_err(refused)?.into_inner();
    while let Some(response) = stream.message().await.map_err(refused)? {
        if response.canceled {
            return Err(Failure::new(
                Code::Refused,
                format!("the watch was cancelled: {}", response.cancel_reason),
            ));
        }
        for event in events_json(&response)? {
            let text = match event["type"].as_str() {
                Some("put") => format!("PUT {} {} @{}", event["key"], event["value"], event["mod_revision"]),
                _ => format!("DELETE {} @{}", event["key"], event["mod_revision"]),
            };
            output::write(&Rendered::done(text, event).print(options.output)?)?;
        }
    }
    Err(Failure::new(
        Code::Unavailable,
        "the node ended the watch; watch again, or on another node",
    ))
}

fn events_json(response: &WatchResponse) -> Result<Vec<Value>, Failure> {
    let events = response.decode_events();
    let events = events.map_err(|error| Failure::new(Code::Refused, format!("an event cannot be read: {error}")))?;
    let json = |event: mvccpb::Event| {
        let deleted = event.r#type() == mvccpb::event::EventType::Delete;
        let mut json = key_json(&event.kv.unwrap_or_default());
        json["type"] = json!(if deleted { "delete" } else { "put" });
        json
    };
    Ok(events.into_iter().map(json).collect())
}

/// The key after the last one with the prefix, as etcd's range end; empty for a single key.
pub(super) fn range_end(key: &str, prefix: bool) -> Vec<u8> {
    if !prefix {
        return Vec::new();
    }
    let mut end = key.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

fn range_json(found: &RangeResponse) -> Value {
    let revision = found.header.as_ref().map_or(0, |header| header.revision);
    let items: Vec<Value> = found.kvs.iter().map(key_json).collect();
    json!({"revision": revision, "count": found.count, "more": found.more, "items": items})
}

fn key_json(key: &mvccpb::KeyValue) -> Value {
    json!({
        "key": String::from_utf8_lossy(&key.key),
        "value": String::from_utf8_lossy(&key.value),
        "create_revision": key.create_revision,
        "mod_revision": key.mod_revision,
        "version": key.version,
        "lease": key.lease,
    })
}

/// Exit code of a gRPC status; its text is etcd's own.
fn refused(status: Status) -> Failure {
    let code = match status.code() {
        GrpcCode::InvalidArgument | GrpcCode::OutOfRange | GrpcCode::Unimplemented => Code::Usage,
        GrpcCode::NotFound => Code::NotFound,
        GrpcCode::Unauthenticated | GrpcCode::PermissionDenied => Code::Access,
        GrpcCode::Unavailable => Code::Unavailable,
        GrpcCode::DeadlineExceeded => Code::TimedOut,
        _ => Code::Refused,
    };
    Failure::new(code, status.message())
}
