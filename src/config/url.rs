//! Rules for the URL of the webhook.

use reqwest::Url;

use crate::pipeline::channel::http_client::literal_address;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlError {
    #[error("is empty")]
    Empty,
    #[error("is not a URL ({0})")]
    Invalid(String),
    #[error("has the scheme {0:?}; it must be http or https")]
    Scheme(String),
    #[error(
        "is http:// to another machine, which sends names and birthdays unencrypted: give an https:// URL, or, in a \
         private network, set webhook.allow_http = true (BDAY__WEBHOOK__ALLOW_HTTP=true)"
    )]
    Unencrypted,
}

/// Parses a webhook URL. The error does not repeat it, because it may contain a secret. `allow_http` permits http:// to
/// other machines.
pub(crate) fn parse_url(text: &str, allow_http: bool) -> Result<Url, UrlError> {
    if text.trim().is_empty() {
        return Err(UrlError::Empty);
    }
    let url = Url::parse(text.trim()).map_err(|error| UrlError::Invalid(error.to_string()))?;
    match url.scheme() {
        "https" if url.has_host() => Ok(url),
        "http" if url.has_host() && (allow_http || is_local(&url)) => Ok(url),
        "http" if url.has_host() => Err(UrlError::Unencrypted),
        scheme => Err(UrlError::Scheme(scheme.to_owned())),
    }
}

/// Returns whether requests to `url` stay on this machine.
pub(crate) fn is_local(url: &Url) -> bool {
    match literal_address(url) {
        Some(address) => address.to_canonical().is_loopback(),
        None => url.host_str() == Some("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_allowed_http_urls_are_accepted() {
        let parse = |text| parse_url(text, false);
        assert_eq!(parse("  "), Err(UrlError::Empty));
        assert!(matches!(parse("example.org/hook"), Err(UrlError::Invalid(_))));
        assert_eq!(parse("ftp://example.org"), Err(UrlError::Scheme("ftp".to_owned())));
        for url in ["http://example.org/hook", "http://10.0.0.1/", "http://inbox:8025/"] {
            assert_eq!(parse(url), Err(UrlError::Unencrypted), "{url}");
            assert!(parse_url(url, true).is_ok(), "{url}");
        }
        for url in
            ["https://example.org/hook", "http://127.0.0.1:8025/", "http://[::1]/", "http://localhost/x"]
        {
            assert!(parse(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn only_loopback_addresses_and_localhost_are_local() {
        let local = |urls: &str| -> Vec<bool> {
            urls.split_whitespace().map(|url| is_local(&url.parse().expect("a URL"))).collect()
        };
        let here = "http://localhost:8025/ http://LOCALHOST/ http://127.0.0.1/ http://127.1/ http://0x7f000001/ \
                    http://[::1]:1/ http://[::ffff:127.0.0.1]/";
        assert_eq!(local(here), [true; 7]);
        let elsewhere = "http://localhost.example.org/ http://example.org/localhost http://localhost@example.org/ \
                         http://10.0.0.1/ http://0.0.0.0/ http://[::]/";
        assert_eq!(local(elsewhere), [false; 6]);
    }
}
