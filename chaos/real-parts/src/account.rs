//! Accounts of the servers.

/// An account of a server. The passwords are throw-away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Account name.
    pub user: &'static str,
    /// Its password.
    pub password: &'static str,
}
