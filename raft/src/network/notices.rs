//! Fewer messages to followers: the news that entries are committed travels with the next entries.
//!
//! openraft tells every follower of every commit. A lone writer would so cost two messages to each follower and two answers
//! per write, where the next write follows at once and tells the same.

use std::time::Duration;

use futures_util::stream::{Stream, StreamExt};
use openraft::raft::AppendEntriesRequest;
use openraft::{AsyncRuntime, Instant};

use crate::types::TypeConfig;

/// How long the news that entries are committed waits for entries to travel with. Reads do not wait for it: their round
/// carries it to every follower.
const NOTICE_HOLD_MS: u64 = 2;

/// `first` and then `input`, without requests that only tell how far the log is committed where the next one, which tells it
/// too, follows at once. openraft takes the answer to a later request for the dropped one's as well.
pub(crate) fn hold_notices<RT: AsyncRuntime, S>(
    first: AppendEntriesRequest<TypeConfig<RT>>,
    input: S,
) -> impl Stream<Item = AppendEntriesRequest<TypeConfig<RT>>> + Send
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig<RT>>> + Send + Unpin + 'static,
{
    // Fused: after a notice that ends the stream it is asked once more.
    let input = input.fuse();
    futures_util::stream::unfold((Some(first), input), |(ready, mut input)| async move {
        if let Some(first) = ready {
            return Some((first, (None, input)));
        }
        let mut request = input.next().await?;
        if !request.entries.is_empty() {
            return Some((request, (None, input)));
        }
        let until = RT::Instant::now() + Duration::from_millis(NOTICE_HOLD_MS);
        while request.entries.is_empty() {
            match RT::timeout_at(until, input.next()).await {
                Ok(Some(next)) => request = next,
                // The stream ends, or nothing follows.
                Ok(None) | Err(_) => break,
            }
        }
        Some((request, (None, input)))
    })
}

#[cfg(test)]
mod tests {
    use openraft_rt_sim::{SimInstant, SimRuntime};

    use super::*;
    use crate::codec::{Entry, Vote, log_id};

    type Request = AppendEntriesRequest<TypeConfig<SimRuntime>>;

    fn request(committed: u64, entries: &[u64]) -> Request {
        let blank = |index: &u64| Entry {
            log_id: log_id(1, *index),
            payload: openraft::EntryPayload::Blank,
        };
        AppendEntriesRequest {
            vote: Vote::new(1, 1),
            prev_log_id: None,
            entries: entries.iter().map(blank).collect(),
            leader_commit: Some(log_id(1, committed)),
        }
    }

    /// What goes out of requests that come after so many milliseconds each: committed index, entries, when.
    fn sent(first: Request, rest: Vec<(u64, Request)>) -> Vec<(u64, usize, u128)> {
        let mut runtime = SimRuntime::with_seed(1);
        runtime.block_on(async move {
            let begun = SimInstant::now();
            let input = futures_util::stream::iter(rest).then(|(pause_ms, request)| async move {
                SimRuntime::sleep(Duration::from_millis(pause_ms)).await;
                request
            });
            let held = hold_notices::<SimRuntime, _>(first, input.boxed());
            let seen = held.map(|request| {
                let committed = request.leader_commit.map_or(0, |id| id.index);
                (committed, request.entries.len(), begun.elapsed().as_millis())
            });
            seen.collect().await
        })
    }

    #[test]
    fn a_notice_travels_with_entries_that_follow_at_once() {
        let rest = vec![
            (5, request(1, &[])),
            (1, request(1, &[2])),
            (3, request(2, &[])),
            (0, request(3, &[])),
            (1, request(3, &[4, 5])),
        ];
        assert_eq!(sent(request(0, &[1]), rest), [(0, 1, 0), (1, 1, 6), (3, 2, 10)]);
    }

    #[test]
    fn a_notice_goes_alone_when_nothing_follows() {
        let rest = vec![(0, request(7, &[])), (50, request(8, &[])), (0, request(9, &[]))];
        // The first request of a stream is never held, and neither is the last one.
        assert_eq!(sent(request(6, &[]), rest), [(6, 0, 0), (7, 0, 2), (9, 0, 50)]);
    }
}
