//! A receiver that accepts and records every request, in its own process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bday::clock::{Clock as _, SystemClock};
use uuid::Uuid;

use super::arrivals::{Arrival, Arrivals};
use super::part;
use super::support::http::{Reply, Request, Server, Service};

struct Receiver {
    latency: Duration,
    arrivals: Arc<Mutex<Arrivals>>,
}

impl Service for Receiver {
    async fn call(&self, request: Request<'_>) -> Reply {
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
        let event_id = request.header("webhook-id").and_then(|id| Uuid::parse_str(id).ok());
        lock(&self.arrivals).push(Arrival {
            event_id: event_id.unwrap_or_default(),
            accepted_us: SystemClock.now().timestamp_micros(),
            body: String::from_utf8_lossy(request.body).into_owned(),
        });
        Reply::Whole { status: 200, headers: String::new(), body: Vec::new() }
    }
}

/// Prints its URL. Answers `count` with the number of distinct events, and any other line with all arrivals as JSON.
pub(crate) async fn run(latency_ms: u64) -> anyhow::Result<()> {
    let arrivals = Arc::<Mutex<Arrivals>>::default();
    let receiver = Receiver { latency: Duration::from_millis(latency_ms), arrivals: Arc::clone(&arrivals) };
    let server = Server::start(|_| receiver).await;
    part::answer(&format!("http://{}/", server.address()), |question| {
        let arrivals = lock(&arrivals);
        Ok(match question {
            "count" => arrivals.distinct().to_string(),
            _ => serde_json::to_string(arrivals.list())?,
        })
    })
    .await
}

fn lock(arrivals: &Mutex<Arrivals>) -> MutexGuard<'_, Arrivals> {
    arrivals.lock().unwrap_or_else(PoisonError::into_inner)
}
