//! Keys that some commands need and others do not. A value that is stored elsewhere is checked when it is fetched.

use super::{Config, ConfigError, Database, QueueKind, Tls, UrlError, parse_url};

impl Config {
    /// Checks the keys that a daemon needs, all at once. `posts` is whether it posts webhooks.
    pub fn require_all(&self, posts: bool) -> Result<(), ConfigError> {
        let webhook = if posts { self.require_webhook() } else { Ok(()) };
        let mut wrong = Vec::new();
        for checked in [self.require_database(), self.require_queue(), webhook] {
            match checked {
                Ok(()) => {}
                Err(ConfigError::Invalid(errors)) => wrong.extend(errors),
                Err(error) => return Err(error),
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(wrong)) }
    }

    /// Checks the keys that a command needs to use the queue.
    pub fn require_queue(&self) -> Result<(), ConfigError> {
        self.require_queue_feature()?;
        if self.queue.kind == QueueKind::Postgres || !self.queue.sqs.url.is_empty() {
            return Ok(());
        }
        Err(ConfigError::Invalid(vec![
            "queue.sqs.url is empty: set BDAY__QUEUE__SQS__URL to the queue's URL, or BDAY__QUEUE__KIND=postgres for a \
             queue in the database itself"
                .to_owned(),
        ]))
    }

    /// Checks the keys that a command needs to use the database.
    pub fn require_database(&self) -> Result<(), ConfigError> {
        let database = &self.database;
        let found = match database.url.literal() {
            None => return Ok(()),
            Some("") if !database.host.is_empty() => return Ok(()),
            Some("") => "empty",
            Some(url) if is_postgres_url(url) => return Ok(()),
            Some(_) => "not a postgres:// URL",
        };
        Err(ConfigError::Invalid(vec![format!(
            "database.url is {found}: set BDAY__DATABASE__URL=postgres://user:password@host:5432/bday, or \
             BDAY__DATABASE__HOST and the keys beside it"
        )]))
    }

    /// Checks the keys that a process needs to post webhooks.
    pub fn require_webhook(&self) -> Result<(), ConfigError> {
        let Some(url) = self.webhook.url.literal() else {
            return Ok(());
        };
        parse_url(url, self.webhook.allow_http)
            .map(|_| ())
            .map_err(|error| {
                let advice = match error {
                    // Its text has the advice.
                    UrlError::Plain => "",
                    _ => {
                        ": set BDAY__WEBHOOK__URL to where greetings are posted, for instance https://example.org/hook"
                    }
                };
                ConfigError::Invalid(vec![format!("webhook.url {error}{advice}")])
            })
    }
}

impl Database {
    /// Keys that contradict each other.
    pub(super) fn contradictions(&self) -> Vec<String> {
        let mut errors = Vec::new();
        if !self.url.is_empty() {
            let beside = [
                ("host", !self.host.is_empty()),
                ("user", !self.user.is_empty()),
                ("password", !self.password.is_empty()),
                ("credentials", !self.credentials.is_empty()),
                ("iam_auth", self.iam_auth),
                ("tls", self.tls != Tls::Prefer),
                ("tls_root_cert", !self.tls_root_cert.is_empty()),
            ];
            for (key, _) in beside.into_iter().filter(|(_, given)| *given) {
                errors.push(format!(
                    "database.url and database.{key} are both given: put all into the URL (its sslmode and sslrootcert \
                     for TLS), or leave the URL out"
                ));
            }
            return errors;
        }
        let apart = !self.user.is_empty() || !self.password.is_empty();
        if apart && !self.credentials.is_empty() {
            errors.push(
                "database.credentials holds user and password: leave out database.user and database.password"
                    .to_owned(),
            );
        }
        if self.iam_auth {
            if self.user.is_empty() {
                errors.push("database.iam_auth needs database.user: the role that may log in so".to_owned());
            }
            if !(self.password.is_empty() && self.credentials.is_empty()) {
                errors.push(
                    "database.iam_auth takes the place of a password: leave out database.password and \
                     database.credentials"
                        .to_owned(),
                );
            }
            if matches!(self.tls, Tls::Disable | Tls::Prefer) {
                errors.push(
                    "database.iam_auth sends a token that opens the database: set database.tls to verify-full"
                        .to_owned(),
                );
            }
        }
        errors
    }
}

/// Whether the URL names a PostgreSQL database.
pub(crate) fn is_postgres_url(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}
