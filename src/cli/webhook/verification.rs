//! Verifies a received request and explains failures, for authors of receivers. Computes the MAC independently of the code
//! that signs, so that each checks the other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::calendar::text::shortened;
use crate::pipeline::channel::signature::{PREFIX, Secret, VERSION};
use crate::pipeline::channel::webhook::Body;

/// Current times in milliseconds are larger, in seconds smaller.
const MILLISECONDS: i64 = 100_000_000_000;

/// The three headers, and the body byte for byte.
pub(super) struct SignedRequest<'a> {
    pub(super) id: &'a str,
    pub(super) timestamp: &'a str,
    pub(super) signature: &'a str,
    pub(super) body: &'a [u8],
}

/// The errors are for users.
pub(super) struct Verification {
    /// The age in seconds.
    pub(super) timestamp: Result<i64, String>,
    /// The position of the secret that signed, from 0.
    pub(super) signature: Result<usize, String>,
}

impl Verification {
    pub(super) fn succeeded(&self) -> bool {
        self.timestamp.is_ok() && self.signature.is_ok()
    }
}

/// Verifies a request at `now` (seconds since 1970, UTC). `tolerance` is in seconds, to either side.
pub(super) fn verify(
    secrets: &[Secret],
    request: &SignedRequest<'_>,
    now: i64,
    tolerance: u32,
) -> Verification {
    Verification {
        timestamp: verify_timestamp(request.timestamp, now, tolerance),
        signature: verify_signature(secrets, request),
    }
}

fn verify_timestamp(text: &str, now: i64, tolerance: u32) -> Result<i64, String> {
    let at: i64 = text
        .parse()
        .map_err(|_| format!("{:?} is not a whole number of seconds since 1970", shortened(text)))?;
    let age = now.saturating_sub(at);
    if at >= MILLISECONDS {
        Err(format!("{at} is in milliseconds: it must be in seconds"))
    } else if age > tolerance.into() {
        Err(format!(
            "{age} s old; the tolerance is {tolerance} s: the request was delayed or replayed, or this machine's clock is \
             ahead"
        ))
    } else if -age > tolerance.into() {
        let ahead = -age;
        Err(format!(
            "{ahead} s ahead; the tolerance is {tolerance} s: this machine's clock or the sender's is wrong"
        ))
    } else {
        Ok(age)
    }
}

fn verify_signature(secrets: &[Secret], request: &SignedRequest<'_>) -> Result<usize, String> {
    let entries = request.signature.split_ascii_whitespace().filter_map(|entry| entry.strip_prefix(VERSION));
    let entries: Vec<&str> = entries.collect();
    if entries.is_empty() {
        return Err(format!(
            "the header has no entry that begins with {VERSION:?}: expected v1,BASE64, entries separated by blanks"
        ));
    }
    let macs = entries.into_iter().filter_map(|entry| STANDARD.decode(entry).ok());
    let macs: Vec<Vec<u8>> = macs.filter(|mac| mac.len() == 32).collect();
    if macs.is_empty() {
        return Err(format!(
            "the text after {VERSION:?} is not the base64 of 32 bytes: it was truncated or changed in transit"
        ));
    }
    let signed = |secret: &Secret| matches(secret.key(), &request.content(request.body), &macs);
    if let Some(position) = secrets.iter().position(signed) {
        return Ok(position);
    }
    Err(match secrets.iter().find_map(|secret| common_mistake(secret, request, &macs)) {
        Some(mistake) => format!("does not match, but does {mistake}"),
        None => "no secret matches: it was signed with another secret, or id, timestamp or body differ from what arrived"
            .to_owned(),
    })
}

impl<'a> SignedRequest<'a> {
    /// The signed content, with `body` in place of the request's own.
    fn content(&self, body: &'a [u8]) -> [&'a [u8]; 5] {
        [self.id.as_bytes(), b".", self.timestamp.as_bytes(), b".", body]
    }
}

/// Compares in constant time.
fn matches(key: &[u8], content: &[&[u8]], macs: &[Vec<u8>]) -> bool {
    mac(key, content).is_some_and(|mac| macs.iter().any(|given| mac.clone().verify_slice(given).is_ok()))
}

