//! Spans in the types of OpenTelemetry.

use opentelemetry::trace::{self, Link, SpanId, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::model::SpanContext;
use crate::pipeline::trace::{self as pipeline, Span, SpanKind};

pub(super) fn span_data(span: Span, scope: &InstrumentationScope) -> SpanData {
    let mut links = SpanLinks::default();
    links.links = span.links.into_iter().map(|link| Link::with_context(context(link, true))).collect();
    SpanData {
        span_context: context(span.context, false),
        parent_span_id: span.parent.map_or(SpanId::INVALID, span_id),
        parent_span_is_remote: false,
        span_kind: match span.kind {
            SpanKind::Internal => trace::SpanKind::Internal,
            SpanKind::Producer => trace::SpanKind::Producer,
            SpanKind::Consumer => trace::SpanKind::Consumer,
            SpanKind::Client => trace::SpanKind::Client,
        },
        name: span.name.into(),
        start_time: span.started_at.into(),
        end_time: span.ended_at.into(),
        attributes: span.attributes.into_iter().map(attribute).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links,
        status: span.error.map_or(Status::Unset, Status::error),
        instrumentation_scope: scope.clone(),
    }
}

fn context(span: SpanContext, is_remote: bool) -> trace::SpanContext {
    let trace_id = TraceId::from_bytes(span.trace_id.to_bytes());
    trace::SpanContext::new(trace_id, span_id(span), TraceFlags::SAMPLED, is_remote, TraceState::NONE)
}

fn span_id(span: SpanContext) -> SpanId {
    SpanId::from_bytes(span.span_id.to_be_bytes())
}

fn attribute((name, value): (&'static str, pipeline::Value)) -> KeyValue {
    KeyValue::new(
        name,
        match value {
            pipeline::Value::Text(text) => Value::String(text.into()),
            pipeline::Value::Number(number) => Value::I64(number),
        },
    )
}
