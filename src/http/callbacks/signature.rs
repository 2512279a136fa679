//! The signature of Twilio's requests (<https://www.twilio.com/docs/usage/security>): the base64 of HMAC-SHA1, keyed by the auth token,
//! over the URL and each parameter of the form, sorted by name.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Url;
use sha1::Sha1;

/// Returns whether `signature` is that of a request to `url` with `form`. The comparison takes the same time for every signature.
pub(super) fn is_valid(token: &str, signature: &str, url: &str, form: &[(String, String)]) -> bool {
    let Ok(signature) = STANDARD.decode(signature) else { return false };
    let parameters: BTreeSet<_> = form.iter().collect();
    let matches = |url: &str| {
        // A key of any length is permitted.
        let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(token.as_bytes()) else { return false };
        mac.update(url.as_bytes());
        for (name, value) in &parameters {
            mac.update(name.as_bytes());
            mac.update(value.as_bytes());
        }
        mac.verify_slice(&signature).is_ok()
    };
    // Twilio leaves the port out of some of the URLs that it signs.
    matches(url) || without_port(url).is_some_and(|url| matches(&url))
}

fn without_port(url: &str) -> Option<String> {
    let port = Url::parse(url).ok()?.port()?;
    let (scheme, rest) = url.split_once("://")?;
    Some(format!("{scheme}://{}", rest.replacen(&format!(":{port}"), "", 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Twilio's documentation and libraries.
    const URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";
    const SIGNATURE: &str = "RSOYDt4T1cUTdK1PDd93/VVr8B8=";

    fn form() -> Vec<(String, String)> {
        let pairs = [
            ("Digits", "1234"),
            ("To", "+18005551212"),
            ("From", "+14158675309"),
            ("Caller", "+14158675309"),
            ("CallSid", "CA1234567890ABCDE"),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    #[test]
    fn the_signature_of_twilios_example_is_valid() {
        assert!(is_valid("12345", SIGNATURE, URL, &form()));
        let with_port = URL.replace(".com", ".com:8443");
        assert!(is_valid("12345", SIGNATURE, &with_port, &form()));
    }

    #[test]
    fn a_change_of_any_part_makes_it_invalid() {
        assert!(!is_valid("12346", SIGNATURE, URL, &form()));
        assert!(!is_valid("12345", SIGNATURE, &URL.replace("foo=1", "foo=2"), &form()));
        assert!(!is_valid("12345", SIGNATURE, URL, &form()[1..]));
        assert!(!is_valid("12345", &SIGNATURE.replace("RSO", "RSP"), URL, &form()));
        for signature in ["", "RSO", "no base64!", &SIGNATURE[..20]] {
            assert!(!is_valid("12345", signature, URL, &form()), "{signature}");
        }
        let mut more = form();
        more.push(("Body".to_owned(), "STOP".to_owned()));
        assert!(!is_valid("12345", SIGNATURE, URL, &more));
    }
}