fn mac(key: &[u8], content: &[&[u8]]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    for part in content {
        mac.update(part);
    }
    Some(mac)
}

/// Returns the common mistake that explains the signature, if one does.
fn common_mistake(secret: &Secret, request: &SignedRequest<'_>, macs: &[Vec<u8>]) -> Option<&'static str> {
    let key = secret.key();
    let base64 = STANDARD.encode(key);
    let text = format!("{PREFIX}{base64}");
    let body = serde_json::from_slice::<Body<'_>>(request.body);
    let rewritten = body.and_then(|body| serde_json::to_vec(&body)).unwrap_or_default();
    let content = request.content(request.body);
    let mistakes: [(&[u8], &[&[u8]], _); 6] = [
        (
            key,
            &request.content(request.body.trim_ascii_end()),
            "without the line break at the body's end: use the body as it arrived",
        ),
        (
            key,
            &request.content(&rewritten),
            "with the body as bday writes it: this body was parsed and serialized again; use the bytes as they arrived",
        ),
        (key, &[request.body], "with the body alone: sign id, timestamp and body, joined by dots"),
        (key, &content[2..], "without the id: sign id, timestamp and body, joined by dots"),
        (text.as_bytes(), &content, "with the secret's text as the key: decode the base64 after whsec_"),
        (base64.as_bytes(), &content, "with the secret's base64 as the key: decode it"),
    ];
    let found = mistakes.into_iter().find(|(key, content, _)| matches(key, content, macs));
    found.map(|(_, _, mistake)| mistake)
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

    fn valid() -> String {
        entry(secret(SECRET).key(), &[b"msg_1.1700000000.", BODY.as_bytes()])
    }

    fn check(signature: &str, body: &str) -> Result<usize, String> {
        let request =
            SignedRequest { id: "msg_1", timestamp: "1700000000", signature, body: body.as_bytes() };
        verify(&[secret(OTHER), secret(SECRET)], &request, NOW, 300).signature
    }

    #[test]
    fn one_matching_signature_of_several_is_enough() {
        assert_eq!(check(&valid(), BODY), Ok(1));
        let several = format!("v1a,AAAA v1,{} {}", STANDARD.encode([0; 32]), valid());
        assert_eq!(check(&several, BODY), Ok(1));
    }

    #[test]
    fn a_signature_that_does_not_match_is_explained() {
        let parsed: serde_json::Value = serde_json::from_str(BODY).expect("JSON");
        let pretty = serde_json::to_string_pretty(&parsed).expect("JSON");
        let secret = secret(SECRET);
        let signed = |parts: &[&[u8]]| entry(secret.key(), parts);
        let with_key = |key: &str| entry(key.as_bytes(), &[b"msg_1.1700000000.", BODY.as_bytes()]);
        for (signature, body, explanation) in [
            (String::new(), BODY, "no entry"),
            (valid().trim_start_matches(VERSION).to_owned(), BODY, "no entry"),
            ("v1,AAAA".to_owned(), BODY, "not the base64 of 32 bytes"),
            (valid()[..20].to_owned(), BODY, "not the base64 of 32 bytes"),
            (valid(), "{}", "no secret matches"),
            (valid(), &format!("{BODY}\n"), "without the line break"),
            (valid(), &pretty, "as bday writes it"),
            (signed(&[BODY.as_bytes()]), BODY, "with the body alone"),
            (signed(&[b"1700000000.", BODY.as_bytes()]), BODY, "without the id"),
            (with_key(SECRET), BODY, "with the secret's text"),
            (with_key(&SECRET[PREFIX.len()..]), BODY, "base64 as the key"),
        ] {
            let error = check(&signature, body).expect_err(explanation);
            assert!(error.contains(explanation), "{explanation}: {error}");
        }
    }

    #[test]
    fn a_timestamp_has_a_tolerance_to_either_side() {
        let check = |text: &str| verify_timestamp(text, NOW, 300);
        assert_eq!(check("1699999700"), Ok(300));
        assert_eq!(check("1700000300"), Ok(-300));
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
            let error = check(text).expect_err(explanation);
            assert!(error.contains(explanation), "{text:?}: {error}");
        }
    }
}
