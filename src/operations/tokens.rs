//! Creates tokens of the API.

use chrono::{DateTime, TimeDelta, Utc};

use crate::model::{FieldError, Scope, Token, TokenHash};
use crate::store::{ApiToken, CreateTokenOutcome, MAX_LIVE_TOKENS, NewToken, Store, StoreError};

pub const MAX_EXPIRY_DAYS: u32 = 36_500;

#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// As returned by [`parse_token_name`](crate::model::parse_token_name).
    pub name: String,
    pub scope: Scope,
    pub expires_at: Option<DateTime<Utc>>,
    /// The hash of a token that was generated elsewhere.
    pub hash: Option<TokenHash>,
}

#[derive(Debug)]
pub struct CreatedToken {
    pub token: ApiToken,
    /// The only time that bday has it in clear. None: it was generated elsewhere.
    pub secret: Option<Token>,
}

#[derive(Debug, thiserror::Error)]
pub enum CreateTokenError {
    #[error(
        "the token {0:?} exists: choose another name, or revoke it with `bday token revoke {0}` or DELETE /v1/tokens/{{id}}"
    )]
    NameTaken(String),
    #[error("this token was registered before: generate another with `bday token generate`")]
    HashTaken,
    #[error(
        "there are {MAX_LIVE_TOKENS} live tokens, the maximum: revoke some with `bday token revoke NAME` or DELETE /v1/tokens/{{id}}"
    )]
    TooManyTokens,
    #[error("cannot read random bytes")]
    Random(#[from] getrandom::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Creates a token, or registers the one with the given hash.
pub async fn create(
    store: &Store,
    now: DateTime<Utc>,
    request: TokenRequest,
) -> Result<CreatedToken, CreateTokenError> {
    let TokenRequest { name, scope, expires_at, hash } = request;
    let (hash, secret) = match hash {
        Some(hash) => (hash, None),
        None => {
            let secret = Token::generate()?;
            (secret.hash(), Some(secret))
        }
    };
    match store.create_token(now, NewToken { name: &name, scope, hash, expires_at }).await? {
        CreateTokenOutcome::Created => {}
        CreateTokenOutcome::NameTaken => return Err(CreateTokenError::NameTaken(name)),
        CreateTokenOutcome::HashTaken => return Err(CreateTokenError::HashTaken),
        CreateTokenOutcome::TooManyTokens => return Err(CreateTokenError::TooManyTokens),
    }
    let token = store.token(hash).await?.ok_or(StoreError::ConcurrentWrite)?;
    Ok(CreatedToken { token, secret })
}

/// Returns the expiry of a token that expires `in_days` after `now`, or at `at`.
pub fn expiry(
    now: DateTime<Utc>,
    in_days: Option<u32>,
    at: Option<DateTime<Utc>>,
) -> Result<Option<DateTime<Utc>>, FieldError> {
    let last = now + TimeDelta::days(MAX_EXPIRY_DAYS.into());
    match (in_days, at) {
        (Some(_), Some(_)) => Err(FieldError::new("expiresAt", "omit it, or expiresInDays")),
        (Some(days), None) => Ok(Some(now + TimeDelta::days(days.into()))),
        (None, Some(at)) if at <= now => Err(FieldError::new("expiresAt", "is not in the future")),
        (None, Some(at)) if at > last => {
            Err(FieldError::new("expiresAt", format!("is more than {MAX_EXPIRY_DAYS} days ahead")))
        }
        (None, at) => Ok(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_in_the_future_and_given_once() {
        let now = DateTime::UNIX_EPOCH;
        let later = |days: i64| now + TimeDelta::days(days);
        assert_eq!(expiry(now, None, None), Ok(None));
        assert_eq!(expiry(now, Some(1), None), Ok(Some(later(1))));
        assert_eq!(expiry(now, None, Some(later(36_500))), Ok(Some(later(36_500))));
        for (days, at) in [(None, Some(now)), (None, Some(later(36_501))), (Some(1), Some(later(1)))] {
            assert_eq!(expiry(now, days, at).map_err(|error| error.field), Err("expiresAt".to_owned()));
        }
    }
}
