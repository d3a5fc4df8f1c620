//! Attempts at what somebody who leads has to do, one after the other until one succeeds.

use std::time::Duration;

use openraft::AsyncRuntime;
use openraft::async_runtime::Select2;
use openraft::async_runtime::watch::WatchReceiver;

use crate::handle::CallError;
use crate::standing::{Standing, StandingReceiver, Standings};

/// Pause between attempts, also while nobody leads.
pub(crate) const RETRY_PAUSE_MS: u64 = 10;

/// Attempts until one gives something, as long as this node serves. An attempt is given up after `attempt_timeout`, and when the
/// leader has a successor, with whatever it has done by then: it must do no harm to do it more than once.
pub(crate) async fn until_answered<RT, V, A>(
    standings: &Standings<RT>,
    attempt_timeout: Duration,
    mut attempt: impl FnMut(Standing) -> A,
) -> Result<V, CallError>
where
    RT: AsyncRuntime,
    V: Send,
    A: Future<Output = Option<V>> + Send,
{
    let mut changes: StandingReceiver<RT> = standings.subscribe();
    loop {
        let standing = changes.borrow_and_update().clone();
        standings.check_serving()?;
        let limited = RT::timeout(attempt_timeout, attempt(standing));
        // A change of leader ends the attempt; any other change would too, and only costs another attempt.
        let given = match RT::select2(limited, changes.changed()).await {
            Select2::First(result) => result.ok().flatten(),
            Select2::Second(Err(_)) => return Err(CallError::Stopped),
            Select2::Second(Ok(())) => None,
        };
        match given {
            Some(given) => return Ok(given),
            None => RT::sleep(Duration::from_millis(RETRY_PAUSE_MS)).await,
        }
    }
}
