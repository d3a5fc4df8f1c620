//! Who calls: sessions, API tokens, passwords and login limits.
//!
//! This edge only establishes identity. What the identity may do is decided by the machine's `authorize` when the command
//! is applied; reads are filtered by the machine's own visibility rule.

mod caller;
mod limit;
mod password;
mod session;

pub(crate) use caller::{Caller, authenticate, source, still_valid, token_hash};
pub(crate) use limit::LoginLimits;
pub use password::hash_password;
pub(crate) use password::{PasswordChecker, check_new_password};
pub use session::SessionKey;
pub(crate) use session::{Session, TOKEN_PREFIX};
