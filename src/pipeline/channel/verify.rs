//! Does a request verify, and if not, why not? For those who write a receiver.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::ExposeSecret as _;
use sha2::Sha256;

use super::signature::{PREFIX, Secret, VERSION};
use super::webhook::Body;

/// In milliseconds, a time of our days has at least this many.
const MILLISECONDS: i64 = 100_000_000_000;

/// What a receiver was sent.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The header `webhook-id`.
    pub id: &'a str,
    /// The header `webhook-timestamp`.
    pub timestamp: &'a str,
    /// The header `webhook-signature`.
    pub signature: &'a str,
    /// The body, byte for byte.
    pub body: &'a [u8],
}

/// What is wrong with a timestamp.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimestampError {
    /// No number.
    #[error("{0:?} is not a whole number of seconds since 1970")]
    Unreadable(String),
    /// A thousand times too large.
    #[error("{0} is in milliseconds; it must be in seconds")]
    Milliseconds(i64),
    /// Sent, or signed, too long ago.
    #[error(
        "it is {age} s old, and {tolerance} s are tolerated: the request was held up on its way, or somebody plays an old \
         one again, or this machine's clock is ahead"
    )]
    Old {
        /// In seconds.
        age: i64,
        /// In seconds.
        tolerance: u32,
    },
    /// Not sent yet.
    #[error(
        "it is {ahead} s ahead, and {tolerance} s are tolerated: this machine's clock, or the sender's, is wrong"
    )]
    Ahead {
        /// In seconds.
        ahead: i64,
        /// In seconds.
        tolerance: u32,
    },
}

/// What is wrong with a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Nothing of the right kind.
    #[error(
        "the header has no entry that begins with {VERSION:?}: it reads v1,BASE64, with a blank before each further one"
    )]
    NoEntry,
    /// Not what base64 of a SHA-256 looks like.
    #[error("what follows {VERSION:?} is not the base64 of 32 bytes: it was cut or changed on its way")]
    Malformed,
    /// It fits something near.
    #[error("it does not fit, but it would {0}")]
    Near(Near),
    /// It fits nothing.
    #[error(
        "it fits none of the secrets: another secret signed this, or id, timestamp or body are not byte for byte what \
         arrived"
    )]
    Mismatch,
}

/// What a signature that does not fit was made from. Each is a mistake that is often made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Near {
    /// The body has a line break too many.
    WithoutLineBreak,
    /// The body was read and written again.
    AsItWasWritten,
    /// Id and timestamp were left out.
    BodyAlone,
    /// The id was left out.
    WithoutId,
    /// The key is the text, not what it stands for.
    TextAsKey,
    /// The same without its beginning.
    UndecodedKey,
}

impl std::fmt::Display for Near {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::WithoutLineBreak => "without the line break at the body's end: take the body as it arrived",
            Self::AsItWasWritten => {
                "with the body as bday writes it: this one was parsed and written again (blanks, order, escapes); take \
                 the bytes as they arrived"
            }
            Self::BodyAlone => "with the body alone: what is signed is id, timestamp and body, joined by dots",
            Self::WithoutId => "without the id: what is signed is id, timestamp and body, joined by dots",
            Self::TextAsKey => {
                "with the secret's text as the key: the key is what the base64 behind whsec_ stands for"
            }
            Self::UndecodedKey => {
                "with the secret's base64, undecoded, as the key: the key is the bytes that it stands for"
            }
        })
    }
}

/// Both parts by themselves: a request must stand both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examination {
    /// How old it is, in seconds.
    pub timestamp: Result<i64, TimestampError>,
    /// Which secret it fits, from 0.
    pub signature: Result<usize, SignatureError>,
}

impl Examination {
    /// Whether a receiver should take the request.
    #[must_use]
    pub fn verifies(&self) -> bool {
        self.timestamp.is_ok() && self.signature.is_ok()
    }
}

