//! The spans of an attempt: `lease`, and its children `deliver` and `record`. Lease and record are statements for a batch; each of its
//! attempts has a span of its own for them.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::received_pack::ReceivedPack;
use super::{FinishedAttempt, Shared};
use crate::model::{AttemptOutcome, Lease, SpanContext};
use crate::pipeline::channel::SendResult;
use crate::pipeline::trace::{Span, SpanKind, Value, child_of};

type Times = (DateTime<Utc>, DateTime<Utc>);
type Attributes = Vec<(&'static str, Value)>;

/// Begins the trace of an attempt: exports the span of its lease, with links to the claims of its packs. `batch` is the number of
/// events that the statement leased.
pub(super) fn lease(
    shared: &Shared,
    lease: &Lease,
    packs: &[Arc<ReceivedPack>],
    times: Times,
    batch: usize,
) -> Option<SpanContext> {
    let tracer = &shared.options.tracer;
    let span = tracer.begin_attempt()?;
    let mut attributes = event(lease);
    attributes.push(("bday.batch", batch.into()));
    let links = packs.iter().filter_map(|pack| pack.claim).collect();
    tracer.end(Span { attributes, links, ..Span::new("lease", SpanKind::Consumer, span, times) });
    Some(span)
}

/// Exports the span of a request.
pub(super) fn deliver(
    shared: &Shared,
    lease: &Lease,
    parent: SpanContext,
    span: SpanContext,
    times: Times,
    result: &SendResult,
) {
    let mut attributes = event(lease);
    attributes.push(("bday.channel", lease.channel.as_str().into()));
    attributes.push(("bday.outcome", result.outcome.as_str().into()));
    attributes.extend(result.status.map(|status| ("bday.status", u64::from(status).into())));
    attributes.extend(result.reason.map(|reason| ("bday.reason", reason.as_str().into())));
    let delivered = result.outcome == AttemptOutcome::Delivered;
    let error = if delivered { None } else { Some(result.error.clone().unwrap_or_default()) };
    let span = Span::new("deliver", SpanKind::Client, span, times);
    shared.options.tracer.end(Span { parent: Some(parent), attributes, error, ..span });
}

/// Exports the span of the record of an attempt, if it is traced. `batch` is the number of attempts in the statement.
pub(super) fn record(shared: &Shared, attempt: &FinishedAttempt, times: Times, batch: usize) {
    let Some(parent) = attempt.span else { return };
    let mut attributes = event(&attempt.lease);
    attributes.push(("bday.batch", batch.into()));
    let span = Span::new("record", SpanKind::Internal, child_of(parent), times);
    shared.options.tracer.end(Span { parent: Some(parent), attributes, ..span });
}

fn event(lease: &Lease) -> Attributes {
    let attempt = u64::try_from(lease.attempt).unwrap_or(0);
    vec![
        ("bday.event", lease.event_id.into()),
        ("bday.kind", lease.kind.clone().into()),
        ("bday.attempt", attempt.into()),
    ]
}
