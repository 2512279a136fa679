//! Sessions of the console: a token, presented once, gives a browser a session.
//!
//! The token is checked again at each request: its revocation and expiry end its sessions, within the time of the token cache.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::Authorizer;
use super::audit::Actor;
use super::proxy::TrustedProxy;
use super::rate_limit::{Rate, RateLimit};
use super::tokens::{self, MaxAge};
use crate::model::{InvalidToken, Scope, Token};
use crate::store::{SessionLimits, StoreError, chain};

const SESSION_TIME: TimeDelta = TimeDelta::hours(12);
const LIMITS: SessionLimits = SessionLimits { idle: TimeDelta::minutes(30), total: SESSION_TIME };

const COOKIE_NAME: &str = "bday_session";
/// On HTTPS: browsers accept a cookie with this prefix only from this host, for all paths, and marked `Secure`.
const HOST_COOKIE_NAME: &str = "__Host-bday_session";

/// Failed sign-ins of one address.
const FAILED: Rate = Rate { burst: 10, interval: TimeDelta::seconds(30) };
/// Addresses that are tracked. With more, all further addresses share one limit.
const MAX_TRACKED: usize = 1024;

/// The value of the cookie. The database has its hash.
#[derive(Clone)]
pub(in crate::http) struct SessionSecret(String);

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret")
    }
}

impl SessionSecret {
    fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Returns the secret in the cookie of a request.
    pub(in crate::http) fn read(headers: &HeaderMap, is_secure: bool) -> Option<Self> {
        let wanted = cookie_name(is_secure);
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs =
            cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(name, _)| *name == wanted).map(|(_, value)| Self(value.to_owned()))
    }

    /// Returns the header that stores it in a browser.
    pub(in crate::http) fn cookie(&self, is_secure: bool) -> String {
        format!(
            "{}={}; Path=/; HttpOnly; SameSite=Lax; Max-Age={}{}",
            cookie_name(is_secure),
            self.0,
            SESSION_TIME.num_seconds(),
            if is_secure { "; Secure" } else { "" }
        )
    }

    /// Returns the header that removes it from a browser.
    pub(in crate::http) fn removal(is_secure: bool) -> String {
        let secure = if is_secure { "; Secure" } else { "" };
        format!("{}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0{secure}", cookie_name(is_secure))
    }

    fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }
}

fn cookie_name(is_secure: bool) -> &'static str {
    if is_secure { HOST_COOKIE_NAME } else { COOKIE_NAME }
}

/// Who uses the console.
#[derive(Debug, Clone)]
pub(in crate::http) struct Operator {
    /// None: `http.auth` is off, and the request has no session.
    actor: Option<Actor>,
    pub(in crate::http) scope: Scope,
    session: Option<SessionSecret>,
}

impl Operator {
    /// Everyone, if `http.auth` is off.
    pub(in crate::http) fn anyone() -> Self {
        Self { actor: None, scope: Scope::Admin, session: None }
    }

    /// Returns the user that `proxy` names.
    pub(in crate::http) fn of_proxy(
        proxy: &TrustedProxy,
        headers: &HeaderMap,
        remote: Option<IpAddr>,
    ) -> Option<Self> {
        let (name, scope) = proxy.identity(headers, remote)?;
        let actor = Actor { token_id: None, name: name.to_owned() };
        Some(Self { actor: Some(actor), scope, session: None })
    }

    pub(in crate::http) fn name(&self) -> &str {
        self.actor.as_ref().map_or("no sign-in required", |actor| &actor.name)
    }

    pub(in crate::http) fn actor(&self) -> Option<Actor> {
        self.actor.clone()
    }

    pub(in crate::http) fn has_session(&self) -> bool {
        self.session.is_some()
    }

    pub(in crate::http) fn allows(&self, required: Scope) -> bool {
        self.scope >= required
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::http) enum SignInError {
    #[error("invalid token: {0}")]
    Invalid(#[from] InvalidToken),
    #[error("unknown token: it was revoked, has expired, or belongs to another installation of bday")]
    Unknown,
    #[error(
        "the scope of this token does not include reading: use a token with the scope read, write or admin"
    )]
    Scope,
    #[error("too many failed sign-ins from this address: try again in {} s", FAILED.interval.num_seconds())]
    TooMany,
    #[error("the token cannot be checked because the database does not answer: try again")]
    Unavailable,
}

/// Limits failed sign-ins by remote address.
#[derive(Debug, Default)]
pub(super) struct FailedSignIns(Mutex<HashMap<Option<IpAddr>, RateLimit>>);

impl FailedSignIns {
    fn with<T>(
        &self,
        remote: Option<IpAddr>,
        now: DateTime<Utc>,
        apply: impl FnOnce(&mut RateLimit) -> T,
    ) -> T {
        let mut limits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if limits.len() >= MAX_TRACKED {
            limits.retain(|_, limit| !limit.is_full(now));
        }
        let tracked = limits.len() < MAX_TRACKED || limits.contains_key(&remote);
        let key = remote.filter(|_| tracked);
        apply(limits.entry(key).or_insert_with(|| RateLimit::new(FAILED, now)))
    }
}

