//! What consoles of different nodes ask each other: connection tests, connected processes, what probers learned last.
//!
//! Requests are prost messages on the peers' mutual TLS ([`quorate_raft::Handle::ask_node`]). The node that answers trusts
//! the one that asks to have checked its caller. A typed password of a connection test travels in them, inside of TLS, and
//! nowhere else: nothing here prints a request.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use prost::Message;
use quorate_machine::{Id, MonitorSpec, NodeRecord};
use quorate_raft::{AskNodeError, NodeRequestHandler};

use crate::context::{
    AddressReport, ApiContext, ConnectedProcess, ConnectionTest, LinkMeasure, SideMeasure, StageReport, TypedSecret,
};
use crate::limits::{CONNECTION_TEST_DEADLINE, TEST_TURN_WAIT};

/// A request to a node.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct NodeRequest {
    #[prost(oneof = "NodeRequestKind", tags = "1, 2, 70, 105")]
    kind: Option<NodeRequestKind>,
}

/// Kinds of requests.
#[derive(Clone, PartialEq, prost::Oneof)]
#[prost(skip_debug)]
pub(crate) enum NodeRequestKind {
    #[prost(message, tag = "1")]
    Test(Box<TestRequest>),
    #[prost(message, tag = "2")]
    Processes(ProcessesRequest),
    #[prost(message, tag = "70")]
    Links(LinksRequest),
    #[prost(message, tag = "105")]
    Measures(MeasuresRequest),
}

/// A connection test (C6).
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(crate) struct TestRequest {
    /// Around the kind; nothing else of it counts.
    #[prost(message, optional, tag = "9")]
    spec: Option<MonitorSpec>,
    #[prost(message, repeated, tag = "10")]
    typed: Vec<TypedSecret>,
    #[prost(message, optional, tag = "5")]
    stored_object: Option<Id>,
    #[prost(uint64, tag = "8")]
    access_timeout_ms: u64,
}

/// Which processes are connected for an application (B3).
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct ProcessesRequest {
    #[prost(message, required, tag = "1")]
    pub instance: Id,
    #[prost(message, required, tag = "2")]
    pub application: Id,
}

/// What the node's probers learned last of some monitors.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct MeasuresRequest {
    #[prost(message, repeated, tag = "1")]
    pub monitors: Vec<Id>,
}

/// What a node's probers learned last.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct MeasuresAnswer {
    #[prost(message, repeated, tag = "1")]
    pub measures: Vec<SideMeasure>,
}

/// What the node measures of its links (A6).
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct LinksRequest {}

/// The links of a node.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LinksAnswer {
    #[prost(message, repeated, tag = "1")]
    pub links: Vec<LinkMeasure>,
}

/// A node's answer.
#[derive(Clone, PartialEq, prost::Message)]
struct NodeAnswer {
    #[prost(oneof = "NodeAnswerKind", tags = "1, 2, 70, 105")]
    kind: Option<NodeAnswerKind>,
}

/// Kinds of answers.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum NodeAnswerKind {
    #[prost(message, tag = "1")]
    Tested(TestAnswer),
    #[prost(message, tag = "2")]
    Processes(ProcessesAnswer),
    #[prost(message, tag = "70")]
    Links(LinksAnswer),
    #[prost(message, tag = "105")]
    Measures(MeasuresAnswer),
}

/// What every address answered, in order.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TestAnswer {
    #[prost(message, repeated, tag = "1")]
    pub reports: Vec<AddressReport>,
}

/// Connected processes of one application.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ProcessesAnswer {
    #[prost(message, repeated, tag = "1")]
    pub processes: Vec<ProcessAnswer>,
}

/// One connected process.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ProcessAnswer {
    #[prost(string, tag = "1")]
    user: String,
    #[prost(string, tag = "2")]
    source: String,
    #[prost(uint32, tag = "3")]
    watches: u32,
    #[prost(int64, tag = "4")]
    since_wall_ms: i64,
}

impl From<ConnectedProcess> for ProcessAnswer {
    fn from(process: ConnectedProcess) -> Self {
        Self {
            user: process.user,
            source: process.source,
            watches: process.watches,
            since_wall_ms: process.since_wall_ms,
        }
    }
}

impl From<ProcessAnswer> for ConnectedProcess {
    fn from(answer: ProcessAnswer) -> Self {
        Self {
            user: answer.user,
            source: answer.source,
            watches: answer.watches,
            since_wall_ms: answer.since_wall_ms,
        }
    }
}

