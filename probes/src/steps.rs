//! The record of a connection test before a monitor is saved (C6): step by step, with the engine's own words.

use std::time::Duration;

use quorate_machine::FindingClass;
use tokio::time::Instant;

use crate::{
    Stage,
    canary::{Beat, Writer},
    failure::{Failure, micros_since},
    observation::{StageResult, bounded_text},
};

/// The steps so far, in their order; the last one may be a failed one.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    results: Vec<StageResult>,
}

/// A step failed; its reason is recorded.
#[derive(Debug)]
pub(crate) struct Stopped;

impl Steps {
    /// Records a step: what to show and what the next one needs, or the failure.
    pub(crate) fn record<T>(
        &mut self,
        stage: Stage,
        started: Instant,
        outcome: Result<(String, T), Failure>,
    ) -> Result<T, Stopped> {
        let latency_us = micros_since(started);
        let (stage, class, text, value) = match outcome {
            Ok((text, value)) => (stage, FindingClass::Ok, bounded_text(&text), Ok(value)),
            Err(failure) => (failure.stage, failure.class, failure.text, Err(Stopped)),
        };
        self.results.push(StageResult {
            stage,
            class,
            text,
            latency_us,
        });
        value
    }

    /// Has a canary write once, and records what came of it.
    pub(crate) async fn record_write<W: Writer>(&mut self, mut writer: W, place: &str, access_timeout: Duration) {
        let started = Instant::now();
        let failed = |class, text: &str| Err(Failure::new(Stage::Write, class, text));
        let outcome = match writer.write(access_timeout).await {
            Beat::Written => Ok((format!("wrote {place}"), ())),
            Beat::ReadOnly => Ok(("read-only: nothing written".to_owned(), ())),
            Beat::Failed(text) => failed(FindingClass::WritesFail, &text),
            Beat::Unable(text) | Beat::Refused(text) => failed(FindingClass::Misconfigured, &text),
            Beat::Unasked => failed(FindingClass::OwnShortage, "the write canary got no connection"),
        };
        // The last step: nothing waits for it.
        let _ = self.record(Stage::Write, started, outcome);
    }

    /// What was recorded.
    pub(crate) fn into_results(self) -> Vec<StageResult> {
        self.results
    }
}
