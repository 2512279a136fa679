//! Protection against requests that other sites make a browser send.

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether a browser sent the request from a page of this host. Browsers leave out `Sec-Fetch-Site` on plain HTTP to other machines;
/// then `Origin` must name the host of the request. A request with neither is refused.
pub(in crate::http) fn is_same_origin(headers: &HeaderMap) -> bool {
    has_same_origin(headers) == Some(true)
}

/// Whether a browser sent the request from a page of another site. Other programs send neither header.
pub(super) fn is_of_other_site(headers: &HeaderMap) -> bool {
    has_same_origin(headers) == Some(false)
}

fn has_same_origin(headers: &HeaderMap) -> Option<bool> {
    if let Some(site) = headers.get(FETCH_SITE) {
        return Some(site == "same-origin");
    }
    let origin = headers.get(ORIGIN)?.to_str().unwrap_or_default();
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    Some(authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host)))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn check(headers: &[(&'static str, &'static str)]) -> (bool, bool) {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let headers = headers.collect();
        (is_same_origin(&headers), is_of_other_site(&headers))
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
            (false, vec![("origin", "http://bday.example:8080")]),
        ] {
            assert_eq!(check(&headers), (same, !same), "{headers:?}");
        }
        assert_eq!(check(&[host]), (false, false));
    }
}
