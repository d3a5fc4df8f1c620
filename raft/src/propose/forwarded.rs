//! The leader's end of a stream of forwarded proposals.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use openraft::AsyncRuntime;
use prost::Message;
use tokio::sync::mpsc;

use super::{DoorItem, EntryOutcome, LeaderDoor};
use crate::network::wire::{ForwardBatch, ForwardReplies, ForwardReply};

/// Answers on their way back at most; the leader's batches wait for a slow reader behind them.
const ANSWER_QUEUE_FRAMES: usize = 16;
/// Entries whose outcomes are in one answer, at most.
const MAX_ENTRIES_AT_ONCE: usize = 64;

/// Submits each batch as it arrives and sends outcomes as they come, in any order.
pub(crate) fn serve_forwarded<RT: AsyncRuntime>(
    door: Arc<LeaderDoor<RT>>,
    frames: impl futures_util::Stream<Item = Bytes> + Send + 'static,
) -> impl futures_util::Stream<Item = Result<Bytes, String>> + Send + 'static {
    let (answers, queued) = mpsc::channel::<Result<Bytes, String>>(ANSWER_QUEUE_FRAMES);
    let _detached = RT::spawn(async move {
        let mut frames = Box::pin(frames);
        while let Some(frame) = frames.next().await {
            let batch = match ForwardBatch::decode(frame) {
                Ok(batch) => batch,
                Err(error) => {
                    let _ = answers.send(Err(error.to_string())).await;
                    return;
                }
            };
            let sequences: Vec<u64> = batch.items.iter().map(|item| item.stamp.sequence).collect();
            let items = batch.items.into_iter().map(|item| DoorItem {
                stamp: Some(item.stamp),
                proposal: item.proposal,
            });
            let Some(outcomes) = door.submit(items.collect()).await else {
                // Ends the stream: the sender looks for the leader and sends again.
                let _ = answers.send(Err("this node does not lead".to_owned())).await;
                return;
            };
            let answers = answers.clone();
            let _detached = RT::spawn(async move {
                let mut sequences = sequences.into_iter();
                let mut outcomes = outcomes.ready_chunks(MAX_ENTRIES_AT_ONCE);
                while let Some(chunk) = outcomes.next().await {
                    let items = chunk
                        .into_iter()
                        .flat_map(|outcome| forward_replies(&mut sequences, outcome));
                    let replies = ForwardReplies { items: items.collect() };
                    if answers.send(Ok(replies.encode_to_vec().into())).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    futures_util::stream::unfold(queued, |mut queued| async move {
        queued.recv().await.map(|item| (item, queued))
    })
}

fn forward_replies(sequences: &mut impl Iterator<Item = u64>, outcome: EntryOutcome) -> Vec<ForwardReply> {
    let (replies, log_index) = outcome.applied.unwrap_or_default();
    let mut replies = replies.into_iter();
    let sequences = sequences.take(outcome.items);
    let reply = |sequence| ForwardReply {
        sequence,
        reply: replies.next(),
        log_index,
    };
    sequences.map(reply).collect()
}
