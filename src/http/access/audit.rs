//! The rows of the audit log: see the module above.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};
use metrics::counter;
use uuid::Uuid;

use super::tokens::Known;
use super::{Caller, Peer};
use crate::clock::SharedClock;
use crate::store::chain;
use crate::store::{ApiWrite, RemoteAddress, Store, StoreError};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// For writing a row by itself.
const DEADLINE: Duration = Duration::from_secs(5);
/// Refused writes that are recorded at once, and then one in each interval: requests without a token must not fill the database.
const REFUSED_BURST: u32 = 100;
const REFUSED_EVERY: TimeDelta = TimeDelta::seconds(6);

/// The user that a request wrote; a handler whose change is committed, and its row with it, puts it into its answer.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct Committed(pub(in crate::http) Uuid);

/// A write as it was asked for.
#[derive(Debug)]
pub(super) struct Asked(ApiWrite);

impl Asked {
    /// `path` is the route's. Of the address only an id is recorded: an external id may be a name.
    pub(super) fn new(request: &Request, path: String, at: DateTime<Utc>) -> Self {
        let parts = path.split('/').zip(request.uri().path().split('/'));
        let target = parts
            .filter(|(template, _)| *template == "{id}")
            .find_map(|(_, text)| Uuid::try_parse(text).ok());
        let peer = request.extensions().get::<Peer>();
        Self(ApiWrite {
            id: Uuid::now_v7(),
            at,
            token_id: None,
            token_name: None,
            method: request.method().as_str().to_owned(),
            path,
            target_id: target,
            remote: RemoteAddress(peer.map(|Peer(address)| address.ip().to_canonical())),
            status: None,
        })
    }

    fn with(self, token: Option<&Known>) -> ApiWrite {
        ApiWrite {
            token_id: token.map(|token| token.id),
            token_name: token.map(|token| token.name.clone()),
            ..self.0
        }
    }
}

#[derive(Debug)]
pub(super) struct Audit {
    store: Store,
    clock: SharedClock,
    refused: Mutex<Allowance>,
}

/// How many refused writes may be recorded.
#[derive(Debug)]
struct Allowance {
    left: u32,
    /// When the last one was added, UTC.
    grown_at: DateTime<Utc>,
}

impl Allowance {
    fn take(&mut self, now: DateTime<Utc>) -> bool {
        let grown = (now - self.grown_at).num_seconds().max(0) / REFUSED_EVERY.num_seconds();
        if grown > 0 || now < self.grown_at {
            self.left =
                self.left.saturating_add(u32::try_from(grown).unwrap_or(REFUSED_BURST)).min(REFUSED_BURST);
            self.grown_at = now;
        }
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

impl Audit {
    pub(super) fn new(store: Store, clock: SharedClock) -> Self {
        let refused = Mutex::new(Allowance { left: REFUSED_BURST, grown_at: clock.now() });
        Self { store, clock, refused }
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Begins a write that is let in. Unless its handler commits the row together with the change, it has a row from here on.
    ///
    /// # Errors
    /// The row cannot be written; then the write must not begin.
    pub(super) async fn begin(
        &self,
        asked: Asked,
        caller: &Caller,
        committed_by_handler: bool,
    ) -> Result<ApiWrite, StoreError> {
        let token = match caller {
            Caller::Anonymous => None,
            Caller::Token(known) => Some(&**known),
        };
        let write = asked.with(token);
        if !committed_by_handler {
            self.write(&write).await?;
        }
        Ok(write)
    }

    /// Records a refused write, unless there are too many of them.
    pub(super) async fn refused(&self, asked: Asked, token: Option<&Known>, status: StatusCode) {
        counter!("bday_api_refused_total", "status" => status.as_str().to_owned()).increment(1);
        let write = asked.with(token);
        if self.refused.lock().unwrap_or_else(PoisonError::into_inner).take(write.at) {
            self.end_with(write, status, None).await;
        }
    }

    /// Records how a write ended, and puts its id into the answer.
    pub(super) async fn end(&self, write: ApiWrite, mut response: Response) -> Response {
        let committed = response.extensions_mut().remove::<Committed>();
        if let Ok(id) = HeaderValue::from_str(&write.id.to_string()) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        self.end_with(write, response.status(), committed).await;
        response
    }

    async fn end_with(&self, mut write: ApiWrite, status: StatusCode, committed: Option<Committed>) {
        write.target_id = committed.map(|Committed(id)| id).or(write.target_id);
        write.status = Some(status.as_u16() as i16);
        log(&write, status);
        if committed.is_none()
            && let Err(error) = self.write(&write).await
        {
            tracing::warn!(error = chain(&error), request_id = %write.id, "audit row not written");
        }
    }

    async fn write(&self, write: &ApiWrite) -> Result<(), StoreError> {
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
    fn refused_writes_are_recorded_up_to_a_bound_that_grows_slowly() {
        let at = |secs| DateTime::UNIX_EPOCH + TimeDelta::seconds(secs);
        let mut allowance = Allowance { left: REFUSED_BURST, grown_at: at(0) };
        let mut kept = |from: i64, to: i64| (from..to).filter(|ms| allowance.take(at(ms / 1000))).count();
        assert_eq!(kept(0, 5000), 100, "a burst");
        assert_eq!(kept(5000, 65_000), 10, "a minute of many more");
        assert_eq!(kept(10_000_000, 10_001_000), 100, "after hours of quiet");
    }

    #[test]
    fn a_clock_that_jumps_makes_the_bound_no_wider() {
        let at = |secs| DateTime::UNIX_EPOCH + TimeDelta::seconds(secs);
        let mut allowance = Allowance { left: 0, grown_at: at(1000) };
        assert!(!allowance.take(at(0)));
        assert!(!allowance.take(at(5)));
        assert!(allowance.take(at(6)));
    }
}
