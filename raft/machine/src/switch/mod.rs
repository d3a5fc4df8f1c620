//! Switches: planned, activated in one revision, repeated for SDKs that missed it.
//!
//! Automatic and manual switches meet in `activate`; only what leads to one differs. Fencing is not carried out in this
//! version: policies that ask for it are refused when a monitor is saved.

mod activate;
mod flags;
mod plan;
mod republish;

pub(crate) use activate::{automatic, manual};
pub(crate) use flags::{acknowledge, set_read_write};
pub(crate) use plan::{check_batch, check_monitor, monitors_of};
pub(crate) use republish::{republish, republish_all_after_leader_change};
