//! Examines a received request, for authors of receivers: whether it verifies, and if not, why. The MAC is computed here and not by
//! the code that signs, so that each checks the other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::calendar::text::shortened;
use crate::pipeline::channel::signature::{PREFIX, Secret, VERSION};
use crate::pipeline::channel::webhook::Body;

/// CurrentUser times in milliseconds are larger than this; in seconds they are smaller.
const MILLISECONDS: i64 = 100_000_000_000;

/// What a receiver was sent: the three headers, and the body byte for byte.
pub(super) struct Claim<'a> {
    pub(super) id: &'a str,
    pub(super) timestamp: &'a str,
    pub(super) signature: &'a str,
    pub(super) body: &'a [u8],
}

/// Both parts by themselves; an error is a text for the user.
pub(super) struct Examination {
    /// The age in seconds.
    pub(super) timestamp: Result<i64, String>,
    /// The position of the secret that signed, from 0.
    pub(super) signature: Result<usize, String>,
}

impl Examination {
    pub(super) fn verifies(&self) -> bool {
        self.timestamp.is_ok() && self.signature.is_ok()
    }
}

/// Examines a request at `now` (seconds since 1970, UTC). `tolerance` is in seconds, to either side.
pub(super) fn examine(secrets: &[Secret], claim: &Claim<'_>, now: i64, tolerance: u32) -> Examination {
    Examination {
        timestamp: timestamp(claim.timestamp, now, tolerance),
        signature: signature(secrets, claim),
    }
}

fn timestamp(text: &str, now: i64, tolerance: u32) -> Result<i64, String> {
    let Ok(at) = text.parse::<i64>() else {
        return Err(format!("{:?} is not a whole number of seconds since 1970", shortened(text)));
    };
    let age = now.saturating_sub(at);
    if at >= MILLISECONDS {
        Err(format!("{at} is in milliseconds; it must be in seconds"))
    } else if age > tolerance.into() {
        Err(format!(
            "it is {age} s old; the tolerance is {tolerance} s: the request was delayed or replayed, or this machine's \
             clock is ahead"
        ))
    } else if -age > tolerance.into() {
        let ahead = -age;
        Err(format!(
            "it is {ahead} s ahead; the tolerance is {tolerance} s: this machine's clock or the sender's is wrong"
        ))
    } else {
        Ok(age)
    }
}

fn signature(secrets: &[Secret], claim: &Claim<'_>) -> Result<usize, String> {
    let entries = claim.signature.split_ascii_whitespace().filter_map(|entry| entry.strip_prefix(VERSION));
    let entries: Vec<&str> = entries.collect();
    if entries.is_empty() {
        return Err(format!(
            "the header has no entry that begins with {VERSION:?}: it reads v1,BASE64, with a blank before each \
             further one"
        ));
    }
    let macs = entries.into_iter().filter_map(|entry| STANDARD.decode(entry).ok());
    let given: Vec<Vec<u8>> = macs.filter(|mac| mac.len() == 32).collect();
    if given.is_empty() {
        return Err(format!(
            "what follows {VERSION:?} is not the base64 of 32 bytes: it was cut or changed on its way"
        ));
    }
    let signed = |secret: &Secret| fits(secret.key(), &claim.parts(claim.body), &given);
    if let Some(position) = secrets.iter().position(signed) {
        return Ok(position);
    }
    Err(match secrets.iter().find_map(|secret| mistake(secret, claim, &given)) {
        Some(mistake) => format!("it does not fit, but it would {mistake}"),
        None => "it fits none of the secrets: another secret signed this, or id, timestamp or body are not byte for byte \
                 what arrived"
            .to_owned(),
    })
}

impl<'a> Claim<'a> {
    /// The signed content, with `body` in place of the claim's own.
    fn parts(&self, body: &'a [u8]) -> [&'a [u8]; 5] {
        [self.id.as_bytes(), b".", self.timestamp.as_bytes(), b".", body]
    }
}

/// Compares in constant time.
fn fits(key: &[u8], parts: &[&[u8]], given: &[Vec<u8>]) -> bool {
    mac(key, parts).is_some_and(|mac| given.iter().any(|given| mac.clone().verify_slice(given).is_ok()))
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    for part in parts {
        mac.update(part);
    }
    Some(mac)
}

