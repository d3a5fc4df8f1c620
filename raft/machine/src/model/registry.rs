//! Modules, namespaces, applications and settings of kinds.

use crate::model::*;

/// A namespace: the logical isolation of one business system (A3). Only the bootstrapped `default` exists so far.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Namespace {
    #[prost(message, required, tag = "1")]
    pub meta: Meta,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub description: String,
    /// `same-city` or `remote-dr`.
    #[prost(string, tag = "4")]
    pub edition: String,
    /// Feature points ticked here, a subset of the module's.
    #[prost(string, repeated, tag = "5")]
    pub feature_points: Vec<String>,
}

/// A feature module: an edition with the feature points enabled for this deployment (A2).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Module {
    #[prost(message, required, tag = "1")]
    pub meta: Meta,
    #[prost(string, tag = "2")]
    pub edition: String,
    #[prost(string, repeated, tag = "3")]
    pub feature_points: Vec<String>,
}

/// An application groups monitors (B1).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Application {
    #[prost(message, required, tag = "1")]
    pub meta: Meta,
    #[prost(message, required, tag = "2")]
    pub instance: Id,
    #[prost(message, required, tag = "3")]
    pub spec: ApplicationSpec,
}

/// What a user sets of an application. Name: 1..=64 characters; description: at most 255.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ApplicationSpec {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub description: String,
}

/// Global settings of a kind (C11). Milliseconds; precision 1 or 2.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct KindSettings {
    #[prost(uint32, tag = "1")]
    pub retry_interval_ms: u32,
    #[prost(uint32, tag = "2")]
    pub monitor_timeout_ms: u32,
    #[prost(uint32, tag = "3")]
    pub access_timeout_ms: u32,
    #[prost(uint32, tag = "4")]
    pub health_precision: u32,
}

impl KindSettings {
    /// The defaults of C3 and C4.
    pub const DEFAULT: KindSettings = KindSettings {
        retry_interval_ms: 3_000,
        monitor_timeout_ms: 10_000,
        access_timeout_ms: 3_000,
        health_precision: 1,
    };
}
