//! How a monitor that is to be saved came past the connection test (C6).

/// What is known of the connection test of a monitor that is to be saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum TestVerdict {
    /// Every node reached every address.
    Passed = 0,
    /// The test was left out, and somebody answers for it.
    Overridden = 1,
    /// The test was not made, or failed: the monitor is not saved.
    Owed = 2,
}

/// How a monitor that is to be saved came past the connection test.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TestGate {
    #[prost(enumeration = "TestVerdict", tag = "1")]
    pub verdict: i32,
    /// Why the test was left out; required then.
    #[prost(string, tag = "2")]
    pub reason: String,
}

impl TestGate {
    /// A gate with a verdict and no reason.
    pub fn of(verdict: TestVerdict) -> Self {
        Self {
            verdict: verdict as i32,
            reason: String::new(),
        }
    }
}
