//! Protection against DNS rebinding: a web page whose own name was made to resolve to this machine.

use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::header::HOST;

/// Whether `Host` is an address, or a name without a dot such as `localhost` or a container's. Such a name cannot be
/// registered, so no foreign web page can be served under it. Browsers always send `Host`.
pub(super) fn is_unregistrable(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else {
        return true;
    };
    host.to_str().is_ok_and(|host| {
        let name = without_port(host);
        !name.contains('.') || is_ip(name)
    })
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn is_ip(name: &str) -> bool {
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_addresses_and_names_without_a_dot_are_unregistrable() {
        for (host, expected) in [
            ("localhost", true),
            ("LocalHost:8025", true),
            ("inbox:8025", true),
            ("127.0.0.1:8025", true),
            ("192.0.2.7", true),
            ("[::1]:8025", true),
            ("[2001:db8::7]", true),
            ("rebound.example:8025", false),
            ("localhost.example", false),
            ("127.0.0.1.example:80", false),
        ] {
            let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
            assert_eq!(is_unregistrable(&headers), expected, "{host}");
        }
        assert!(is_unregistrable(&HeaderMap::new()));
    }
}
