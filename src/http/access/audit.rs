//! Writes the rows of the audit log: see the module above.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};
use metrics::counter;
use uuid::Uuid;

use super::Peer;
use super::tokens::LiveToken;
use crate::clock::SharedClock;
use crate::store::{ApiWrite, RemoteAddress, Store, StoreError, chain};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// For writing a row by itself.
const DEADLINE: Duration = Duration::from_secs(5);
/// Rejected writes that are recorded at once, and then one per interval: requests without a token must not fill the database.
const REJECTED_BURST: u32 = 100;
const REJECTED_INTERVAL: TimeDelta = TimeDelta::seconds(6);

/// The user that a request wrote. A handler that committed the audit row together with its change adds this to the response.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct AuditedWrite(pub(in crate::http) Uuid);

/// The id of what a request created, for its audit row: added to the response by a handler that does not commit that row itself.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct AuditTarget(pub(in crate::http) Uuid);

#[derive(Debug)]
pub(super) struct Audit {
    store: Store,
    clock: SharedClock,
    rejected: Mutex<RateLimit>,
}

/// Limits the rows of rejected writes.
#[derive(Debug)]
struct RateLimit {
    left: u32,
    /// The instant (UTC) of the last addition.
    refilled_at: DateTime<Utc>,
}

impl RateLimit {
    fn take(&mut self, now: DateTime<Utc>) -> bool {
        let added = (now - self.refilled_at).num_seconds().max(0) / REJECTED_INTERVAL.num_seconds();
        if added > 0 || now < self.refilled_at {
            let added = u32::try_from(added).unwrap_or(REJECTED_BURST);
            self.left = self.left.saturating_add(added).min(REJECTED_BURST);
            self.refilled_at = now;
        }
        let is_allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_allowed
    }
}

impl Audit {
    pub(super) fn new(store: Store, clock: SharedClock) -> Self {
        let rejected = Mutex::new(RateLimit { left: REJECTED_BURST, refilled_at: clock.now() });
        Self { store, clock, rejected }
    }

    /// Returns the row of a request. `path` is that of the route, and of the real path only an id is recorded: an external id may be a
    /// name.
    pub(super) fn row(&self, request: &Request, path: String, token: Option<&LiveToken>) -> ApiWrite {
        let segments = path.split('/').zip(request.uri().path().split('/'));
        let target_id = segments
            .filter(|(template, _)| *template == "{id}")
            .find_map(|(_, text)| Uuid::try_parse(text).ok());
        let peer = request.extensions().get::<Peer>();
        ApiWrite {
            id: Uuid::now_v7(),
            at: self.clock.now(),
            token_id: token.map(|token| token.id),
            token_name: token.map(|token| token.name.clone()),
            method: request.method().as_str().to_owned(),
            path,
            target_id,
            remote: RemoteAddress(peer.map(|Peer(address)| address.ip().to_canonical())),
            status: None,
        }
    }

    /// Records a rejected write, up to a rate.
    pub(super) async fn rejected(&self, write: ApiWrite, status: StatusCode) {
        counter!("bday_api_refused_total", "status" => status.as_str().to_owned()).increment(1);
        if self.rejected.lock().unwrap_or_else(PoisonError::into_inner).take(write.at) {
            self.record(write, status, None).await;
        }
    }

    /// Records the status of a write, and adds its id to the response.
    pub(super) async fn end(&self, mut write: ApiWrite, mut response: Response) -> Response {
        let committed = response.extensions_mut().remove::<AuditedWrite>();
        if let Some(AuditTarget(id)) = response.extensions_mut().remove() {
            write.target_id = Some(id);
        }
        if let Ok(id) = HeaderValue::from_str(&write.id.to_string()) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        self.record(write, response.status(), committed).await;
        response
    }

    async fn record(&self, mut write: ApiWrite, status: StatusCode, committed: Option<AuditedWrite>) {
        write.target_id = committed.map(|AuditedWrite(id)| id).or(write.target_id);
        write.status = Some(status.as_u16() as i16);
        log(&write, status);
        if committed.is_none()
            && let Err(error) = self.write(&write).await
        {
            tracing::warn!(error = chain(&error), request_id = %write.id, "audit row not written");
        }
    }

    pub(super) async fn write(&self, write: &ApiWrite) -> Result<(), StoreError> {
        tokio::time::timeout(DEADLINE, self.store.save_api_write(write))
            .await
            .unwrap_or(Err(StoreError::Timeout(DEADLINE)))
    }
}

fn log(write: &ApiWrite, status: StatusCode) {
    tracing::info!(
        request_id = %write.id,
        method = write.method,
        path = write.path,
        target_id = write.target_id.map(tracing::field::display),
        token = write.token_name,
        remote = write.remote.0.map(tracing::field::display),
        status = status.as_u16(),
        "api write"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejected_writes_are_recorded_up_to_a_rate() {
        let at = |secs| DateTime::UNIX_EPOCH + TimeDelta::seconds(secs);
        let mut limit = RateLimit { left: REJECTED_BURST, refilled_at: at(0) };
        let mut recorded = |from: i64, to: i64| (from..to).filter(|ms| limit.take(at(ms / 1000))).count();
        assert_eq!(recorded(0, 5000), 100, "a burst");
        assert_eq!(recorded(5000, 65_000), 10, "a minute with many more");
        assert_eq!(recorded(10_000_000, 10_001_000), 100, "after hours without any");
    }

    #[test]
    fn a_clock_that_jumps_does_not_raise_the_limit() {
        let at = |secs| DateTime::UNIX_EPOCH + TimeDelta::seconds(secs);
        let mut limit = RateLimit { left: 0, refilled_at: at(1000) };
        assert!(!limit.take(at(0)));
        assert!(!limit.take(at(5)));
        assert!(limit.take(at(6)));
    }
}