impl Authorizer {
    /// Creates a session for the token `text`.
    pub(in crate::http) async fn sign_in(
        &self,
        text: &str,
        remote: Option<IpAddr>,
    ) -> Result<SessionSecret, SignInError> {
        let (now, failed) = (self.0.clock.now(), &self.0.failed_sign_ins);
        if !failed.with(remote, now, |limit| limit.is_open(now)) {
            return Err(SignInError::TooMany);
        }
        let result = self.create_session(text.trim(), now).await;
        if matches!(result, Err(SignInError::Invalid(_) | SignInError::Unknown | SignInError::Scope)) {
            failed.with(remote, now, |limit| limit.take(now));
            metrics::counter!("bday_console_sign_ins_total", "result" => "refused").increment(1);
        }
        result
    }

    async fn create_session(&self, text: &str, now: DateTime<Utc>) -> Result<SessionSecret, SignInError> {
        let found = self.0.tokens.find(Token::hash_of(text)?, MaxAge::Short).await;
        let token =
            found.map_err(|tokens::Unavailable| SignInError::Unavailable)?.ok_or(SignInError::Unknown)?;
        if token.scope < Scope::Read {
            return Err(SignInError::Scope);
        }
        let secret = SessionSecret::generate().map_err(|error| {
            tracing::error!(%error, "session not created");
            SignInError::Unavailable
        })?;
        self.0.store.create_session(secret.hash(), token.id, now, LIMITS).await.map_err(|error| {
            tracing::error!(error = chain(&error), "session not created");
            SignInError::Unavailable
        })?;
        self.0.tokens.record_use(&token).await;
        tracing::info!(token = token.name, "signed in to the console");
        metrics::counter!("bday_console_sign_ins_total", "result" => "accepted").increment(1);
        Ok(secret)
    }

    /// Returns who has the session `secret`, unless it has ended. A request that `is_active` postpones the end of an idle session; a
    /// page that refreshes itself does not.
    pub(in crate::http) async fn operator(
        &self,
        secret: SessionSecret,
        is_active: bool,
    ) -> Result<Option<Operator>, StoreError> {
        let now = self.0.clock.now();
        let Some(token_id) = self.0.store.session_token(secret.hash(), now, LIMITS, is_active).await? else {
            return Ok(None);
        };
        let token = self.find_token(token_id).await?;
        Ok(token.map(|token| Operator {
            actor: Some(Actor::from(&*token)),
            scope: token.scope,
            session: Some(secret),
        }))
    }

    async fn find_token(&self, id: Uuid) -> Result<Option<std::sync::Arc<super::LiveToken>>, StoreError> {
        let found = self.0.tokens.find_by_id(id).await;
        found.map_err(|tokens::Unavailable| StoreError::Timeout(tokens::READ_DEADLINE))
    }

    pub(in crate::http) async fn sign_out(&self, operator: &Operator) -> Result<(), StoreError> {
        match &operator.session {
            Some(secret) => self.0.store.delete_session(secret.hash()).await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_of_https_is_bound_to_the_host() {
        let secret = SessionSecret("abc".to_owned());
        assert_eq!(
            secret.cookie(true),
            "__Host-bday_session=abc; Path=/; HttpOnly; SameSite=Lax; Max-Age=43200; Secure"
        );
        assert_eq!(secret.cookie(false), "bday_session=abc; Path=/; HttpOnly; SameSite=Lax; Max-Age=43200");
    }

    #[test]
    fn the_cookie_of_plain_http_gives_no_session_on_https() {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, "x=1; bday_session=abc".parse().expect("a header"));
        let read = |is_secure| SessionSecret::read(&headers, is_secure).map(|secret| secret.0);
        assert_eq!(read(false).as_deref(), Some("abc"));
        assert_eq!(read(true), None);
    }

    #[test]
    fn failed_sign_ins_of_one_address_do_not_lock_out_another() {
        let failed = FailedSignIns::default();
        let now = DateTime::UNIX_EPOCH;
        let [one, other] = [Some("10.0.0.1"), Some("10.0.0.2")].map(|ip| ip.and_then(|ip| ip.parse().ok()));
        for _ in 0..10 {
            assert!(failed.with(one, now, |limit| limit.take(now)));
        }
        assert!(!failed.with(one, now, |limit| limit.is_open(now)));
        assert!(failed.with(other, now, |limit| limit.is_open(now)));
        let later = now + TimeDelta::seconds(30);
        assert!(failed.with(one, later, |limit| limit.is_open(later)));
    }

    #[test]
    fn the_addresses_that_are_tracked_are_bounded() {
        let failed = FailedSignIns::default();
        let now = DateTime::UNIX_EPOCH;
        for n in 0..5000_u32 {
            failed.with(Some(IpAddr::from(n.to_be_bytes())), now, |limit| limit.take(now));
        }
        assert!(failed.0.lock().expect("a lock").len() <= MAX_TRACKED + 1);
    }
}
