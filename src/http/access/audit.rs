//! What is kept of each write: see the module above.

use std::sync::{Arc, Mutex, PoisonError};
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
use crate::http::together::{Outcome, Together};
use crate::store::{ApiWrite, Remote, Store, StoreError};
use crate::telemetry::chain;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Nobody waits longer for a row.
const DEADLINE: Duration = Duration::from_secs(5);
/// Refused writes that are kept at once, and then one every so often: whoever has no token must not fill the database.
const REFUSED_BURST: u32 = 100;
const REFUSED_EVERY: TimeDelta = TimeDelta::seconds(6);

/// The user or event that a request turned out to be about; a handler puts it into its answer.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct About(pub(in crate::http) Uuid);

/// A write as it was asked for.
#[derive(Debug)]
pub(super) struct Asked {
    id: Uuid,
    method: String,
    path: String,
    target: Option<Uuid>,
    remote: Remote,
}

impl Asked {
    /// `path` is the route's. What stands in the address is kept only where it is an id: an external id may be a name.
    pub(super) fn new(request: &Request, path: String) -> Self {
        let parts = path.split('/').zip(request.uri().path().split('/'));
        let target = parts
            .filter(|(template, _)| *template == "{id}")
            .find_map(|(_, text)| Uuid::try_parse(text).ok());
        let peer = request.extensions().get::<Peer>();
        Self {
            id: Uuid::now_v7(),
            method: request.method().as_str().to_owned(),
            path,
            target,
            remote: Remote(peer.map(|Peer(address)| address.ip().to_canonical())),
        }
    }

    fn row(&self, at: DateTime<Utc>, token: Option<&Known>, status: Option<StatusCode>) -> ApiWrite {
        ApiWrite {
            id: self.id,
            at,
            token_id: token.map(|token| token.id),
            token_name: token.map(|token| token.name.clone()),
            method: self.method.clone(),
            path: self.path.clone(),
            target_id: self.target,
            remote: self.remote,
            status: status.map(|status| status.as_u16() as i16),
        }
    }
}

#[derive(Debug)]
pub(super) struct Audit {
    clock: SharedClock,
    /// Of those that begin and of those that have ended: the more go together, the better, and no request is in it twice.
    rows: Together<ApiWrite, ()>,
    refused: Mutex<Allowance>,
}

/// How many refused writes may be kept.
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
            self.left = self
                .left
                .saturating_add(u32::try_from(grown).unwrap_or(REFUSED_BURST))
                .min(REFUSED_BURST);
            self.grown_at = now;
        }
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

impl Audit {
    pub(super) fn new(store: Store, clock: SharedClock) -> Self {
        let refused = Mutex::new(Allowance {
            left: REFUSED_BURST,
            grown_at: clock.now(),
        });
        let rows = move |rows: Vec<ApiWrite>| {
            let store = store.clone();
            async move { store.write_api_writes(&rows).await.map(|()| vec![(); rows.len()]) }
        };
        Self {
            clock,
            rows: Together::new(rows),
            refused,
        }
    }

    /// Keeps a write that may begin. Without this it must not.
    pub(super) async fn begin(&self, asked: Asked, caller: &Caller) -> Result<Begun<'_>, Arc<StoreError>> {
        let token = match caller {
            Caller::Anonymous => None,
            Caller::Token(known) => Some(&**known),
        };
        let write = asked.row(self.clock.now(), token, None);
        in_time(self.rows.write(write.clone())).await?;
        Ok(Begun { audit: self, write })
    }

    /// Keeps a write that was refused, unless there are too many of them.
    pub(super) async fn refused(&self, asked: Asked, token: Option<&Known>, status: StatusCode) {
        counter!("bday_api_refused_total", "status" => status.as_str().to_owned()).increment(1);
        let now = self.clock.now();
        if !self
            .refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(now)
        {
            return;
        }
        let write = asked.row(now, token, Some(status));
        log(&write, status);
        let request_id = write.id;
        if let Err(error) = in_time(self.rows.write(write)).await {
            tracing::warn!(error = chain(&*error), %request_id, "a refused write is only in the log");
        }
    }
}

/// A write that is under way.
#[derive(Debug)]
pub(super) struct Begun<'a> {
    audit: &'a Audit,
    write: ApiWrite,
}

impl Begun<'_> {
    /// Keeps how it ended, and puts its id into the answer.
    pub(super) async fn end(mut self, mut response: Response) -> Response {
        let status = response.status();
        let about = response.extensions_mut().remove::<About>();
        self.write.target_id = about.map(|About(id)| id).or(self.write.target_id);
        self.write.status = Some(status.as_u16() as i16);
        let Self { audit, write } = self;
        log(&write, status);
        let request_id = write.id;
        if let Err(error) = in_time(audit.rows.write(write)).await {
            tracing::warn!(error = chain(&*error), %request_id, "how a write ended is only in the log");
        }
        if let Ok(id) = HeaderValue::from_str(&request_id.to_string()) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
    }
}

async fn in_time(work: impl Future<Output = Outcome<()>>) -> Outcome<()> {
    tokio::time::timeout(DEADLINE, work)
        .await
        .unwrap_or_else(|_| Err(Arc::new(StoreError::Timeout(DEADLINE))))
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
    fn refused_writes_are_kept_up_to_a_bound_that_grows_slowly() {
        let at = |secs| DateTime::UNIX_EPOCH + TimeDelta::seconds(secs);
        let mut allowance = Allowance {
            left: REFUSED_BURST,
            grown_at: at(0),
        };
        let mut kept = |from: i64, to: i64| (from..to).filter(|ms| allowance.take(at(ms / 1000))).count();
        assert_eq!(kept(0, 5000), 100, "a burst");
        assert_eq!(kept(5000, 65_000), 10, "a minute of many more");
        assert_eq!(kept(10_000_000, 10_001_000), 100, "after hours of quiet");
    }

    #[test]
    fn a_clock_that_jumps_makes_the_bound_no_wider() {
        let at = |secs| DateTime::UNIX_EPOCH + TimeDelta::seconds(secs);
        let mut allowance = Allowance {
            left: 0,
            grown_at: at(1000),
        };
        assert!(!allowance.take(at(0)));
        assert!(!allowance.take(at(5)));
        assert!(allowance.take(at(6)));
    }
}
