//! Lower priority for threads whose work nobody waits for.

use std::io;

/// Added to the niceness of such threads (`nice(2)`): about a third of the others' share of a busy processor.
const BEHIND_NICENESS: i32 = 5;
/// The highest there is.
const MAX_NICENESS: i32 = 19;

/// Lowers the priority of the calling thread, and of no other, for the rest of its life.
pub fn step_back() {
    if let Err(error) = lower() {
        tracing::debug!("a thread keeps its priority: {error}");
    }
}

/// On Linux a thread's id stands for that thread alone (setpriority(2)).
fn lower() -> io::Result<()> {
    let thread = Some(rustix::thread::gettid());
    let niceness = rustix::process::getpriority_process(thread)?;
    rustix::process::setpriority_process(thread, (niceness + BEHIND_NICENESS).min(MAX_NICENESS))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_steps_back_and_no_other() {
        let niceness = || rustix::process::getpriority_process(Some(rustix::thread::gettid())).expect("on Linux");
        let before = niceness();
        let behind = std::thread::spawn(move || {
            step_back();
            niceness()
        });
        let behind = behind.join().expect("no panic");
        assert_eq!(behind, (before + BEHIND_NICENESS).min(MAX_NICENESS));
        assert_eq!(niceness(), before);
    }
}
