//! The API without a socket: the daemon's router, on a separate database, with a clock that the test sets.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use bday::clock::{SettableClock, SharedClock};
use bday::config;
use bday::config::parts;
use bday::http::{Api, Authorizer, OpenHosts};
use bday::operations::dead_letters::DeadLetters;
use bday::people::explain::ExplainSettings;
use bday::people::preview::PreviewSettings;
use bday::store::Store;
use serde_json::Value;
use tower::ServiceExt as _;

use super::database::Database;
use super::world::{World, instant};

pub(crate) struct Server {
    pub(crate) clock: Arc<SettableClock>,
    /// Dropped with the API; `None` if a [`World`] owns the database.
    database: Option<Database>,
    router: Router,
}

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Requires no token.
fn authorizer(store: &Store, clock: &Arc<SettableClock>) -> Authorizer {
    Authorizer::new(store.clone(), Arc::clone(clock) as SharedClock, Some(OpenHosts::default()))
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Server {
    /// Starts the API at noon on 24 November 2026, without users, and with a second kind, `work_anniversary`.
    pub(crate) async fn start() -> Self {
        Self::at("2026-11-24T12:00:00Z").await
    }

    pub(crate) async fn at(now: &str) -> Self {
        let database = Database::new().await;
        let clock = Arc::new(SettableClock::new(instant(now)));
        let variables = [
            ("BDAY__DATABASE__URL", database.url()),
            ("BDAY__QUEUE__KIND", "postgres"),
            ("BDAY__WEBHOOK__URL", "http://127.0.0.1:9/"),
            ("BDAY__KINDS__WORK_ANNIVERSARY__MESSAGE", "{{ full_name }}: {{ years }} years"),
            ("BDAY__KINDS__WORK_ANNIVERSARY__SEND_AT", "10:00"),
        ];
        let variables = variables.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let config = config::load(None, variables.into()).unwrap();
        let shared = Arc::clone(&clock) as SharedClock;
        let queue = parts::queue(&config, &database.store(), &shared).await.unwrap();
        let dead_letters = DeadLetters::new(&config, database.store(), queue, Arc::clone(&shared));
        let api = Api::new(
            database.store(),
            ExplainSettings::new(&config),
            PreviewSettings::new(&config).unwrap(),
            dead_letters,
            shared,
        );
        Self {
            router: api.router(authorizer(&database.store(), &clock), REQUEST_TIMEOUT),
            database: Some(database),
            clock,
        }
    }

    /// Returns the API on the database and clock of `world`.
    pub(crate) fn on(world: &World) -> Self {
        let clock = Arc::clone(&world.clock);
        let shared = Arc::clone(&clock) as SharedClock;
        let dead_letters = world.dead_letters();
        let api = Api::new(
            world.store.clone(),
            ExplainSettings::new(&world.config),
            PreviewSettings::new(&world.config).unwrap(),
            dead_letters,
            shared,
        );
        Self { router: api.router(authorizer(&world.store, &clock), REQUEST_TIMEOUT), database: None, clock }
    }

    pub(crate) fn store(&self) -> Store {
        self.database.as_ref().unwrap().store()
    }

    /// Returns connections for the test's own statements.
    pub(crate) async fn pool(&self) -> sqlx::PgPool {
        self.database.as_ref().unwrap().pool().await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], Body::empty()).await
    }

    pub(crate) async fn json(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.json_with(method, path, &[], body).await
    }

    pub(crate) async fn json_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let headers = [&[("content-type", "application/json")], headers].concat();
        self.call(method, path, &headers, Body::from(body.to_string())).await
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Answer {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        Answer { status: head.status, headers: head.headers, body: to_bytes(body, usize::MAX).await.unwrap() }
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks the status, and that an error response is a problem detail. Returns the body.
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        if self.body.is_empty() {
            return Value::Null;
        }
        let body = self.json();
        if status >= 400 {
            assert_eq!(self.header("content-type"), "application/problem+json");
            assert_eq!(body["status"], status);
            assert!(body["type"].as_str().unwrap().starts_with("urn:bday:problem:"));
        }
        body
    }

    /// Returns the fields that a problem names, in order.
    pub(crate) fn fields(&self) -> Vec<String> {
        let body = self.json();
        let errors = body["errors"].as_array().unwrap();
        let mut fields: Vec<String> =
            errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect();
        fields.sort();
        fields
    }
}
