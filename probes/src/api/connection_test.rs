//! The connection test before a monitor is saved (C6).

use tokio::time::Instant;

use super::{request, target::ApiTarget};
use crate::{
    endpoint::dial,
    observation::{Stage, StageResult},
    steps::{Steps, Stopped},
};

/// Tests the address with one request. The results stand in the order of the steps; the last one is the failed one, or
/// [`Stage::Role`] when all passed. The access timeout bounds each step.
pub async fn test_connection(target: &ApiTarget) -> Vec<StageResult> {
    let mut steps = Steps::default();
    // The failed step has told its reason already.
    let _ = run(target, &mut steps).await;
    steps.into_results()
}

async fn run(target: &ApiTarget, steps: &mut Steps) -> Result<(), Stopped> {
    let begin = || {
        let now = Instant::now();
        (now, now + target.access_timeout)
    };

    let (started, deadline) = begin();
    let resolved = target.endpoint.resolve(deadline).await;
    let shown = resolved.map(|found| (found.text, found.sockets));
    let sockets = steps.record(Stage::Dns, started, shown)?;

    let (started, deadline) = begin();
    let connected = dial(&sockets, deadline).await;
    let shown = connected.map(|stream| (target.endpoint.address.to_string(), stream));
    let stream = steps.record(Stage::Tcp, started, shown)?;

    let (started, deadline) = begin();
    let opened = request::open(target, stream, deadline).await;
    let exchange = if target.tls_client.is_some() {
        let shown = opened.map(|exchange| (target.tls.shown().trim_start_matches(", ").to_owned(), exchange));
        steps.record(Stage::Tls, started, shown)?
    } else {
        match opened {
            Ok(exchange) => exchange,
            Err(failure) => return steps.record(Stage::Query, started, Err(failure)),
        }
    };

    let (started, deadline) = begin();
    let answered = exchange.send(target, deadline).await;
    let shown = answered.map(|answer| {
        (
            format!("{} {}: {}", target.method, target.path, answer.status()),
            answer,
        )
    });
    let answer = steps.record(Stage::Query, started, shown)?;

    let (started, deadline) = begin();
    let judged = answer.judge(target, deadline).await;
    let expected = format!("status {} as expected", target.expected.as_u16());
    let text = if target.body_contains.is_empty() {
        expected
    } else {
        format!("{expected}, and the body contains the text")
    };
    steps.record(Stage::Role, started, judged.map(|_| (text, ())))
}
