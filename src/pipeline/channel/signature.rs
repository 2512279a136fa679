//! The signature of a webhook, as Standard Webhooks defines it (<https://www.standardwebhooks.com>, symmetric, `v1`).
//!
//! A signature is `v1,` and the base64 of HMAC-SHA256 over `webhook-id`, `webhook-timestamp` and the body, joined by dots. The header
//! holds a signature for each secret, so that a receiver can change to a new secret at any time.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret as _, SecretSlice};
use tokio::sync::watch;

pub(crate) const PREFIX: &str = "whsec_";
pub(crate) const VERSION: &str = "v1,";
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// A rotation needs two. Each makes the header 48 bytes longer.
pub(crate) const MAX_SECRETS: usize = 4;

/// The texts do not contain the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("is empty")]
    Empty,
    #[error("does not begin with {PREFIX}")]
    Prefix,
    #[error("is not base64 (with padding) after {PREFIX}")]
    Base64,
    #[error("holds {0} bytes; Standard Webhooks requires 24 to 64")]
    Length(usize),
    #[error("has {0} secrets; the maximum is {MAX_SECRETS}")]
    TooMany(usize),
}

/// A signing key. Its text is `whsec_` and the key in base64.
pub struct Secret {
    key: SecretSlice<u8>,
    webhook: standardwebhooks::Webhook,
}

impl Secret {
    pub(crate) fn parse(text: &str) -> Result<Self, SecretError> {
        if text.is_empty() {
            return Err(SecretError::Empty);
        }
        let key = text.strip_prefix(PREFIX).ok_or(SecretError::Prefix)?;
        let key = STANDARD.decode(key).map_err(|_| SecretError::Base64)?;
        if !KEY_BYTES.contains(&key.len()) {
            return Err(SecretError::Length(key.len()));
        }
        let webhook = standardwebhooks::Webhook::from_bytes(key.clone()).map_err(|_| SecretError::Base64)?;
        Ok(Self { key: key.into(), webhook })
    }

    pub(crate) fn key(&self) -> &[u8] {
        self.key.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(whsec_…)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

/// Parses secrets that are separated by spaces, line breaks or commas.
pub(crate) fn parse_secrets(text: &str) -> Result<Vec<Secret>, SecretError> {
    let secrets = text
        .split([',', ' ', '\t', '\r', '\n'])
        .filter(|secret| !secret.is_empty())
        .map(Secret::parse)
        .collect::<Result<Vec<_>, _>>()?;
    match secrets.len() {
        0 => Err(SecretError::Empty),
        1..=MAX_SECRETS => Ok(secrets),
        count => Err(SecretError::TooMany(count)),
    }
}

/// Signs with all current secrets; without any, requests are not signed.
#[derive(Debug, Clone, Default)]
pub struct Signer(Vec<watch::Receiver<Vec<Secret>>>);

impl Signer {
    pub(crate) fn new(secrets: Vec<watch::Receiver<Vec<Secret>>>) -> Self {
        Self(secrets)
    }

    pub(crate) fn secret_count(&self) -> usize {
        self.0.iter().map(|secrets| secrets.borrow().len()).sum()
    }

    /// Returns the value of `webhook-signature`; `None` without a secret. `timestamp` is in seconds.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> Option<HeaderValue> {
        // Fails only if the body is not UTF-8, which a JSON body always is.
        let sign = |secret: &Secret| secret.webhook.sign(id, timestamp, body).ok();
        let signatures: Vec<String> = self
            .0
            .iter()
            .flat_map(|secrets| secrets.borrow().iter().filter_map(sign).collect::<Vec<_>>())
            .collect();
        (!signatures.is_empty()).then(|| HeaderValue::try_from(signatures.join(" ")).ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SECOND: &str = "whsec_Zm9yIHRlc3RzLCBhbmQgZm9yIG5vdGhpbmcgZWxzZSE=";
    const BODY: &[u8] = "{\"message\":\"Hey, Björk\"}".as_bytes();

    fn signer(sources: &[&str]) -> Signer {
        let watch = |text: &&str| watch::channel(parse_secrets(text).expect("secrets")).1;
        Signer::new(sources.iter().map(watch).collect())
    }

    fn sign(sources: &[&str]) -> String {
        let header = signer(sources).sign("msg_1", 1_700_000_000, BODY).expect("a signature");
        header.to_str().expect("text").to_owned()
    }

    #[test]
    fn a_signature_equals_that_of_openssl() {
        // printf 'msg_1.1700000000.{"message":"Hey, Björk"}' |
        //   openssl dgst -sha256 -mac HMAC -macopt hexkey:$(base64 -d <<< ${SECRET#whsec_} | xxd -p) -binary | base64
        assert_eq!(sign(&[FIRST]), "v1,7lspV0KQe3iusbe86ysTC7dY79kQviyk9u1Y18YxTm8=");
        assert_eq!(sign(&[SECOND]), "v1,YomRpoqHzLNvnF2HahU0yXPPdkpbN5MMWhQfkfiLNE0=");
    }

    #[test]
    fn every_secret_of_every_source_signs() {
        let both = format!("{} {}", sign(&[FIRST]), sign(&[SECOND]));
        assert_eq!(sign(&[FIRST, SECOND]), both);
        assert_eq!(sign(&[&format!(" {FIRST},\n{SECOND}\n")]), both);
        assert_eq!(signer(&[FIRST, SECOND]).secret_count(), 2);
        assert_eq!(Signer::default().sign("msg_1", 1_700_000_000, BODY), None);
    }

    #[test]
    fn the_error_of_an_invalid_secret_does_not_contain_it() {
        let error = |text: &str| parse_secrets(text).expect_err("invalid");
        assert_eq!(error(" \n"), SecretError::Empty);
        assert_eq!(error("hunter2"), SecretError::Prefix);
        assert_eq!(error("whsec_hunter2!"), SecretError::Base64);
        assert_eq!(error("whsec_aHVudGVyMg=="), SecretError::Length(7));
        assert_eq!(error("whsec_"), SecretError::Length(0));
        assert_eq!(error(&[FIRST; 5].join(",")), SecretError::TooMany(5));
        for text in ["hunter2", "whsec_hunter2!", "whsec_aHVudGVyMg=="] {
            let shown = format!("{} {:?}", error(text), error(text));
            assert!(!shown.contains("hunter2") && !shown.contains("aHVud"), "{shown}");
        }
        assert_eq!(format!("{:?}", Secret::parse(FIRST)), "Ok(Secret(whsec_…))");
    }
}
