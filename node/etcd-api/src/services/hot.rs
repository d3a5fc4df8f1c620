//! The calls that make up nearly all traffic of service KV, without what tonic puts around a call: bytes in, bytes out, and
//! one read index for all reads that a client sent together.
//!
//! What the calls do is in [`super::kv`], which the gateway and HTTP/1.1 reach by tonic's service.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use prost::Message;
use quorate_kv::{self as kv, Keyspace};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::kv as service;
use crate::body::PREFIX_BYTES;
use crate::caller::Client;
use crate::context::Context;
use crate::errors::{kv_status, server_stopped};
use crate::pb::etcdserverpb as pb;

/// Reads under one hold of the state's lock, which `apply` waits for.
const MAX_READS_PER_HOLD: usize = 64;

/// A call of service KV that is served here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HotCall {
    Range,
    Put,
    DeleteRange,
    Txn,
}

impl HotCall {
    /// The call of a path.
    pub(crate) fn of(path: &[u8]) -> Option<HotCall> {
        match path {
            b"/etcdserverpb.KV/Range" => Some(HotCall::Range),
            b"/etcdserverpb.KV/Put" => Some(HotCall::Put),
            b"/etcdserverpb.KV/DeleteRange" => Some(HotCall::DeleteRange),
            b"/etcdserverpb.KV/Txn" => Some(HotCall::Txn),
            _ => None,
        }
    }
}

/// An encoded message with gRPC's prefix, or why there is none.
pub(crate) type Answer = Result<Bytes, Status>;

/// What became of a call when it was begun.
pub(crate) enum Begun {
    Answered(Answer),
    /// Answered together with the others that came with it: [`read_together`].
    Read(Box<Read>),
    Running(BoxFuture<'static, Done>),
}

/// What a running call ends with: answers by stream.
pub(crate) enum Done {
    One(u32, Answer),
    Many(Vec<(u32, Answer)>),
}

/// A linearizable read of one key that waits for the read index.
pub(crate) struct Read {
    client: Client,
    request: kv::RangeRequest,
}

/// Begins the call of a stream with its message.
pub(crate) fn begin(context: &Arc<Context>, client: &Client, stream: u32, call: HotCall, message: Bytes) -> Begun {
    macro_rules! running {
        ($call:path) => {
            match decode(message) {
                Err(status) => Begun::Answered(Err(status)),
                Ok(request) => {
                    let (context, client) = (Arc::clone(context), client.clone());
                    Begun::Running(Box::pin(async move {
                        let response = $call(&context, &client, request).await;
                        Done::One(stream, response.map(|response| framed(&response)))
                    }))
                }
            }
        };
    }
    match call {
        HotCall::Range => begin_range(context, client, stream, message),
        HotCall::Put => running!(service::put),
        HotCall::DeleteRange => running!(service::delete_range),
        HotCall::Txn => running!(service::txn),
    }
}

fn begin_range(context: &Arc<Context>, client: &Client, stream: u32, message: Bytes) -> Begun {
    let request: pb::RangeRequest = match decode(message) {
        Ok(request) => request,
        Err(status) => return Begun::Answered(Err(status)),
    };
    let client = client.clone();
    if !request.range_end.is_empty() {
        // It may be long, and others of the connection wait behind it: a task of its own.
        let context = Arc::clone(context);
        let reading = tokio::spawn(async move {
            let response = service::range(&context, &client, request).await?;
            Ok(framed(&response))
        });
        let reading = AbortOnDropHandle::new(reading);
        return Begun::Running(Box::pin(async move {
            Done::One(stream, reading.await.unwrap_or_else(|_| Err(server_stopped())))
        }));
    }
    let serializable = request.serializable;
    let request = kv::RangeRequest::from(request);
    let checked = context.ensure_reading(&client, serializable);
    if let Err(status) = checked.and_then(|()| kv::validate_range(&request).map_err(kv_status)) {
        return Begun::Answered(Err(status));
    }
    let read = Read { client, request };
    match serializable {
        false => Begun::Read(Box::new(read)),
        true if context.handle.has_acknowledged() => Begun::Answered(read.local(context)),
        true => {
            let context = Arc::clone(context);
            Begun::Running(Box::pin(async move {
                let waited = context.read_acknowledged().await;
                Done::One(stream, waited.and_then(|()| read.local(&context)))
            }))
        }
    }
}

impl Read {
    /// Answers from the local state as it is.
    fn local(&self, context: &Context) -> Answer {
        let result = context.keyspace(|keyspace| service::read_range(keyspace, &self.client, &self.request))?;
        self.answer(context, result)
    }

    fn answer(&self, context: &Context, result: Result<(kv::RangeResponse, i64), kv::KvError>) -> Answer {
        let response = service::range_answer(context, &self.client, &self.request, result)?;
        Ok(framed(&response))
    }
}

/// Answers reads that came together: one read index, taken after all of them came, and the state's lock once for many.
pub(crate) async fn read_together(context: Arc<Context>, reads: Vec<(u32, Box<Read>)>) -> Done {
    if let Err(status) = context.read_index().await {
        return Done::Many(
            reads
                .into_iter()
                .map(|(stream, _)| (stream, Err(status.clone())))
                .collect(),
        );
    }
    let mut answers = Vec::with_capacity(reads.len());
    for some in reads.chunks(MAX_READS_PER_HOLD) {
        let results = context.keyspace(|keyspace: &Keyspace| -> Vec<_> {
            some.iter()
                .map(|(_, read)| service::read_range(keyspace, &read.client, &read.request))
                .collect()
        });
        match results {
            Err(status) => answers.extend(some.iter().map(|(stream, _)| (*stream, Err(status.clone())))),
            Ok(results) => answers.extend(
                some.iter()
                    .zip(results)
                    .map(|((stream, read), result)| (*stream, read.answer(&context, result))),
            ),
        }
    }
    Done::Many(answers)
}

fn decode<M: Message + Default>(message: Bytes) -> Result<M, Status> {
    M::decode(message).map_err(|error| Status::internal(format!("quorate: the message cannot be decoded: {error}")))
}

/// A message as gRPC sends it: not compressed, with its length.
fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut out = Vec::with_capacity(PREFIX_BYTES + length);
    out.push(0);
    // A longer answer than 4 GiB does not fit into the memory of a node.
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    message.encode_raw(&mut out);
    out.into()
}