/// Finds the common mistake that explains the signature, if one does.
fn mistake(secret: &Secret, claim: &Claim<'_>, given: &[Vec<u8>]) -> Option<&'static str> {
    let key = secret.key();
    let encoded = STANDARD.encode(key);
    let text = format!("{PREFIX}{encoded}");
    let parsed = serde_json::from_slice::<Body<'_>>(claim.body);
    let rewritten = parsed.and_then(|body| serde_json::to_vec(&body)).unwrap_or_default();
    let whole = claim.parts(claim.body);
    let mistakes: [(&[u8], &[&[u8]], _); 6] = [
        (
            key,
            &claim.parts(claim.body.trim_ascii_end()),
            "without the line break at the body's end: take the body as it arrived",
        ),
        (
            key,
            &claim.parts(&rewritten),
            "with the body as bday writes it: this one was parsed and written again (blanks, order, escapes); take the \
             bytes as they arrived",
        ),
        (key, &[claim.body], "with the body alone: what is signed is id, timestamp and body, joined by dots"),
        (key, &whole[2..], "without the id: what is signed is id, timestamp and body, joined by dots"),
        (
            text.as_bytes(),
            &whole,
            "with the secret's text as the key: the key is what the base64 behind whsec_ stands for",
        ),
        (
            encoded.as_bytes(),
            &whole,
            "with the secret's base64, undecoded, as the key: the key is the bytes that it stands for",
        ),
    ];
    let found = mistakes.into_iter().find(|(key, parts, _)| fits(key, parts, given));
    found.map(|(_, _, explanation)| explanation)
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
        entry(secret(SECRET).key(), &[b"msg_1.1700000000.", BODY.as_bytes()])
    }

    fn judge(signature: &str, body: &str) -> Result<usize, String> {
        let claim = Claim { id: "msg_1", timestamp: "1700000000", signature, body: body.as_bytes() };
        examine(&[secret(OTHER), secret(SECRET)], &claim, NOW, 300).signature
    }

    #[test]
    fn one_matching_signature_of_several_is_enough() {
        assert_eq!(judge(&right(), BODY), Ok(1));
        let several = format!("v1a,AAAA v1,{} {}", STANDARD.encode([0; 32]), right());
        assert_eq!(judge(&several, BODY), Ok(1));
    }

    #[test]
    fn a_signature_that_does_not_match_is_explained() {
        let parsed: serde_json::Value = serde_json::from_str(BODY).expect("JSON");
        let pretty = serde_json::to_string_pretty(&parsed).expect("JSON");
        let secret = secret(SECRET);
        let over = |parts: &[&[u8]]| entry(secret.key(), parts);
        let with_key = |key: &str| entry(key.as_bytes(), &[b"msg_1.1700000000.", BODY.as_bytes()]);
        for (signature, body, explanation) in [
            (String::new(), BODY, "no entry"),
            (right().trim_start_matches(VERSION).to_owned(), BODY, "no entry"),
            ("v1,AAAA".to_owned(), BODY, "not the base64 of 32 bytes"),
            (right()[..20].to_owned(), BODY, "not the base64 of 32 bytes"),
            (right(), "{}", "fits none of the secrets"),
            (right(), &format!("{BODY}\n"), "without the line break"),
            (right(), &pretty, "as bday writes it"),
            (over(&[BODY.as_bytes()]), BODY, "with the body alone"),
            (over(&[b"1700000000.", BODY.as_bytes()]), BODY, "without the id"),
            (with_key(SECRET), BODY, "with the secret's text"),
            (with_key(&SECRET[PREFIX.len()..]), BODY, "undecoded"),
        ] {
            let error = judge(&signature, body).expect_err(explanation);
            assert!(error.contains(explanation), "{explanation}: {error}");
        }
    }

    #[test]
    fn a_timestamp_is_tolerated_to_either_side() {
        let judge = |text: &str| timestamp(text, NOW, 300);
        assert_eq!(judge("1699999700"), Ok(300));
        assert_eq!(judge("1700000300"), Ok(-300));
        for (text, explanation) in [
            ("1699999699", "301 s old"),
            ("1700000301", "301 s ahead"),
            ("1700000000000", "in milliseconds"),
            ("-9223372036854775808", "s old"),
            ("", "not a whole number"),
            ("now", "not a whole number"),
            ("1700000000.5", "not a whole number"),
            (" 1700000000", "not a whole number"),
        ] {
            let error = judge(text).expect_err(explanation);
            assert!(error.contains(explanation), "{text:?}: {error}");
        }
    }
}
