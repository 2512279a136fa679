//! Checks a deployment for misconfiguration, from the machine of the daemon.
//!
//! Changes nothing and sends no greeting. A failed check does not stop the others.

mod channels;
mod database;
mod delivery;
mod dns;
mod queue;
mod sender_domain;
mod zones;

use std::sync::Arc;

use serde::Serialize;

use crate::clock::SharedClock;
use crate::config::login::DatabaseLogin;
use crate::config::parts::{self, Parts};
use crate::config::source::Sources;
use crate::config::{Config, ConfigError};
use crate::store::chain;

pub use dns::Resolver;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    Ok,
    Warning,
    Failure,
}

/// The result of a check. Contains no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The name of the check, such as `database.schema`.
    pub check: &'static str,
    pub grade: Grade,
    pub found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, grade: Grade::Ok, found: found.into(), advice: None }
    }

    fn warning(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, grade: Grade::Warning, found: found.into(), advice: Some(advice.into()) }
    }

    fn failure(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { grade: Grade::Failure, ..Self::warning(check, found, advice) }
    }
}

/// Formats an error on one line.
fn one_line(error: &anyhow::Error) -> String {
    match error.downcast_ref() {
        Some(ConfigError::Invalid(errors)) => errors.join("; "),
        _ => chain(error.as_ref()),
    }
}

/// Runs all checks.
pub async fn run(config: &Config, clock: &SharedClock, resolver: &Resolver) -> Vec<Finding> {
    let mut findings = Vec::new();
    let sources = Sources::new(Arc::clone(clock));
    let store = parts::store_without_login(config, 0);
    let login = async {
        config.require_database()?;
        DatabaseLogin::new(config, &sources).renew(&store).await
    };
    let mut tokens = None;
    match login.await {
        Ok(()) => {
            findings.push(Finding::ok("database.login", "user and password are given"));
            let reached = database::check(config, &store, &**clock, &mut findings).await;
            findings.extend(queue::check(config, &store, clock, reached).await);
            if reached {
                tokens = store.live_tokens(clock.now()).await.ok().map(|live| live.len());
            }
        }
        Err(error) => {
            findings.push(Finding::failure(
                "database.login",
                one_line(&error),
                "set database.url, or database.host, database.user and database.password; if the value is in another place, \
                 check that this machine may read it",
            ));
            findings.extend(queue::check(config, &store, clock, false).await);
        }
    }
    findings.extend(delivery::check(config, &sources, tokens).await);
    let parts = Parts { config, sources: &sources, store: &store, clock };
    findings.extend(channels::check(&parts, resolver).await);
    findings
}
