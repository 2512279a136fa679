//! The configuration: `config/default.toml` (compiled in), under a file, under the environment.
//!
//! Unknown keys and contradictions are refused, each with the key's name and what to do about it.

mod features;
mod layers;
pub mod login;
mod needs;
mod outgoing;
pub mod parts;
mod redact;
pub mod source;
mod url;
mod validate;
mod values;
mod webhook;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use crate::calendar::{LeapDay, SendAt};
use crate::config::source::Reference;
use crate::model::{LateJoin, Schedule};

pub(crate) use needs::is_postgres_url;
pub(crate) use url::{UrlError, parse_url, stays_here};

pub use layers::{Origin, Shown, Variables, load, show};
pub use redact::redact_url;
pub use webhook::{Addresses, Webhook};

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is missing, unreadable, or invalid TOML.
    #[error("cannot read the configuration: {0}")]
    Unreadable(String),
    /// One or more keys are wrong. Each entry names its key and what to do.
    #[error("the configuration is wrong:\n  - {}", .0.join("\n  - "))]
    Invalid(Vec<String>),
}

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub database: Database,
    pub queue: Queue,
    pub webhook: Webhook,
    pub kinds: BTreeMap<String, KindConfig>,
    pub plan: Plan,
    pub late: Late,
    pub source: Source,
    pub retention: Retention,
    pub worker: Worker,
    pub breaker: Breaker,
    pub retry: Retry,
    pub http: Http,
    pub log: Log,
}

/// `[database]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    pub url: Reference,
    pub host: String,
    pub port: u16,
    pub name: String,
    pub user: String,
    pub password: Reference,
    pub credentials: Reference,
    pub iam_auth: bool,
    #[serde(deserialize_with = "values::word")]
    pub tls: Tls,
    pub tls_root_cert: String,
    pub migrate: bool,
    pub max_connections: u32,
    pub acquire_timeout_secs: u64,
    pub statement_timeout_secs: u64,
}

/// `database.tls`, named as PostgreSQL's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// Never.
    Disable,
    /// If the server can.
    Prefer,
    /// Always, with any certificate.
    Require,
    /// Always, with a certificate from an authority that is trusted.
    VerifyCa,
    /// Always, with a certificate from an authority that is trusted, for the name that was connected to.
    VerifyFull,
}

/// `[queue]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    #[serde(deserialize_with = "values::word")]
    pub kind: QueueKind,
    pub create: bool,
    pub visibility_secs: u64,
    pub wait_secs: u64,
    pub sqs: Sqs,
}

/// `queue.kind`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueKind {
    /// Amazon SQS.
    Sqs,
    /// The outbox in the database itself.
    Postgres,
}

impl QueueKind {
    /// As in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sqs => "sqs",
            Self::Postgres => "postgres",
        }
    }
}

/// `[queue.sqs]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sqs {
    pub url: String,
    pub dead_letter_url: String,
}

/// `[kinds.NAME]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindConfig {
    pub message: String,
    pub send_at: SendAt,
}

/// `[plan]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub horizon_secs: u64,
    pub leap_day: LeapDay,
    #[serde(deserialize_with = "values::word")]
    pub late_join: LateJoin,
}

/// `[late]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Late {
    pub max_secs: u64,
}

/// `[source]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    pub refresh_secs: u64,
}

/// `[retention]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    pub events_days: u32,
    pub audit_days: u32,
}

/// `[worker]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    pub max_in_flight: u32,
    pub drain_secs: u64,
    pub max_per_second: u32,
}

/// `[breaker]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breaker {
    pub failures: u32,
    pub after_secs: u64,
}

/// `[retry]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    pub max_attempts: u32,
    #[serde(deserialize_with = "values::seconds")]
    pub schedule_secs: Vec<u64>,
}

/// `[http]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    #[serde(deserialize_with = "values::address")]
    pub listen: SocketAddr,
    #[serde(deserialize_with = "values::word")]
    pub auth: Auth,
    pub max_connections: u32,
    pub head_timeout_secs: u64,
    pub request_timeout_secs: u64,
}

/// `http.auth`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// The API and the metrics require a token.
    Required,
    /// No token is required, wherever a request comes from.
    Off,
}

impl Http {
    /// Whether the API and the metrics require a token.
    #[must_use]
    pub fn require_token(&self) -> bool {
        self.auth == Auth::Required
    }

    /// Whether other machines can use the API without a token.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        !self.require_token() && !self.listen.ip().to_canonical().is_loopback()
    }
}

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    #[serde(deserialize_with = "values::word")]
    pub format: LogFormat,
    pub level: String,
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// A JSON object a line.
    Json,
    /// For people.
    Text,
}

impl Config {
    /// The rules of planning.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        Schedule {
            kinds: self.kinds.iter().map(|(name, kind)| (name.clone(), kind.send_at)).collect(),
            leap_day: self.plan.leap_day,
            late_join: self.plan.late_join,
        }
    }
}

impl Queue {
    /// How long a received message stays hidden, and a lease lasts.
    #[must_use]
    pub fn visibility(&self) -> Duration {
        Duration::from_secs(self.visibility_secs)
    }
}
