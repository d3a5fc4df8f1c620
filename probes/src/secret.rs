//! A password in memory.

use zeroize::Zeroizing;

/// A password: wiped when dropped, never printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a password in clear.
    pub fn new(clear: String) -> Self {
        Self(Zeroizing::new(clear))
    }

    /// The password in clear, for a login and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("pw-1".to_owned())), "Secret(…)");
    }
}