impl From<&ConnectionTest> for TestRequest {
    fn from(test: &ConnectionTest) -> Self {
        Self {
            spec: Some(MonitorSpec {
                kind: Some(test.kind.clone()),
                ..MonitorSpec::default()
            }),
            typed: test.typed.clone(),
            stored_object: test.stored,
            access_timeout_ms: u64::try_from(test.access_timeout.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl TestRequest {
    fn into_test(self) -> Result<ConnectionTest, String> {
        let kind = self.spec.and_then(|spec| spec.kind);
        Ok(ConnectionTest {
            kind: kind.ok_or("this version does not know the kind")?,
            typed: self.typed,
            stored: self.stored_object,
            access_timeout: Duration::from_millis(self.access_timeout_ms),
        })
    }
}

/// Answers the consoles of other nodes, and this one.
struct Answers(ApiContext);

impl NodeRequestHandler for Answers {
    fn handle(&self, _from: u64, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        let context = self.0.clone();
        Box::pin(async move {
            let request = NodeRequest::decode(request).map_err(|error| format!("malformed request: {error}"))?;
            let kind = match request.kind.ok_or("this version does not know the request")? {
                NodeRequestKind::Test(request) => NodeAnswerKind::Tested(tested(&context, *request).await?),
                NodeRequestKind::Processes(request) => NodeAnswerKind::Processes(processes(&context, request)),
                NodeRequestKind::Measures(request) => NodeAnswerKind::Measures(MeasuresAnswer {
                    measures: context.settings().measures.measures(&request.monitors),
                }),
                NodeRequestKind::Links(_) => NodeAnswerKind::Links(LinksAnswer {
                    links: context.settings().links.links(),
                }),
            };
            Ok(NodeAnswer { kind: Some(kind) }.encode_to_vec().into())
        })
    }
}

async fn tested(context: &ApiContext, request: TestRequest) -> Result<TestAnswer, String> {
    let test = request.into_test()?;
    let turn = tokio::time::timeout(TEST_TURN_WAIT, context.tests().acquire_owned()).await;
    let busy = "other connection tests are running on this node; try again in a moment";
    let _turn = turn.map_err(|_| busy)?.map_err(|_| busy)?;
    let reports = tokio::time::timeout(CONNECTION_TEST_DEADLINE, context.settings().tester.test(test)).await;
    let late = "the addresses did not all answer in time; test fewer at once or shorten the access timeout";
    Ok(TestAnswer {
        reports: reports.map_err(|_| late)?,
    })
}

fn processes(context: &ApiContext, request: ProcessesRequest) -> ProcessesAnswer {
    let connected = context
        .settings()
        .processes
        .connected(request.instance, request.application);
    ProcessesAnswer {
        processes: connected.into_iter().map(ProcessAnswer::from).collect(),
    }
}

impl ApiContext {
    /// Has this node answer the consoles of the others, and its own. Called once, when the node opens its doors.
    pub fn answer_nodes(&self) {
        let answers = std::sync::Arc::new(Answers(self.clone()));
        self.handle().set_node_request_handler(answers);
    }

    /// Asks every node of the cluster at once, this one included; the answers come in the order of the nodes' ids.
    pub(crate) async fn ask_every_node(
        &self,
        request: NodeRequestKind,
        deadline: Duration,
    ) -> Vec<(NodeRecord, Result<NodeAnswerKind, AskNodeError>)> {
        let nodes: Vec<NodeRecord> = self.handle().read(|state| state.nodes().cloned().collect());
        let request: Bytes = NodeRequest { kind: Some(request) }.encode_to_vec().into();
        let asked = nodes.into_iter().map(|node| {
            let request = request.clone();
            async move {
                let answer = self.handle().ask_node(node.id, request, deadline).await;
                let strange = || AskNodeError::Refused("the node's answer cannot be understood".to_owned());
                let kind = answer.and_then(|answer| {
                    let answer = NodeAnswer::decode(answer).map_err(|_| strange())?;
                    answer.kind.ok_or_else(strange)
                });
                (node, kind)
            }
        });
        join_all(asked).await
    }
}

impl StageReport {
    /// A stage that ended like this.
    pub fn new(stage: &str, class: &str, text: &str, elapsed_us: u64) -> Self {
        Self {
            stage: stage.to_owned(),
            class: class.to_owned(),
            text: text.to_owned(),
            elapsed_us,
        }
    }
}
