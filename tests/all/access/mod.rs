//! Access to the API over real sockets: tokens, scopes, limits and the audit log.

mod audit;
mod calendar_feed;
mod commands;
mod limits;
mod manage;
mod matrix;
mod pause;
mod tokens;
mod without_token;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bday::clock::{SettableClock, SharedClock};
use bday::config;
use bday::config::parts;
use bday::http::{Api, Authorizer, Health, HealthDeadlines, Heartbeats, HttpServer, Limits, OpenHosts};
use bday::model::{Scope, Token};
use bday::operations::dead_letters::DeadLetters;
use bday::people::explain::ExplainSettings;
use bday::people::preview::PreviewSettings;
use bday::store::{CreateTokenOutcome, NewToken, Store};
use metrics_exporter_prometheus::PrometheusBuilder;
use reqwest::Method;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::database::Database;
use crate::support::world::instant;

const NOON: &str = "2026-11-24T12:00:00Z";

const LIMITS: Limits =
    Limits { connections: 256, head: Duration::from_secs(30), request: Duration::from_secs(30) };

/// The HTTP server of the daemon, in the test process, with a clock that the test sets.
struct TestServer {
    database: Database,
    store: Store,
    clock: Arc<SettableClock>,
    address: SocketAddr,
    client: reqwest::Client,
    _serving: JoinSet<anyhow::Result<()>>,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

impl TestServer {
    /// Starts a server that requires tokens.
    async fn guarded() -> Self {
        Self::new(true, LIMITS).await
    }

    /// Starts a server that requires no tokens.
    async fn open() -> Self {
        Self::new(false, LIMITS).await
    }

    async fn new(required: bool, limits: Limits) -> Self {
        let database = Database::new().await;
        let clock = Arc::new(SettableClock::new(instant(NOON)));
        let shared = Arc::clone(&clock) as SharedClock;
        let variables = [
            ("BDAY__DATABASE__URL".to_owned(), database.url().to_owned()),
            ("BDAY__QUEUE__KIND".to_owned(), "postgres".to_owned()),
        ];
        let config = config::load(None, variables.into()).unwrap();
        let store = database.store();
        let queue = parts::queue(&config, &store, &shared).await.unwrap();
        let dead_letters = DeadLetters::new(&config, store.clone(), queue, Arc::clone(&shared));
        let api = Api::new(
            store.clone(),
            ExplainSettings::new(&config),
            PreviewSettings::new(&config).unwrap(),
            dead_letters,
            Arc::clone(&shared),
        );
        let server = HttpServer {
            health: Arc::new(Health::new(store.clone(), Heartbeats::default(), HealthDeadlines::default())),
            metrics: PrometheusBuilder::new().build_recorder().handle(),
            api: Some(api),
            callbacks: None,
            console: None,
            authorizer: Authorizer::new(store.clone(), shared, (!required).then(OpenHosts::default)),
            limits,
        };
        let listener = bday::http::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(server.serve(listener, CancellationToken::new()));
        Self { database, store, clock, address, client: reqwest::Client::new(), _serving: serving }
    }

    /// Creates a token that does not expire.
    async fn token(&self, name: &str, scope: Scope) -> String {
        self.token_until(name, scope, None).await
    }

    async fn token_until(&self, name: &str, scope: Scope, end: Option<&str>) -> String {
        let token = Token::generate().unwrap();
        let new = NewToken { name, scope, hash: token.hash(), expires_at: end.map(instant) };
        let created = self.store.create_token(instant(NOON), new).await.unwrap();
        assert_eq!(created, CreateTokenOutcome::Created);
        token.expose().to_owned()
    }

    async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        self.call(Method::GET, path, token, None).await
    }

    async fn call(&self, method: Method, path: &str, token: Option<&str>, body: Option<Value>) -> Answer {
        let mut request = self.client.request(method, format!("http://{}{path}", self.address));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.send(request).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.unwrap();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Answer { status, headers, body }
    }
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn detail(&self) -> &str {
        self.body["detail"].as_str().unwrap_or_default()
    }

    /// Checks that the response is a problem detail with this status.
    fn expect_problem(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.body["status"], status);
    }
}

/// Returns a request body that creates a user.
fn ada() -> Value {
    serde_json::json!({ "firstName": "Ada", "birthDate": "1815-12-10", "timeZone": "Europe/London" })
}
