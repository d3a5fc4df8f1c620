//! The types that openraft is instantiated with, generic over the async runtime so that the same code runs on tokio and in
//! the deterministic simulation.

use std::fmt::Debug;
use std::marker::PhantomData;

use openraft::AsyncRuntime;
use openraft::impls::leader_id_std::LeaderId;
use quorate_machine::{Commands, Reply};

/// A running node of openraft over the runtime `RT`.
pub(crate) type Raft<RT> = openraft::Raft<TypeConfig<RT>, crate::machine_store::StateMachine<RT>>;

/// openraft's type configuration of this project over the runtime `RT`.
///
/// Leader ids are the standard ones: one leader per term at most, so a term names a leadership.
#[derive(Debug)]
pub struct TypeConfig<RT>(PhantomData<fn() -> RT>);

macro_rules! phantom_traits {
    () => {
        impl<RT> Clone for TypeConfig<RT> {
            fn clone(&self) -> Self {
                *self
            }
        }
        impl<RT> Copy for TypeConfig<RT> {}
        impl<RT> Default for TypeConfig<RT> {
            fn default() -> Self {
                Self(PhantomData)
            }
        }
        impl<RT> PartialEq for TypeConfig<RT> {
            fn eq(&self, _: &Self) -> bool {
                true
            }
        }
        impl<RT> Eq for TypeConfig<RT> {}
        impl<RT> PartialOrd for TypeConfig<RT> {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }
        impl<RT> Ord for TypeConfig<RT> {
            fn cmp(&self, _: &Self) -> std::cmp::Ordering {
                std::cmp::Ordering::Equal
            }
        }
    };
}
phantom_traits!();

/// What the membership entry says of a member: where its peers reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// `node-1` and so on.
    pub name: String,
    /// Availability zone.
    pub zone: String,
    /// Peer address, `host:port`.
    pub peer: String,
}

/// What openraft hands to a waiting proposer after apply.
#[derive(Clone, Debug)]
pub struct Applied {
    /// One for each command of the entry, in order.
    pub replies: Vec<Reply>,
}

impl<RT: AsyncRuntime> openraft::RaftTypeConfig for TypeConfig<RT> {
    type D = Commands;
    type R = Applied;
    type NodeId = u64;
    type Node = Member;
    type Term = u64;
    type LeaderId = LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Commands, u64, Member>;
    type Entry = openraft::Entry<<Self::LeaderId as openraft::vote::RaftLeaderId>::Committed, Self::Payload>;
    type AsyncRuntime = RT;
    type Responder<T>
        = openraft::impls::OneshotResponder<Self, T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}
