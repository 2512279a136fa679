//! The configuration: `config/default.toml` (compiled in), overridden by a file, overridden by the environment.
//!
//! Unknown keys, invalid values and contradictions are errors. Each error names its key and the remedy.

mod channels;
mod console;
mod features;
mod layers;
pub mod login;
mod mail;
pub mod parts;
mod redact;
mod required;
mod root_certificates;
mod slack;
pub mod source;
mod templates;
mod traces;
pub mod twilio;
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
use crate::model::{ChannelName, LateJoin, Schedule};
use crate::pipeline::channel::TemplateTables;

pub(crate) use required::is_postgres_url;
pub(crate) use slack::parse_slack_url;
pub(crate) use url::{UrlError, is_local, parse_url};

pub use channels::{ChannelsConfig, MailConfig, PhoneConfig, SlackConfig};
pub use console::ConsoleConfig;
pub use layers::{Origin, ShownKey, Variables, load, show};
pub use redact::redact_url;
pub use traces::TracesConfig;
#[cfg(feature = "otlp")]
pub(crate) use traces::parse_headers;
pub use webhook::{Addresses, WebhookConfig};

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is missing, unreadable, or invalid TOML.
    #[error("cannot read the configuration: {0}")]
    Unreadable(String),
    /// One error per invalid key.
    #[error("invalid configuration:\n  - {}", .0.join("\n  - "))]
    Invalid(Vec<String>),
}

/// The keys of `config/default.toml`, which documents them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub database: DatabaseConfig,
    pub queue: QueueConfig,
    pub webhook: WebhookConfig,
    pub channels: ChannelsConfig,
    pub kinds: BTreeMap<String, KindConfig>,
    pub plan: PlanConfig,
    pub late: LateConfig,
    pub source: SourceConfig,
    pub retention: RetentionConfig,
    pub worker: WorkerConfig,
    pub breaker: BreakerConfig,
    pub retry: RetryConfig,
    pub http: HttpConfig,
    pub console: ConsoleConfig,
    pub log: LogConfig,
    pub traces: TracesConfig,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    pub url: Reference,
    pub host: String,
    pub port: u16,
    pub name: String,
    pub user: String,
    pub password: Reference,
    pub credentials: Reference,
    pub iam_auth: bool,
    #[serde(deserialize_with = "values::variant")]
    pub tls: Tls,
    pub tls_root_cert: String,
    pub migrate: bool,
    pub max_connections: u32,
    #[serde(rename = "acquire_timeout_secs", deserialize_with = "values::seconds")]
    pub acquire_timeout: Duration,
    #[serde(rename = "statement_timeout_secs", deserialize_with = "values::seconds")]
    pub statement_timeout: Duration,
}

/// PostgreSQL's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueConfig {
    #[serde(deserialize_with = "values::variant")]
    pub kind: QueueKind,
    pub create: bool,
    #[serde(rename = "visibility_secs", deserialize_with = "values::seconds")]
    pub visibility: Duration,
    #[serde(rename = "wait_secs", deserialize_with = "values::seconds")]
    pub wait: Duration,
    pub sqs: SqsConfig,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueKind {
    Sqs,
    /// The outbox table is the queue.
    Postgres,
}

impl QueueKind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sqs => "sqs",
            Self::Postgres => "postgres",
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqsConfig {
    pub url: String,
    pub dead_letter_url: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindConfig {
    pub message: String,
    pub send_at: SendAt,
    #[serde(deserialize_with = "webhook::channels")]
    pub channels: Vec<ChannelName>,
    /// Those of the channels, beside `message`.
    #[serde(skip)]
    pub templates: TemplateTables,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanConfig {
    #[serde(rename = "horizon_secs", deserialize_with = "values::seconds")]
    pub horizon: Duration,
    pub leap_day: LeapDay,
    #[serde(deserialize_with = "values::variant")]
    pub late_join: LateJoin,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LateConfig {
    #[serde(rename = "max_secs", deserialize_with = "values::seconds")]
    pub max: Duration,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    #[serde(rename = "refresh_secs", deserialize_with = "values::seconds")]
    pub refresh: Duration,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionConfig {
    pub events_days: u32,
    pub audit_days: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerConfig {
    pub max_in_flight: u32,
    #[serde(rename = "drain_secs", deserialize_with = "values::seconds")]
    pub drain: Duration,
    pub max_per_second: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakerConfig {
    pub failures: u32,
    #[serde(rename = "after_secs", deserialize_with = "values::seconds")]
    pub after: Duration,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryConfig {
    pub max_attempts: u32,
    #[serde(rename = "schedule_secs", deserialize_with = "values::list_of_seconds")]
    pub schedule: Vec<Duration>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    #[serde(deserialize_with = "values::address")]
    pub listen: SocketAddr,
    pub public_url: String,
    #[serde(deserialize_with = "values::variant")]
    pub auth: Auth,
    pub max_connections: u32,
    #[serde(rename = "head_timeout_secs", deserialize_with = "values::seconds")]
    pub head_timeout: Duration,
    #[serde(rename = "request_timeout_secs", deserialize_with = "values::seconds")]
    pub request_timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// The API and the metrics require a token.
    Required,
    Off,
}

impl HttpConfig {
    #[must_use]
    pub fn requires_token(&self) -> bool {
        self.auth == Auth::Required
    }

    /// Returns the host and port in `http.public_url`, if that begins with `https://`.
    #[must_use]
    pub fn https_host(&self) -> Option<String> {
        let base = self.public_base()?;
        let host = base.strip_prefix("https://")?.split('/').next()?;
        (!host.is_empty()).then(|| host.to_owned())
    }

    /// Returns whether other machines can use the API without a token.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        !self.requires_token() && !self.listen.ip().to_canonical().is_loopback()
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    #[serde(deserialize_with = "values::variant")]
    pub format: LogFormat,
    pub level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, otherwise JSON.
    Auto,
    Json,
    Text,
}

impl Config {
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        Schedule {
            kinds: self.kinds.iter().map(|(name, kind)| (name.clone(), kind.send_at)).collect(),
            leap_day: self.plan.leap_day,
            late_join: self.plan.late_join,
        }
    }
}
