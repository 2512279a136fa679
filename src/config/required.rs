//! Keys that some commands require and others do not. A value from another source is checked when it is fetched.

use super::{Config, ConfigError, DatabaseConfig, QueueKind, Tls, UrlError, parse_url};
use crate::model::ChannelName;

impl Config {
    /// Checks the keys that a daemon requires, and returns all errors together. `sends`: it sends greetings.
    pub fn require_all(&self, sends: bool) -> Result<(), ConfigError> {
        let channels = if sends { self.require_channels() } else { Ok(()) };
        let mut errors = Vec::new();
        for checked in [self.require_database(), self.require_queue(), channels] {
            match checked {
                Ok(()) => {}
                Err(ConfigError::Invalid(found)) => errors.extend(found),
                Err(error) => return Err(error),
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(errors)) }
    }

    pub fn require_queue(&self) -> Result<(), ConfigError> {
        self.require_queue_feature()?;
        if self.queue.kind == QueueKind::Postgres || !self.queue.sqs.url.is_empty() {
            return Ok(());
        }
        Err(ConfigError::Invalid(vec![
            "queue.sqs.url is empty: set BDAY__QUEUE__SQS__URL to the URL of the queue, or BDAY__QUEUE__KIND=postgres to \
             use the database as the queue"
                .to_owned(),
        ]))
    }

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
             BDAY__DATABASE__HOST, BDAY__DATABASE__USER and BDAY__DATABASE__PASSWORD"
        )]))
    }

    /// Checks that each channel that a kind uses has a URL.
    fn require_channels(&self) -> Result<(), ConfigError> {
        let used = self.used_channels();
        if used.contains(&ChannelName::Webhook) {
            self.require_webhook()?;
        }
        let missing = used.into_iter().filter(|channel| self.channel_url(*channel).is_empty());
        let mut errors: Vec<String> = missing
            .map(|channel| {
                let variable = format!("BDAY__CHANNELS__{}__URL", channel.as_str().to_uppercase());
                format!("channels.{channel}.url is empty: set {variable}, or remove {channel} from the channels of the kinds")
            })
            .collect();
        errors.extend(self.telephone_sender_errors());
        if errors.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(errors)) }
    }

    pub fn require_webhook(&self) -> Result<(), ConfigError> {
        let Some(Err(error)) = self.webhook.url.literal().map(|url| parse_url(url, self.webhook.allow_http))
        else {
            return Ok(());
        };
        let advice = match error {
            // Its text has the advice.
            UrlError::Unencrypted => "",
            _ => {
                ": set BDAY__WEBHOOK__URL to the URL that greetings are posted to, such as https://example.org/hook"
            }
        };
        Err(ConfigError::Invalid(vec![format!("webhook.url {error}{advice}")]))
    }
}

impl DatabaseConfig {
    /// Returns an error for each pair of keys that contradict each other.
    pub(super) fn contradictions(&self) -> Vec<String> {
        if !self.url.is_empty() {
            return self.given_beside_url();
        }
        let mut errors = Vec::new();
        let separate = !self.user.is_empty() || !self.password.is_empty();
        if separate && !self.credentials.is_empty() {
            errors.push(
                "database.credentials has user and password: remove database.user and database.password"
                    .to_owned(),
            );
        }
        if !self.iam_auth {
            return errors;
        }
        if self.user.is_empty() {
            errors.push(
                "database.iam_auth requires database.user: the role that may log in with IAM".to_owned(),
            );
        }
        if !(self.password.is_empty() && self.credentials.is_empty()) {
            errors.push(
                "database.iam_auth replaces the password: remove database.password and database.credentials"
                    .to_owned(),
            );
        }
        if matches!(self.tls, Tls::Disable | Tls::Prefer) {
            errors.push(
                "database.iam_auth sends a token that gives access to the database: set database.tls to verify-full"
                    .to_owned(),
            );
        }
        errors
    }

    fn given_beside_url(&self) -> Vec<String> {
        let keys = [
            ("host", !self.host.is_empty()),
            ("user", !self.user.is_empty()),
            ("password", !self.password.is_empty()),
            ("credentials", !self.credentials.is_empty()),
            ("iam_auth", self.iam_auth),
            ("tls", self.tls != Tls::Prefer),
            ("tls_root_cert", !self.tls_root_cert.is_empty()),
        ];
        let given = keys.into_iter().filter(|(_, given)| *given);
        given
            .map(|(key, _)| {
                format!(
                    "database.url and database.{key} are both given: put everything into the URL (sslmode and sslrootcert \
                     for TLS), or remove the URL"
                )
            })
            .collect()
    }
}

pub(crate) fn is_postgres_url(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}
