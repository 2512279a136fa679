//! The login of the database, and how it follows a rotation of the password.
//!
//! A rotation leaves open connections alone; the database rejects new ones (SQLSTATE 28P01). Then the secret is fetched
//! again until the database accepts it. For seconds the database may have the new password and the secret still the old
//! one. Meanwhile the stages retry, as in any outage.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use backon::{ExponentialBuilder, Retryable as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::config::source::{IAM_TOKEN_LIFETIME, Reference, Source, Sources};
use crate::config::{Config, ConfigError, DatabaseConfig, Tls, is_postgres_url};
use crate::store::{Login, Store, TlsMode, chain};

const MIN_RETRY_DELAY: Duration = Duration::from_millis(250);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(10);
/// Well before the token expires, so that a clock may be off by minutes.
const TOKEN_RENEWAL: Duration = Duration::from_secs(IAM_TOKEN_LIFETIME.as_secs() * 2 / 3);

/// The source of user and password.
#[derive(Debug, Clone)]
enum LoginSource {
    Url(Arc<dyn Source>),
    Password(Option<Arc<dyn Source>>),
    Credentials(Arc<dyn Source>),
    IamToken(Arc<dyn Source>),
}

#[derive(Debug, Clone)]
pub struct DatabaseLogin {
    database: DatabaseConfig,
    source: LoginSource,
    is_fixed: bool,
}

/// The format in which Secrets Manager stores a login for RDS. Other keys are ignored.
#[derive(Deserialize)]
struct Credentials {
    username: String,
    password: SecretString,
}

impl DatabaseLogin {
    /// Fetches nothing yet.
    #[must_use]
    pub fn new(config: &Config, sources: &Sources) -> Self {
        let database = config.database.clone();
        let (source, is_fixed) = if !database.url.is_empty() {
            (LoginSource::Url(sources.open(&database.url)), database.url.literal().is_some())
        } else if database.iam_auth {
            let token = sources.iam_token(&database.host, database.port, &database.user);
            (LoginSource::IamToken(token), false)
        } else if !database.credentials.is_empty() {
            let literal = database.credentials.literal().is_some();
            (LoginSource::Credentials(sources.open(&database.credentials)), literal)
        } else {
            let password = (!database.password.is_empty()).then(|| sources.open(&database.password));
            (LoginSource::Password(password), database.password.literal().is_some())
        };
        Self { database, source, is_fixed }
    }

    /// Returns the current login.
    ///
    /// # Errors
    /// A value cannot be fetched or is invalid. The error names the key and the source, never the value.
    pub async fn fetch(&self) -> anyhow::Result<Login> {
        let database = &self.database;
        let named = |key: &str, reference: &Reference| format!("database.{key} (from {reference})");
        match &self.source {
            LoginSource::Url(source) => {
                let name = || named("url", &database.url);
                let url = source.fetch().await.with_context(name)?;
                anyhow::ensure!(is_postgres_url(url.expose_secret()), "{}: not a postgres:// URL", name());
                Ok(Login::Url(url))
            }
            LoginSource::Password(None) => Ok(self.login(&database.user, None)),
            LoginSource::Password(Some(source)) => {
                let name = || named("password", &database.password);
                let password = source.fetch().await.with_context(name)?;
                Ok(self.login(&database.user, Some(password)))
            }
            LoginSource::Credentials(source) => {
                let name = || named("credentials", &database.credentials);
                let text = source.fetch().await.with_context(name)?;
                // The error of the parser could repeat the secret.
                let Ok(found) = serde_json::from_str::<Credentials>(text.expose_secret()) else {
                    anyhow::bail!(r#"{}: expected {{"username": "…", "password": "…"}}"#, name());
                };
                Ok(self.login(&found.username, Some(found.password)))
            }
            LoginSource::IamToken(source) => {
                let token = source.fetch().await.context("a token for database.iam_auth")?;
                Ok(self.login(&database.user, Some(token)))
            }
        }
    }

    fn login(&self, user: &str, password: Option<SecretString>) -> Login {
        let database = &self.database;
        Login::Parts {
            host: database.host.clone(),
            port: database.port,
            name: database.name.clone(),
            user: user.to_owned(),
            password,
            tls: database.tls.into(),
            tls_root_cert: (!database.tls_root_cert.is_empty())
                .then(|| database.tls_root_cert.clone().into()),
        }
    }

    /// Fetches the login and sets it in `store`.
    pub async fn renew(&self, store: &Store) -> anyhow::Result<()> {
        store.set_login(&self.fetch().await?).map_err(|error| {
            if self.is_fixed { ConfigError::Invalid(vec![chain(&error)]).into() } else { error.into() }
        })
    }

    /// Returns whether the whole login is in the configuration itself, so that fetching it again gives nothing new.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.is_fixed
    }

    /// Renews the login when the database rejects it, and tokens before they expire.
    pub async fn run(&self, store: &Store) -> Infallible {
        let is_token = matches!(self.source, LoginSource::IamToken(_));
        let renewal = if is_token { TOKEN_RENEWAL } else { Duration::MAX };
        loop {
            tokio::select! {
                // The rejection may be older than the current login.
                () = store.denied() => if store.try_login().await.is_err_and(|error| error.is_denied()) {
                    self.renew_until_accepted(store).await;
                },
                () = tokio::time::sleep(renewal) => if let Err(error) = self.renew(store).await {
                    tracing::warn!(error = format!("{error:#}"), "database login renewal failed");
                },
            }
        }
    }

    /// Stops also when the database is unavailable, because then the login is not the problem.
    async fn renew_until_accepted(&self, store: &Store) {
        tracing::warn!("database login rejected");
        if self.is_fixed {
            tracing::error!("database login is in the configuration itself: correct it and restart");
            tokio::time::sleep(MAX_RETRY_DELAY).await;
            return;
        }
        let attempt = || async {
            self.renew(store).await?;
            match store.try_login().await {
                Err(error) if error.is_denied() => Err(error.into()),
                answer => anyhow::Ok(answer.is_ok()),
            }
        };
        let backoff = ExponentialBuilder::new()
            .with_min_delay(MIN_RETRY_DELAY)
            .with_max_delay(MAX_RETRY_DELAY)
            .without_max_times();
        let accepted = attempt.retry(backoff).notify(|error, delay| {
            let retry_in_secs = delay.as_secs_f32();
            tracing::warn!(error = format!("{error:#}"), retry_in_secs, "database login renewal failed");
        });
        if let Ok(true) = accepted.await {
            tracing::info!("database login renewed");
        }
    }
}

impl From<Tls> for TlsMode {
    fn from(tls: Tls) -> Self {
        match tls {
            Tls::Disable => Self::Disable,
            Tls::Prefer => Self::Prefer,
            Tls::Require => Self::Require,
            Tls::VerifyCa => Self::VerifyCa,
            Tls::VerifyFull => Self::VerifyFull,
        }
    }
}
