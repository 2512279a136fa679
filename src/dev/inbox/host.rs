//! Protection against DNS rebinding, by which a foreign web page makes its own name resolve to this machine.

use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::header::HOST;
use axum::http::uri::Authority;

/// Returns whether `Host` is an address or a name without a dot, such as `localhost` or a container's. Such a name cannot
/// be registered, so no foreign web page is served under it. Browsers always send `Host`.
pub(super) fn is_local_name(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else {
        return true;
    };
    let authority = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
    authority.is_some_and(|authority| {
        let name = authority.host();
        !name.contains('.') || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_addresses_and_names_without_a_dot_are_local() {
        for (host, expected) in [
            ("localhost", true),
            ("LocalHost:8025", true),
            ("inbox:8025", true),
            ("127.0.0.1:8025", true),
            ("192.0.2.7", true),
            ("[::1]:8025", true),
            ("[2001:db8::7]", true),
            ("[::ffff:192.0.2.7]:8025", true),
            ("rebound.example:8025", false),
            ("localhost.example", false),
            ("127.0.0.1.example:80", false),
        ] {
            let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
            assert_eq!(is_local_name(&headers), expected, "{host}");
        }
        assert!(is_local_name(&HeaderMap::new()));
    }
}
