//! Changes of membership, on the leader.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::error::{ClientWriteError, RaftError};
use openraft::raft::ClientWriteResponse;
use openraft::{AsyncRuntime, ChangeMembers};

use crate::core::Core;
use crate::handle::CallError;
use crate::network::Transport;
use crate::types::{Member, TypeConfig};

type Changed<RT> =
    Result<ClientWriteResponse<TypeConfig<RT>>, RaftError<TypeConfig<RT>, ClientWriteError<TypeConfig<RT>>>>;

/// What a change came to, in the words of the handle.
fn outcome<RT: AsyncRuntime>(changed: Result<Changed<RT>, RT::TimeoutError>) -> Result<(), CallError> {
    match changed {
        Err(_) => Err(CallError::TimedOut),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(RaftError::Fatal(_))) => Err(CallError::Stopped),
        Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => Err(CallError::NoLeader),
        Ok(Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)))) => Err(CallError::TimedOutLeaderLost),
        Ok(Err(RaftError::APIError(error))) => Err(CallError::Remote(error.to_string())),
    }
}

impl<RT: AsyncRuntime, T: Transport> Core<RT, T> {
    pub async fn add_learner(&self, id: u64, member: Member, deadline: Duration) -> Result<(), CallError> {
        outcome::<RT>(RT::timeout(deadline, self.raft.add_learner(id, member, false)).await)
    }

    pub async fn promote(&self, ids: Vec<u64>, deadline: Duration) -> Result<(), CallError> {
        let change = ChangeMembers::AddVoterIds(ids.into_iter().collect());
        outcome::<RT>(RT::timeout(deadline, self.raft.change_membership(change, true)).await)
    }

    /// Gives a member another address.
    pub async fn update_member(&self, id: u64, member: Member, deadline: Duration) -> Result<(), CallError> {
        let change = ChangeMembers::SetNodes([(id, member)].into());
        outcome::<RT>(RT::timeout(deadline, self.raft.change_membership(change, true)).await)
    }

    pub async fn remove(&self, ids: Vec<u64>, deadline: Duration) -> Result<(), CallError> {
        let ids: BTreeSet<u64> = ids.into_iter().collect();
        if ids.contains(&self.node_id) {
            let text = "the leader cannot remove itself; hand leadership over first";
            return Err(CallError::Remote(text.to_owned()));
        }
        let change = async {
            self.raft
                .change_membership(ChangeMembers::RemoveVoters(ids.clone()), false)
                .await?;
            self.raft
                .change_membership(ChangeMembers::RemoveNodes(ids), false)
                .await
        };
        outcome::<RT>(RT::timeout(deadline, change).await)
    }
}
