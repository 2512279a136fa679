//! How a process logs in to the database, and goes on doing so when the password changes.
//!
//! Passwords are rotated while the daemon runs. Open connections stay; a new one is refused. The store notices
//! (SQLSTATE 28P01), and this fetches the secret again until the database takes what it says. In a rotation there
//! are seconds in which the database has the new password and the secret does not yet. Meanwhile the stages try
//! again, as they do in any outage.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::config::source::{Reference, Source, Sources, TOKEN_LIFE};
use crate::config::{Config, ConfigError, Database, Tls, is_postgres_url};
use crate::store::chain;
use crate::store::{Login, Store, TlsMode};

/// Between two looks at a secret that the database does not take yet.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A token is renewed well before it runs out, so that a clock that is minutes off does no harm.
const TOKEN_RENEWAL: Duration = Duration::from_secs(TOKEN_LIFE.as_secs() * 2 / 3);

/// Where user and password come from.
#[derive(Debug, Clone)]
enum Parts {
    Url(Arc<dyn Source>),
    Password(Option<Arc<dyn Source>>),
    Credentials(Arc<dyn Source>),
    Token(Arc<dyn Source>),
}

/// Fetches what is needed to log in.
#[derive(Debug, Clone)]
pub struct DatabaseLogin {
    database: Database,
    parts: Parts,
    /// Nothing that is fetched again can differ.
    fixed: bool,
}

/// A secret that holds both, as Secrets Manager keeps them for RDS. It may hold more.
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
        let (parts, fixed) = if !database.url.is_empty() {
            (Parts::Url(sources.open(&database.url)), database.url.literal().is_some())
        } else if database.iam_auth {
            let token = sources.iam_token(&database.host, database.port, &database.user);
            (Parts::Token(token), false)
        } else if !database.credentials.is_empty() {
            let literal = database.credentials.literal().is_some();
            (Parts::Credentials(sources.open(&database.credentials)), literal)
        } else {
            let password = (!database.password.is_empty()).then(|| sources.open(&database.password));
            (Parts::Password(password), database.password.literal().is_some())
        };
        Self { database, parts, fixed }
    }

    /// The login as it is now.
    ///
    /// # Errors
    /// A value cannot be had, or is not what it should be. The error names the key and the place, never the value.
    pub async fn fetch(&self) -> anyhow::Result<Login> {
        let database = &self.database;
        let named = |key: &str, place: &Reference| format!("database.{key} (from {place})");
        match &self.parts {
            Parts::Url(source) => {
                let name = || named("url", &database.url);
                let url = source.fetch().await.with_context(name)?;
                anyhow::ensure!(is_postgres_url(url.expose_secret()), "{}: it is no postgres:// URL", name());
                Ok(Login::Url(url))
            }
            Parts::Password(None) => Ok(self.parts(&database.user, None)),
            Parts::Password(Some(source)) => {
                let name = || named("password", &database.password);
                let password = source.fetch().await.with_context(name)?;
                Ok(self.parts(&database.user, Some(password)))
            }
            Parts::Credentials(source) => {
                let name = || named("credentials", &database.credentials);
                let text = source.fetch().await.with_context(name)?;
                // The parser's own words could repeat what it read.
                let Ok(found) = serde_json::from_str::<Credentials>(text.expose_secret()) else {
                    anyhow::bail!(r#"{}: it is not {{"username": "…", "password": "…"}}"#, name());
                };
                Ok(self.parts(&found.username, Some(found.password)))
            }
            Parts::Token(source) => {
                let token = source.fetch().await.context("a token for database.iam_auth")?;
                Ok(self.parts(&database.user, Some(token)))
            }
        }
    }

    fn parts(&self, user: &str, password: Option<SecretString>) -> Login {
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

    /// Fetches, and has `store` log in so from now on.
    ///
    /// # Errors
    /// As [`Self::fetch`], or the URL cannot be used.
    pub async fn renew(&self, store: &Store) -> anyhow::Result<()> {
        store.set_login(&self.fetch().await?).map_err(|error| {
            if self.fixed { ConfigError::Invalid(vec![chain(&error)]).into() } else { error.into() }
        })
    }

    /// Whether all of it stands in the configuration itself: then it is known at once, and fetching again is no use.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.fixed
    }

    /// Keeps the login good, for ever.
    pub async fn run(&self, store: &Store) -> Infallible {
        let token = matches!(self.parts, Parts::Token(_));
        loop {
            let aged = async {
                if token {
                    tokio::time::sleep(TOKEN_RENEWAL).await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                // The news may be older than the newest login.
                () = store.denied() => if store.try_login().await.is_err_and(|error| error.is_denied()) {
                    self.follow(store).await;
                },
                () = aged => if let Err(error) = self.renew(store).await {
                    tracing::warn!(error = format!("{error:#}"), "no newer login for the database");
                },
            }
        }
    }

    /// Fetches again until the database takes what was fetched, or is unavailable: then it is not the login that is wrong.
    async fn follow(&self, store: &Store) {
        tracing::warn!("the database refuses our login: the password has changed, or runs out");
        if self.fixed {
            tracing::error!(
                "the password stands in the configuration itself, so this needs a new one and a restart"
            );
            tokio::time::sleep(LONGEST_PAUSE).await;
            return;
        }
        let mut pause = FIRST_PAUSE;
        loop {
            match self.renew(store).await {
                Ok(()) => match store.try_login().await {
                    Err(error) if error.is_denied() => {
                        tracing::warn!("the database does not take the newest login yet");
                    }
                    Ok(()) => {
                        tracing::info!("the database takes the new login");
                        return;
                    }
                    Err(_) => return,
                },
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "no newer login for the database");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
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
