//! Everything that a wrong deployment gets wrong: looked at once, from where the daemon would run.
//!
//! It changes nothing, and sends no greeting. What is not reached does not stop it: every check says what it found.

mod database;
mod delivery;
mod queue;

use std::sync::Arc;

use serde::Serialize;

use crate::clock::SharedClock;
use crate::config::login::DatabaseLogin;
use crate::config::parts;
use crate::config::source::Sources;
use crate::config::{Config, ConfigError};
use crate::store::chain;

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// It works, but somebody should look at it.
    Warning,
    /// It does not work, or will not.
    Failure,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, as `database.schema`.
    pub check: &'static str,
    /// How it went.
    pub grade: Grade,
    /// What was found. Names no secret.
    pub found: String,
    /// What to do about it.
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

/// An error on one line, without the words that introduce a list.
fn said(error: &anyhow::Error) -> String {
    match error.downcast_ref() {
        Some(ConfigError::Invalid(wrong)) => wrong.join("; "),
        _ => chain(error.as_ref()),
    }
}

/// Looks at everything.
pub async fn examine(config: &Config, clock: &SharedClock) -> Vec<Finding> {
    let mut findings = Vec::new();
    let sources = Sources::new(Arc::clone(clock));
    let store = parts::store_without_login(config, 0);
    let access = DatabaseLogin::new(config, &sources);
    let login = async {
        config.require_database()?;
        access.renew(&store).await
    };
    let mut tokens = None;
    match login.await {
        Ok(()) => {
            findings.push(Finding::ok("database.login", "user and password are there"));
            let reached = database::examine(config, &store, &**clock, &mut findings).await;
            findings.extend(queue::examine(config, &store, clock, reached).await);
            if reached {
                tokens = store.live_tokens(clock.now()).await.ok().map(|live| live.len());
            }
        }
        Err(error) => {
            findings.push(Finding::failure(
                "database.login",
                said(&error),
                "give the database (database.url, or database.host and the keys beside it), and see that this machine \
                 may read the place that is named",
            ));
            findings.extend(queue::examine(config, &store, clock, false).await);
        }
    }
    findings.extend(delivery::examine(config, &sources, tokens).await);
    findings
}
