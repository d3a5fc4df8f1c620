//! Carries out what `quorate bootstrap` left behind: proposes the cluster's first command, once.

use std::time::Duration;

use quorate_machine::{Command, Principal, PrincipalKind, Proposal, RefusalCode, ReplyKind};
use quorate_raft::Handle;

use crate::identity::{IdentityDirectory, IdentityError, PendingBootstrap};

/// Time for one try.
const DEADLINE: Duration = Duration::from_secs(10);
/// Pause between two tries: the other members may not run yet.
const PAUSE: Duration = Duration::from_millis(50);

/// Proposes what is pending until the cluster has it, and removes the file; a crash in between repeats it harmlessly.
/// Returns only an error: afterwards there is nothing left to do for as long as the node runs.
pub async fn run(handle: &Handle, directory: &IdentityDirectory) -> Result<(), IdentityError> {
    if let Some(pending) = PendingBootstrap::read(directory)? {
        propose(handle, pending).await?;
        PendingBootstrap::finish(directory)?;
        tracing::info!("the cluster is bootstrapped");
    }
    std::future::pending().await
}

async fn propose(handle: &Handle, pending: PendingBootstrap) -> Result<(), IdentityError> {
    let author = Principal {
        kind: Some(PrincipalKind::Node(handle.node_id())),
        source: String::new(),
    };
    let command = Command::Bootstrap(Box::new(pending.0));
    let proposal = Proposal {
        author: Some(author),
        command: Some(command),
    };
    loop {
        match handle.propose(proposal.clone(), DEADLINE).await {
            Ok(committed) => match committed.reply.kind {
                Some(ReplyKind::Refused(refusal)) if refusal.code() != RefusalCode::AlreadyBootstrapped => {
                    return Err(IdentityError::BootstrapRefused(refusal.code().code()));
                }
                _ => return Ok(()),
            },
            Err(error) => {
                tracing::debug!("the bootstrap did not get through yet: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
