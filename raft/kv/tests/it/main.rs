//! Tests of the store through its public interface: scenarios with golden output, seeded histories against a naive model,
//! and damaged snapshots.

mod decode;
mod errors;
mod import;
mod limits;
mod model;
mod properties;
mod random;
mod scenarios;
mod script;
