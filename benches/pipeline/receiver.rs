//! The receiver of all channels, in its own process: accepts and records every request and every mail.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bday::model::ChannelName;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::arrivals::Arrivals;
use super::part;
use super::sink::{Receiver, lock};
use super::smtp;
use super::support::http::{Reply, Request, Server, Service};

/// The URLs of the receiver.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Urls {
    pub(crate) webhook: String,
    pub(crate) mail: String,
    pub(crate) slack: String,
}

impl Receiver {
    async fn accept_slack(&self, body: &[u8]) -> Reply {
        let message: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let event_id = Uuid::parse_str(&text(&message["metadata"]["event_payload"]["event_id"])).ok();
        self.accept(ChannelName::Slack, event_id, text(&message["channel"])).await;
        let headers = "content-type: application/json; charset=utf-8\r\n".to_owned();
        let body = br#"{"ok":true,"channel":"D0123456789","ts":"1712345678.000100"}"#.to_vec();
        Reply::Whole { status: 200, headers, body }
    }
}

impl Service for Receiver {
    async fn call(&self, request: Request<'_>) -> Reply {
        if request.path == "/api/chat.postMessage" {
            return self.accept_slack(request.body).await;
        }
        let event_id = request.header("webhook-id").and_then(|id| Uuid::parse_str(id).ok());
        let body = String::from_utf8_lossy(request.body).into_owned();
        self.accept(ChannelName::Webhook, event_id, body).await;
        Reply::Whole { status: 200, headers: String::new(), body: Vec::new() }
    }
}

/// Prints its URLs. Answers `count` with the number of distinct events, and any other line with all arrivals as JSON.
pub(crate) async fn run(latency_ms: u64) -> anyhow::Result<()> {
    let arrivals = Arc::<Mutex<Arrivals>>::default();
    let receiver = Receiver { latency: Duration::from_millis(latency_ms), arrivals: Arc::clone(&arrivals) };
    let mail = smtp::start(receiver.clone()).await?;
    let server = Server::start(|_| receiver).await;
    let address = server.address();
    let urls = Urls {
        webhook: format!("http://{address}/"),
        mail: format!("smtp://{mail}"),
        slack: format!("slack+http://xoxb-1@{address}"),
    };
    part::answer(&serde_json::to_string(&urls)?, |question| {
        let arrivals = lock(&arrivals);
        Ok(match question {
            "count" => arrivals.distinct().to_string(),
            _ => serde_json::to_string(arrivals.list())?,
        })
    })
    .await
}
