//! Writes the rows of the audit log: see the module above.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use chrono::TimeDelta;
use metrics::counter;
use uuid::Uuid;

use super::Peer;
use super::rate_limit::{Rate, RateLimit};
use super::tokens::LiveToken;
use crate::clock::SharedClock;
use crate::store::{ApiWrite, RemoteAddress, Store, StoreError, chain};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// For writing a row by itself.
const DEADLINE: Duration = Duration::from_secs(5);
/// For the rows of rejected writes: requests without a token must not fill the database.
const REJECTED: Rate = Rate { burst: 100, interval: TimeDelta::seconds(6) };

/// The user that a request wrote. A handler that committed the audit row together with its change adds this to the response.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct AuditedWrite(pub(in crate::http) Uuid);

/// The id of what a request created, for its audit row: added to the response by a handler that does not commit that row itself.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct AuditTarget(pub(in crate::http) Uuid);

#[derive(Debug)]
pub(in crate::http) struct Audit {
    store: Store,
    clock: SharedClock,
    rejected: Mutex<RateLimit>,
}

/// Who makes a request, as the audit log records it.
#[derive(Debug, Clone)]
pub(in crate::http) struct Actor {
    /// None: the identity is not that of a token.
    pub(in crate::http) token_id: Option<Uuid>,
    pub(in crate::http) name: String,
}

impl From<&LiveToken> for Actor {
    fn from(token: &LiveToken) -> Self {
        Self { token_id: Some(token.id), name: token.name.clone() }
    }
}

impl Audit {
    pub(super) fn new(store: Store, clock: SharedClock) -> Self {
        let rejected = Mutex::new(RateLimit::new(REJECTED, clock.now()));
        Self { store, clock, rejected }
    }

    /// Returns the row of a request. `path` is that of the route, and of the real path only an id is recorded: an external id may be a
    /// name.
    pub(in crate::http) fn row(&self, request: &Request, path: String, actor: Option<Actor>) -> ApiWrite {
        let segments = path.split('/').zip(request.uri().path().split('/'));
        let target_id = segments
            .filter(|(template, _)| *template == "{id}")
            .find_map(|(_, text)| Uuid::try_parse(text).ok());
        let peer = request.extensions().get::<Peer>();
        ApiWrite {
            id: Uuid::now_v7(),
            at: self.clock.now(),
            token_id: actor.as_ref().and_then(|actor| actor.token_id),
            token_name: actor.map(|actor| actor.name),
            method: request.method().as_str().to_owned(),
            path,
            target_id,
            remote: RemoteAddress(peer.map(|Peer(address)| address.ip().to_canonical())),
            status: None,
        }
    }

    /// Records a rejected write, up to a rate.
    pub(in crate::http) async fn rejected(&self, write: ApiWrite, status: StatusCode) {
        counter!("bday_api_refused_total", "status" => status.as_str().to_owned()).increment(1);
        if self.rejected.lock().unwrap_or_else(PoisonError::into_inner).take(write.at) {
            self.record(write, status, None).await;
        }
    }

    /// Records the status of a write, and adds its id to the response.
    pub(in crate::http) async fn end(&self, mut write: ApiWrite, mut response: Response) -> Response {
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

    pub(in crate::http) async fn write(&self, write: &ApiWrite) -> Result<(), StoreError> {
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
