//! What lessors say to each other.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use quorate_machine::Id;

/// First byte of a lessor's request among those that nodes send to the leader.
pub const LEASE_REQUEST_TAG: u8 = b'L';

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    /// Renew the lease; otherwise tell what is left of it.
    pub(super) renew: bool,
    pub(super) instance: Id,
    pub(super) lease: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct WireRequest {
    #[prost(message, required, tag = "1")]
    instance: Id,
    #[prost(int64, tag = "2")]
    lease: i64,
    #[prost(bool, tag = "3")]
    renew: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct Answer {
    #[prost(bool, tag = "1")]
    pub(super) found: bool,
    #[prost(int64, tag = "2")]
    pub(super) ttl_seconds: i64,
    #[prost(int64, tag = "3")]
    pub(super) granted_ttl_seconds: i64,
}

impl Answer {
    pub(super) fn renewed(ttl_seconds: Option<i64>) -> Answer {
        Answer {
            found: ttl_seconds.is_some(),
            ttl_seconds: ttl_seconds.unwrap_or_default(),
            granted_ttl_seconds: ttl_seconds.unwrap_or_default(),
        }
    }

    pub(super) fn remaining(remaining: Option<super::Remaining>) -> Answer {
        Answer {
            found: remaining.is_some(),
            ttl_seconds: remaining.map_or(0, |remaining| remaining.ttl_seconds),
            granted_ttl_seconds: remaining.map_or(0, |remaining| remaining.granted_ttl_seconds),
        }
    }
}

pub(super) fn encode_request(request: Request) -> Bytes {
    let Request { renew, instance, lease } = request;
    let mut bytes = BytesMut::new();
    bytes.put_u8(LEASE_REQUEST_TAG);
    bytes.put_slice(&WireRequest { instance, lease, renew }.encode_to_vec());
    bytes.freeze()
}

pub(super) fn decode_request(bytes: Bytes) -> Result<Request, String> {
    if bytes.first() != Some(&LEASE_REQUEST_TAG) {
        return Err("not a request of a lessor".to_owned());
    }
    let request = WireRequest::decode(bytes.slice(1..)).map_err(|error| format!("malformed lease request: {error}"))?;
    let WireRequest { instance, lease, renew } = request;
    Ok(Request { renew, instance, lease })
}

pub(super) fn encode_answer(answer: Answer) -> Bytes {
    answer.encode_to_vec().into()
}

pub(super) fn decode_answer(bytes: Bytes) -> Result<Answer, String> {
    Answer::decode(bytes).map_err(|error| format!("malformed lease answer: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_travel() {
        let request = Request {
            renew: true,
            instance: Id::from_u128(5),
            lease: -3,
        };
        let encoded = encode_request(request);
        assert_eq!(encoded[0], LEASE_REQUEST_TAG);
        assert!(decode_request(encoded) == Ok(request));
        assert!(decode_request(Bytes::from_static(b"L\x0a\x05")).is_err());
        assert!(decode_request(Bytes::new()).is_err());
        let answer = Answer::renewed(Some(9));
        assert_eq!(decode_answer(encode_answer(answer)), Ok(answer));
    }
}
