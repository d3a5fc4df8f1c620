//! Changes of membership, on the leader, one after the other.
//!
//! Several parts of a node ask for them: openraft refuses a second one while the first is under way, and one that comes between
//! the two steps of another makes that other fail. So they wait for each other here, and for what a former leader has begun.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{AsyncRuntime, ChangeMembers};

use crate::core::Core;
use crate::handle::CallError;
use crate::network::Transport;
use crate::types::{Member, TypeConfig};

type Changed<RT> = Result<(), RaftError<TypeConfig<RT>, ClientWriteError<TypeConfig<RT>>>>;

/// From one look whether another leader's change has ended to the next.
const UNDER_WAY_PAUSE: Duration = Duration::from_millis(20);

/// One step of a change, and whether who stops voting stays as a learner.
type Step = (ChangeMembers<u64, Member>, bool);

/// What a change came to, in the words of the handle.
fn outcome<RT: AsyncRuntime>(changed: Result<Changed<RT>, RT::TimeoutError>) -> Result<(), CallError> {
    match changed {
        Err(_) => Err(CallError::TimedOut),
        Ok(Ok(())) => Ok(()),
        Ok(Err(RaftError::Fatal(_))) => Err(CallError::Stopped),
        Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => Err(CallError::NoLeader),
        Ok(Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)))) => Err(CallError::TimedOutLeaderLost),
        Ok(Err(RaftError::APIError(error))) => Err(CallError::Remote(error.to_string())),
    }
}

/// Whether another change has not ended yet.
fn is_under_way<RT: AsyncRuntime>(error: &ClientWriteError<TypeConfig<RT>>) -> bool {
    matches!(
        error,
        ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_))
            | ClientWriteError::PreconditionFailed(_)
    )
}

impl<RT: AsyncRuntime, T: Transport> Core<RT, T> {
    pub async fn add_learner(&self, id: u64, member: Member, deadline: Duration) -> Result<(), CallError> {
        let step = (ChangeMembers::AddNodes([(id, member)].into()), true);
        self.change_members(&[step], deadline).await
    }

    pub async fn promote(&self, ids: Vec<u64>, deadline: Duration) -> Result<(), CallError> {
        let step = (ChangeMembers::AddVoterIds(ids.into_iter().collect()), true);
        self.change_members(&[step], deadline).await
    }

    /// Gives a member another address.
    pub async fn update_member(&self, id: u64, member: Member, deadline: Duration) -> Result<(), CallError> {
        let address = member.peer.clone();
        let step = (ChangeMembers::SetNodes([(id, member)].into()), true);
        let changed = self.change_members(&[step], deadline).await;
        // One that timed out may be committed all the same, and nobody looks at it again then.
        if matches!(changed, Ok(()) | Err(CallError::TimedOut)) {
            self.addresses.set(id, &address);
        }
        changed
    }

    pub async fn remove(&self, ids: Vec<u64>, deadline: Duration) -> Result<(), CallError> {
        let ids: BTreeSet<u64> = ids.into_iter().collect();
        if ids.contains(&self.node_id) {
            let text = "the leader cannot remove itself; hand leadership over first";
            return Err(CallError::Remote(text.to_owned()));
        }
        let voters = (ChangeMembers::RemoveVoters(ids.clone()), false);
        let nodes = (ChangeMembers::RemoveNodes(ids), false);
        self.change_members(&[voters, nodes], deadline).await
    }

    async fn change_members(&self, steps: &[Step], deadline: Duration) -> Result<(), CallError> {
        let change = async {
            let _turn = self.members_turn.lock().await;
            for (change, retain) in steps {
                self.change_step(change, *retain).await?;
            }
            Ok(())
        };
        outcome::<RT>(RT::timeout(deadline, change).await)
    }

    /// Every step may be repeated: it names what is to be, and changes nothing where that is so.
    async fn change_step(&self, change: &ChangeMembers<u64, Member>, retain: bool) -> Changed<RT> {
        loop {
            match self.raft.change_membership(change.clone(), retain).await {
                Err(RaftError::APIError(error)) if is_under_way(&error) => RT::sleep(UNDER_WAY_PAUSE).await,
                Err(error) => return Err(error),
                Ok(_) => return Ok(()),
            }
        }
    }
}
