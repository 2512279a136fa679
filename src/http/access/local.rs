//! Whether a request to a listener on loopback comes from this machine, and on behalf of somebody on it.
//!
//! Two things look local and are not: what a proxy on this machine hands on, and what a page in a browser on this machine
//! sends for whoever wrote the page. Both say so in headers that the far side cannot take away: a proxy adds its own, and a
//! browser says the page's origin, or, where a name of the page was made to point here, that name as `Host`. A proxy that is
//! set up to add none cannot be told apart; for that there is `http.auth = "required"`.

use std::net::IpAddr;

use axum::http::header::{FORWARDED, HOST, ORIGIN, VIA};
use axum::http::{HeaderMap, HeaderName};

const PROXY: [HeaderName; 5] = [
    FORWARDED,
    VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-real-ip"),
];

/// Gives the sign of the opposite.
pub(super) fn check(headers: &HeaderMap) -> Result<(), String> {
    if let Some(name) = PROXY.iter().find(|name| headers.contains_key(*name)) {
        return Err(format!(
            "this one came through a proxy (it has the header {name})"
        ));
    }
    let text = |name: HeaderName| match headers.get(name) {
        None => Some(None),
        Some(value) => value.to_str().ok().map(Some),
    };
    let here = |host: &str| is_here(host);
    if !text(HOST).is_some_and(|host| host.is_none_or(here)) {
        return Err("this one asks for another host than localhost (see its header Host)".to_owned());
    }
    let same = |origin: &str| origin.strip_prefix("http://").is_some_and(here);
    if !text(ORIGIN).is_some_and(|origin| origin.is_none_or(same)) {
        return Err("this one was sent by a page of another origin (see its header Origin)".to_owned());
    }
    Ok(())
}

/// Whether no page of a stranger can have come by this `Host`: it is an address, or a name without a dot, as `localhost`
/// or that of a container, which nobody can register and have point here.
pub(crate) fn is_no_strangers_name(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else {
        // A browser sends one.
        return true;
    };
    host.to_str().is_ok_and(|host| {
        let name = without_port(host);
        !name.contains('.') || ip(name).is_some()
    })
}

/// Whether `host`, with or without a port, is this machine whatever a name server says.
fn is_here(host: &str) -> bool {
    let name = without_port(host);
    name.eq_ignore_ascii_case("localhost") || ip(name).is_some_and(|ip| ip.is_loopback())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn ip(name: &str) -> Option<IpAddr> {
    name.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn is_local(given: &[(&'static str, &'static str)]) -> bool {
        let pairs = given
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        check(&pairs.collect()).is_ok()
    }

    #[test]
    fn what_a_person_or_a_program_here_sends_is_local() {
        for host in [
            "localhost",
            "LocalHost:8080",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]:8080",
            "[::1]",
        ] {
            assert!(is_local(&[("host", host)]), "{host}");
        }
        assert!(is_local(&[]));
        assert!(is_local(&[
            ("host", "localhost:1"),
            ("origin", "http://127.0.0.1:8080")
        ]));
    }

    #[test]
    fn what_came_through_a_proxy_or_from_a_page_is_not() {
        for (name, value) in [
            ("x-forwarded-for", "10.0.0.7"),
            ("forwarded", "for=10.0.0.7"),
            ("via", "1.1 proxy"),
            ("host", "rebound.example:8080"),
            ("host", "localhost.example"),
            ("host", "127.0.0.1.example:80"),
            ("host", "10.0.0.7:8080"),
            ("origin", "https://evil.example"),
            ("origin", "http://localhost.evil.example"),
            ("origin", "null"),
        ] {
            assert!(!is_local(&[(name, value)]), "{name}: {value}");
        }
    }
}
