//! A webhook channel without a daemon, and a greeting for it.

use std::sync::Arc;

use bday::clock::SystemClock;
use bday::model::{SpanContext, TraceId};
use bday::pipeline::channel::http_client::HttpClient;
use bday::pipeline::channel::signature::Signer;
use bday::pipeline::channel::webhook::Webhook;
use bday::pipeline::channel::{Greeting, Message};
use tokio::sync::watch;

/// Does not sign.
pub(crate) fn webhook(client: HttpClient, url: &str) -> Webhook {
    let (_, url) = watch::channel(url.parse().unwrap());
    Webhook::new(client, url, Signer::default(), Arc::new(SystemClock))
}

/// Returns the span of a request.
pub(crate) fn span() -> SpanContext {
    SpanContext { trace_id: TraceId::new(7).unwrap(), span_id: 7 }
}

pub(crate) fn greeting() -> Greeting {
    Greeting {
        event_id: uuid::Uuid::now_v7(),
        user_id: uuid::Uuid::now_v7(),
        message: Message::of_text("Hey"),
        recipient: None,
        unsubscribe_url: None,
        span: None,
        due_at: chrono::DateTime::UNIX_EPOCH,
    }
}