/// Examines a request at `now` (seconds since 1970, UTC). `tolerance` is in seconds, to either side.
#[must_use]
pub fn examine(secrets: &[Secret], claim: &Claim<'_>, now: i64, tolerance: u32) -> Examination {
    Examination {
        timestamp: timestamp(claim.timestamp, now, tolerance),
        signature: signature(secrets, claim),
    }
}

fn timestamp(text: &str, now: i64, tolerance: u32) -> Result<i64, TimestampError> {
    let at: i64 = text.parse().map_err(|_| TimestampError::Unreadable(text.chars().take(40).collect()))?;
    let age = now.saturating_sub(at);
    if at >= MILLISECONDS {
        Err(TimestampError::Milliseconds(at))
    } else if age > tolerance.into() {
        Err(TimestampError::Old { age, tolerance })
    } else if -age > tolerance.into() {
        Err(TimestampError::Ahead { ahead: -age, tolerance })
    } else {
        Ok(age)
    }
}

fn signature(secrets: &[Secret], claim: &Claim<'_>) -> Result<usize, SignatureError> {
    let entries: Vec<&str> =
        claim.signature.split_ascii_whitespace().filter_map(|entry| entry.strip_prefix(VERSION)).collect();
    if entries.is_empty() {
        return Err(SignatureError::NoEntry);
    }
    let given: Vec<Vec<u8>> = entries
        .into_iter()
        .filter_map(|entry| STANDARD.decode(entry).ok())
        .filter(|mac| mac.len() == 32)
        .collect();
    if given.is_empty() {
        return Err(SignatureError::Malformed);
    }
    if let Some(fitting) = secrets.iter().position(|secret| fits(secret, claim, &given)) {
        return Ok(fitting);
    }
    let near = secrets.iter().find_map(|secret| near(secret, claim, &given));
    Err(near.map_or(SignatureError::Mismatch, SignatureError::Near))
}

fn fits(secret: &Secret, claim: &Claim<'_>, given: &[Vec<u8>]) -> bool {
    fits_key(secret.key().expose_secret(), claim, given)
}

fn fits_key(key: &[u8], claim: &Claim<'_>, given: &[Vec<u8>]) -> bool {
    let Claim { id, timestamp, body, .. } = claim;
    fits_parts(key, &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body], given)
}

/// Compared in constant time.
fn fits_parts(key: &[u8], parts: &[&[u8]], given: &[Vec<u8>]) -> bool {
    mac(key, parts).is_some_and(|mac| given.iter().any(|given| mac.clone().verify_slice(given).is_ok()))
}

/// Over anything, with any key: to find out what somebody else signed, and with what.
fn mac(key: &[u8], parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    for part in parts {
        mac.update(part);
    }
    Some(mac)
}

