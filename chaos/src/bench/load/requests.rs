//! Encoded requests of the load generator: made once, and only the key is written into them for every call.

use anyhow::{Result, ensure};
use bytes::Bytes;
use prost::Message;

use super::connection::PREFIX_BYTES;
use super::{Operation, VALUE_BYTES};
use crate::etcd::{Compare, CompareTarget, PutRequest, RangeRequest, RequestOp, RequestOpKind, TxnRequest};

/// Stands for a key; nothing else in a request looks like it.
const PLACEHOLDER: [u8; 8] = [0xfe; 8];

/// A request with its gRPC prefix.
#[derive(Clone)]
struct Template {
    bytes: Vec<u8>,
    keys: Vec<usize>,
}

impl Template {
    fn new(message: &impl Message) -> Result<Self> {
        let mut bytes = vec![0];
        bytes.extend_from_slice(&u32::try_from(message.encoded_len())?.to_be_bytes());
        debug_assert_eq!(bytes.len(), PREFIX_BYTES);
        message.encode(&mut bytes)?;
        let places = bytes.windows(PLACEHOLDER.len()).enumerate();
        let keys: Vec<usize> = places
            .filter(|(_, window)| *window == PLACEHOLDER)
            .map(|(at, _)| at)
            .collect();
        ensure!(!keys.is_empty(), "a request without a key");
        Ok(Self { bytes, keys })
    }
}

/// The requests of one operation.
pub struct Requests {
    /// Taken by turns.
    templates: Vec<Template>,
}

impl Requests {
    pub fn new(operation: Operation) -> Result<Self> {
        let templates = match operation {
            Operation::Put => vec![Template::new(&put())?],
            Operation::Get => vec![Template::new(&get())?],
            Operation::Transaction => vec![Template::new(&reading())?, Template::new(&writing())?],
        };
        Ok(Self { templates })
    }

    /// What is called.
    pub fn path(operation: Operation) -> &'static str {
        match operation {
            Operation::Put => "/etcdserverpb.KV/Put",
            Operation::Get => "/etcdserverpb.KV/Range",
            Operation::Transaction => "/etcdserverpb.KV/Txn",
        }
    }

    /// The request number `turn` for a key, with its prefix.
    pub fn request(&mut self, turn: u64, key: u64) -> &[u8] {
        let turn = turn as usize % self.templates.len();
        let Template { bytes, keys } = &mut self.templates[turn];
        for at in keys.iter() {
            bytes[*at..*at + PLACEHOLDER.len()].copy_from_slice(&key.to_be_bytes());
        }
        bytes
    }

    /// What an answer to request number `turn` has at least, with its prefix: whoever read a key got its value.
    pub fn least_answer_bytes(operation: Operation, turn: u64) -> usize {
        match operation {
            Operation::Put => PREFIX_BYTES + 1,
            Operation::Get => PREFIX_BYTES + VALUE_BYTES,
            Operation::Transaction if turn.is_multiple_of(2) => PREFIX_BYTES + VALUE_BYTES,
            Operation::Transaction => PREFIX_BYTES + 1,
        }
    }

    /// Length of the longest one.
    pub fn max_bytes(&self) -> usize {
        self.templates
            .iter()
            .map(|template| template.bytes.len())
            .max()
            .unwrap_or_default()
    }
}

fn key() -> Bytes {
    Bytes::from_static(&PLACEHOLDER)
}

fn put() -> PutRequest {
    super::put(key(), &vec![b'x'; VALUE_BYTES].into())
}

fn get() -> RangeRequest {
    RangeRequest {
        key: key(),
        ..RangeRequest::default()
    }
}

fn operation(kind: RequestOpKind) -> Vec<RequestOp> {
    vec![RequestOp { request: Some(kind) }]
}

fn reading() -> TxnRequest {
    TxnRequest {
        success: operation(RequestOpKind::Range(get())),
        ..TxnRequest::default()
    }
}

/// Puts a key that must be there.
fn writing() -> TxnRequest {
    const GREATER: i32 = 1;
    const CREATE_REVISION: i32 = 1;
    let present = Compare {
        result: GREATER,
        target: CREATE_REVISION,
        key: key(),
        operand: Some(CompareTarget::CreateRevision(0)),
        range_end: Bytes::new(),
    };
    TxnRequest {
        compare: vec![present],
        success: operation(RequestOpKind::Put(put())),
        failure: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_the_key_is_written() {
        let mut requests = Requests::new(Operation::Transaction).expect("requests");
        for (turn, places) in [(0, 1), (1, 2)] {
            let request = requests.request(turn, 7);
            let transaction = TxnRequest::decode(&request[PREFIX_BYTES..]).expect("a message");
            let key = 7_u64.to_be_bytes();
            let written = request.windows(8).filter(|window| *window == key).count();
            assert_eq!(written, places);
            assert!(transaction.compare.iter().all(|compare| compare.key == key[..]));
        }
    }
}
