//! Traces: spans of the stages, for an exporter.
//!
//! ```text
//! tick ─┬─ claim <──link── lease ─┬─ deliver ──traceparent──> receiver
//!       └─ send                   └─ record
//! ```
//!
//! A tick with work is a trace, and so is each attempt. Hours may pass between the two, so they are linked: the packs of a claim carry
//! its span. Spans have ids, kinds and results, never names, addresses or messages.
//!
//! Guaranteed: the queue of spans is bounded, and nothing waits for it; spans that find no room are dropped and counted. Without an
//! exporter, a tracer makes no ids and no spans.

use std::borrow::Cow;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use metrics::counter;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::model::{SpanContext, TraceId};

/// Some megabytes.
const MAX_QUEUED: usize = 8192;

/// A span that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    pub context: SpanContext,
    pub parent: Option<SpanContext>,
    pub name: &'static str,
    pub kind: SpanKind,
    pub started_at: DateTime<Utc>,
    pub ended_at: DateTime<Utc>,
    pub attributes: Vec<(&'static str, Value)>,
    pub links: Vec<SpanContext>,
    /// Without secrets.
    pub error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    Internal,
    /// Writes to the queue.
    Producer,
    /// Works on what the queue carried.
    Consumer,
    /// Waits for a receiver.
    Client,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(Cow<'static, str>),
    Number(i64),
}

/// Passes spans to an exporter. The default has no exporter.
#[derive(Debug, Clone, Default)]
pub struct Tracer(Option<Arc<Spans>>);

#[derive(Debug)]
struct Spans {
    queue: mpsc::Sender<Span>,
    /// The share of the attempts that are traced.
    sample_ratio: f64,
}

impl Tracer {
    /// Returns a tracer, and its spans for the exporter. `sample_ratio` is the share of the attempts that are traced, from 0 to 1.
    #[must_use]
    pub fn new(sample_ratio: f64) -> (Self, mpsc::Receiver<Span>) {
        let (queue, spans) = mpsc::channel(MAX_QUEUED);
        (Self(Some(Arc::new(Spans { queue, sample_ratio }))), spans)
    }

    /// Begins a trace; returns its first span. None without an exporter.
    pub(super) fn begin(&self) -> Option<SpanContext> {
        self.0.as_ref().and_then(|_| new_context())
    }

    /// Begins the trace of an attempt, unless the attempt is not sampled.
    pub(super) fn begin_attempt(&self) -> Option<SpanContext> {
        let sampled = self.0.as_ref().is_some_and(|spans| fastrand::f64() < spans.sample_ratio);
        if sampled { new_context() } else { None }
    }

    /// Passes a span on. Never waits.
    pub(super) fn end(&self, span: Span) {
        let Some(spans) = &self.0 else { return };
        if spans.queue.try_send(span).is_err() {
            counter!("bday_spans_dropped_total", "reason" => "queue_full").increment(1);
        }
    }
}

impl Span {
    /// Returns a span without attributes.
    pub(super) fn new(
        name: &'static str,
        kind: SpanKind,
        context: SpanContext,
        (started_at, ended_at): (DateTime<Utc>, DateTime<Utc>),
    ) -> Self {
        let (attributes, links) = (Vec::new(), Vec::new());
        Self { context, parent: None, name, kind, started_at, ended_at, attributes, links, error: None }
    }
}

/// Returns a new span in the trace of `parent`.
pub(super) fn child_of(parent: SpanContext) -> SpanContext {
    SpanContext { span_id: fastrand::u64(1..), ..parent }
}

fn new_context() -> Option<SpanContext> {
    let trace_id = TraceId::new(fastrand::u128(1..))?;
    Some(SpanContext { trace_id, span_id: fastrand::u64(1..) })
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<Uuid> for Value {
    fn from(id: Uuid) -> Self {
        id.to_string().into()
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number as i64)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(number as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracer_without_an_exporter_makes_no_ids() {
        let tracer = Tracer::default();
        assert_eq!((tracer.begin(), tracer.begin_attempt()), (None, None));
    }

    #[test]
    fn the_sample_ratio_is_a_share_of_the_attempts_only() {
        for (ratio, expected) in [(0.0, 0..=0), (0.5, 400..=600), (1.0, 1000..=1000)] {
            let (tracer, _spans) = Tracer::new(ratio);
            let sampled = (0..1000).filter(|_| tracer.begin_attempt().is_some()).count();
            assert!(expected.contains(&sampled), "{ratio}: {sampled}");
            assert!(tracer.begin().is_some());
        }
    }

    #[test]
    fn spans_that_find_no_room_are_dropped() {
        let (tracer, spans) = Tracer::new(1.0);
        let context = tracer.begin().expect("a trace");
        let times = (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH);
        for _ in 0..MAX_QUEUED + 5 {
            tracer.end(Span::new("tick", SpanKind::Internal, context, times));
        }
        assert_eq!(spans.len(), MAX_QUEUED);
        drop(spans);
        tracer.end(Span::new("tick", SpanKind::Internal, context, times));
    }
}
