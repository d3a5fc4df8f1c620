//! What other nodes ask of this one while it leads, told apart by the first byte.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use quorate_etcd_api::{LEASE_REQUEST_TAG, Lessor};
use quorate_raft::{Handle, LeaderRequestHandler};

use super::heartbeats::{HEARTBEAT_REQUEST_TAG, Heartbeats};
use crate::membership::{MEMBER_REQUEST_TAG, Membership};

const _: () = assert!(
    HEARTBEAT_REQUEST_TAG != LEASE_REQUEST_TAG
        && HEARTBEAT_REQUEST_TAG != MEMBER_REQUEST_TAG
        && LEASE_REQUEST_TAG != MEMBER_REQUEST_TAG,
    "requests are told apart by their first byte"
);

/// Hands each request to whom it is for.
pub struct LeaderRequests {
    pub handle: Handle,
    pub heartbeats: Arc<Heartbeats>,
    pub lessor: Lessor,
    pub membership: Membership,
}

impl LeaderRequestHandler for LeaderRequests {
    fn handle(&self, from: u64, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        match request.first() {
            Some(&HEARTBEAT_REQUEST_TAG) => {
                let answer = self.heartbeats.answer(&self.handle, from, &request[1..]);
                Box::pin(std::future::ready(answer))
            }
            Some(&LEASE_REQUEST_TAG) => self.lessor.handle_leader_request(request),
            Some(&MEMBER_REQUEST_TAG) => {
                let membership = self.membership.clone();
                Box::pin(async move { membership.answer(&request[1..]).await })
            }
            _ => Box::pin(std::future::ready(Err(
                "an unknown request: is this node older than the other?".to_string(),
            ))),
        }
    }
}
