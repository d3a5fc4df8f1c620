//! Bugs that tests put in, to prove that the properties find them. Not part of a shipped build: only the feature
//! `planted-bugs` compiles this, and only tests ask for it. Without a caller of [`with_single_voter_switch`] it changes nothing.

use std::cell::Cell;

std::thread_local! {
    static SINGLE_VOTER_SWITCHES: Cell<bool> = const { Cell::new(false) };
}

/// Runs something on this thread with a machine that fails a data center over on the word of a single voter.
pub fn with_single_voter_switch<T>(run: impl FnOnce() -> T) -> T {
    /// Takes the bug out again, also when `run` panics, which is what it is for.
    struct TakenOut;
    impl Drop for TakenOut {
        fn drop(&mut self) {
            SINGLE_VOTER_SWITCHES.set(false);
        }
    }
    SINGLE_VOTER_SWITCHES.set(true);
    let _taken_out = TakenOut;
    run()
}

pub(crate) fn single_voter_switches() -> bool {
    SINGLE_VOTER_SWITCHES.get()
}