fn near(secret: &Secret, claim: &Claim<'_>, given: &[Vec<u8>]) -> Option<Near> {
    let with_body = |body: &[u8]| fits(secret, &Claim { body, ..*claim }, given);
    let with_key = |text: String| fits_key(text.as_bytes(), claim, given);
    let over = |parts: &[&[u8]]| fits_parts(secret.key().expose_secret(), parts, given);
    let rewritten = || {
        let body: Body<'_> = serde_json::from_slice(claim.body).ok()?;
        serde_json::to_vec(&body).ok()
    };
    let encoded = STANDARD.encode(secret.key().expose_secret());
    if with_body(claim.body.trim_ascii_end()) {
        Some(Near::WithoutLineBreak)
    } else if rewritten().is_some_and(|body| with_body(&body)) {
        Some(Near::AsItWasWritten)
    } else if over(&[claim.body]) {
        Some(Near::BodyAlone)
    } else if over(&[claim.timestamp.as_bytes(), b".", claim.body]) {
        Some(Near::WithoutId)
    } else if with_key(format!("{PREFIX}{encoded}")) {
        Some(Near::TextAsKey)
    } else if with_key(encoded) {
        Some(Near::UndecodedKey)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const OTHER: &str = "whsec_Zm9yIHRlc3RzLCBhbmQgZm9yIG5vdGhpbmcgZWxzZSE=";
    const NOW: i64 = 1_700_000_000;
    const BODY: &str = r#"{"message":"Hey, Björk","userId":"01a20c92-40bd-7496-a43a-0e7ed8f73c8e","eventId":"01a20c92-40bd-7496-a43a-0e7ed8f73c8f","timestamp":"2023-11-14T22:13:20Z"}"#;

    fn secret(text: &str) -> Secret {
        Secret::parse(text).expect("a secret")
    }

    fn entry(key: &[u8], parts: &[&[u8]]) -> String {
        let mac = mac(key, parts).expect("a MAC").finalize();
        format!("{VERSION}{}", STANDARD.encode(mac.into_bytes()))
    }

    fn right() -> String {
        entry(secret(SECRET).key().expose_secret(), &[b"msg_1.1700000000.", BODY.as_bytes()])
    }

    fn judge(signature: &str, body: &str) -> Result<usize, SignatureError> {
        let claim = Claim { id: "msg_1", timestamp: "1700000000", signature, body: body.as_bytes() };
        examine(&[secret(OTHER), secret(SECRET)], &claim, NOW, 300).signature
    }

    #[test]
    fn one_fitting_signature_of_several_is_enough() {
        assert_eq!(judge(&right(), BODY), Ok(1));
        let several = format!("v1a,AAAA v1,{} {}", STANDARD.encode([0; 32]), right());
        assert_eq!(judge(&several, BODY), Ok(1));
    }

    #[test]
    fn a_signature_that_does_not_fit_is_told_why() {
        use SignatureError::{Malformed, Mismatch, NoEntry};
        let near = |signature: &str, body: &str| match judge(signature, body) {
            Err(SignatureError::Near(near)) => Some(near),
            _ => None,
        };
        assert_eq!(judge("", BODY), Err(NoEntry));
        assert_eq!(judge(right().trim_start_matches(VERSION), BODY), Err(NoEntry));
        assert_eq!(judge("v1,AAAA", BODY), Err(Malformed));
        assert_eq!(judge(&right()[..20], BODY), Err(Malformed));
        assert_eq!(judge(&right(), "{}"), Err(Mismatch));
        assert_eq!(near(&right(), &format!("{BODY}\n")), Some(Near::WithoutLineBreak));
        let parsed: serde_json::Value = serde_json::from_str(BODY).expect("JSON");
        let pretty = serde_json::to_string_pretty(&parsed).expect("JSON");
        assert_eq!(near(&right(), &pretty), Some(Near::AsItWasWritten));
        let secret = secret(SECRET);
        let key = secret.key().expose_secret();
        assert_eq!(near(&entry(key, &[BODY.as_bytes()]), BODY), Some(Near::BodyAlone));
        let without_id = entry(key, &[b"1700000000.", BODY.as_bytes()]);
        assert_eq!(near(&without_id, BODY), Some(Near::WithoutId));
        for (text, mistake) in [(SECRET, Near::TextAsKey), (&SECRET[PREFIX.len()..], Near::UndecodedKey)] {
            let signature = entry(text.as_bytes(), &[b"msg_1.1700000000.", BODY.as_bytes()]);
            assert_eq!(near(&signature, BODY), Some(mistake));
        }
    }

    #[test]
    fn a_timestamp_is_tolerated_to_either_side() {
        let judge = |text: &str| timestamp(text, NOW, 300);
        assert_eq!(judge("1699999700"), Ok(300));
        assert_eq!(judge("1700000300"), Ok(-300));
        assert_eq!(judge("1699999699"), Err(TimestampError::Old { age: 301, tolerance: 300 }));
        assert_eq!(judge("1700000301"), Err(TimestampError::Ahead { ahead: 301, tolerance: 300 }));
        assert_eq!(judge("1700000000000"), Err(TimestampError::Milliseconds(1_700_000_000_000)));
        assert_eq!(judge("-9223372036854775808").map_err(drop), Err(()));
        for text in ["", "now", "1700000000.5", " 1700000000"] {
            assert!(matches!(judge(text), Err(TimestampError::Unreadable(_))), "{text:?}");
        }
    }
}
