//! Random numbers from the operating system's generator.

/// A random 64-bit number.
pub(crate) fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random generator works");
    u64::from_le_bytes(bytes)
}
