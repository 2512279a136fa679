//! An OTLP/HTTP collector: accepts and keeps spans, unless a test prevents it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1;
pub(crate) use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;

use super::http::{Reply, Request, Server, Service};
use super::receiver::Behaviour;
use super::wait::eventually;

pub(crate) struct Collector {
    server: Server<Spans>,
}

#[derive(Default)]
struct Spans(Mutex<State>);

#[derive(Default)]
struct State {
    spans: Vec<CollectedSpan>,
    /// The values of the header `authorization`.
    authorizations: Vec<String>,
    requests: usize,
    /// None: accepts.
    behaviour: Option<Behaviour>,
}

/// Ids are hexadecimal.
#[derive(Debug, Clone)]
pub(crate) struct CollectedSpan {
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    /// Empty for the first span of a trace.
    pub(crate) parent: String,
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    pub(crate) attributes: BTreeMap<String, String>,
    /// Trace and span of each link.
    pub(crate) links: Vec<(String, String)>,
    /// The description of an error.
    pub(crate) error: Option<String>,
    /// The attributes of the process.
    pub(crate) resource: BTreeMap<String, String>,
    pub(crate) nanos: (u64, u64),
}

impl Collector {
    pub(crate) async fn start() -> Self {
        Self { server: Server::start(|_| Spans::default()).await }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1/traces", self.server.address())
    }

    /// Answers each request like this from now on.
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        self.state().behaviour = Some(behaviour);
    }

    /// Closes every connection and refuses new ones.
    pub(crate) async fn refuse(&self) {
        self.server.shut().await;
    }

    pub(crate) fn spans(&self) -> Vec<CollectedSpan> {
        self.state().spans.clone()
    }

    pub(crate) fn named(&self, name: &str) -> Vec<CollectedSpan> {
        self.spans().into_iter().filter(|span| span.name == name).collect()
    }

    pub(crate) fn authorizations(&self) -> Vec<String> {
        self.state().authorizations.clone()
    }

    /// Waits for the first request.
    pub(crate) async fn until_asked(&self) {
        eventually("a request to the collector", async || (self.state().requests > 0).then_some(())).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.server.service().lock()
    }
}

impl Spans {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service for Spans {
    async fn call(&self, request: Request<'_>) -> Reply {
        assert_eq!((request.method, request.path), ("POST", "/v1/traces"));
        assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
        let mut state = self.lock();
        state.requests += 1;
        state.authorizations.extend(request.header("authorization").map(str::to_owned));
        if let Some(behaviour) = state.behaviour.clone() {
            return behaviour.reply();
        }
        let body = ExportTraceServiceRequest::decode(request.body).unwrap();
        for resource in body.resource_spans {
            let attributes = attributes(resource.resource.unwrap().attributes);
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            state.spans.extend(spans.map(|span| collected(span, &attributes)));
        }
        Behaviour::Status(200).reply()
    }
}

fn collected(span: v1::Span, resource: &BTreeMap<String, String>) -> CollectedSpan {
    let kind = span.kind();
    let status = span.status.unwrap_or_default();
    CollectedSpan {
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        kind,
        name: span.name,
        attributes: attributes(span.attributes),
        links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
        error: (status.code() == v1::status::StatusCode::Error).then_some(status.message),
        resource: resource.clone(),
        nanos: (span.start_time_unix_nano, span.end_time_unix_nano),
    }
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<AnyValue>| match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    pairs.into_iter().map(|pair| (pair.key, text(pair.value))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
