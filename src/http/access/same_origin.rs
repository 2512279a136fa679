//! Protection against requests that other sites make a browser send.

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether a browser sent the request from a page of this host. Browsers leave out `Sec-Fetch-Site` on plain HTTP to other machines;
/// then `Origin` must name the host of the request. A request with neither is refused.
pub(in crate::http) fn is_same_origin(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get(FETCH_SITE) {
        return site == "same-origin";
    }
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let (Some(origin), Some(host)) = (text(ORIGIN), text(HOST)) else {
        return false;
    };
    origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        is_same_origin(&headers.collect())
    }

    #[test]
    fn only_pages_of_the_same_host_may_send_a_form() {
        let host = ("host", "bday.example:8080");
        for (same, headers) in [
            (true, vec![("sec-fetch-site", "same-origin"), host]),
            (false, vec![("sec-fetch-site", "same-site"), host, ("origin", "http://bday.example:8080")]),
            (false, vec![("sec-fetch-site", "cross-site"), host]),
            (false, vec![("sec-fetch-site", "none"), host]),
            (true, vec![("origin", "http://bday.example:8080"), host]),
            (true, vec![("origin", "https://BDAY.example:8080"), host]),
            (false, vec![("origin", "http://bday.example"), host]),
            (false, vec![("origin", "http://evil.example"), host]),
            (false, vec![("origin", "null"), host]),
            (false, vec![host]),
            (false, vec![("origin", "http://bday.example:8080")]),
        ] {
            assert_eq!(check(&headers), same, "{headers:?}");
        }
    }
}
