//! Elasticsearch on dc1 (TLS and passwords), OpenSearch on dc2 (plain).

use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use super::Expected;
use super::databases::{DatabaseFault, Subject, common_expectation};
use crate::sides::{ElasticsearchSides, Sides};

/// The pair of the demonstration.
pub struct SearchSubject(ElasticsearchSides);

impl SearchSubject {
    /// Starts the pair below `directory`.
    pub async fn start(directory: &Path) -> Result<Self> {
        ElasticsearchSides::start(directory).await.map(Self)
    }
}

impl Subject for SearchSubject {
    fn engine(&self) -> &'static str {
        "elasticsearch"
    }

    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn addresses(&self, _fault: DatabaseFault) -> [String; 2] {
        self.0.addresses()
    }

    fn section(&self, _fault: DatabaseFault) -> Value {
        self.0.section()
    }

    fn pool(&self, _fault: DatabaseFault) -> Option<Value> {
        self.0.pool()
    }

    /// What its logins, its TLS and its health come to stands in the probers' own tests on the real server.
    fn expected(&self, fault: DatabaseFault) -> Option<Expected> {
        match fault {
            DatabaseFault::BothDown => None,
            other => common_expectation(other),
        }
    }

    async fn inject(&mut self, fault: DatabaseFault) -> Result<()> {
        match fault {
            DatabaseFault::Refused => self.0.kill_dc1(),
            DatabaseFault::Stopped => self.0.pause_dc1(),
            _ => Ok(()),
        }
    }

    async fn undo(&mut self, fault: DatabaseFault) -> Result<()> {
        match fault {
            DatabaseFault::Refused => self.0.start_dc1().await,
            DatabaseFault::Stopped => self.0.resume_dc1().await,
            _ => Ok(()),
        }
    }
}
