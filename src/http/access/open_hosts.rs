//! The host names under which no token is required while `http.auth` is off.
//!
//! A page of another site can make its own name resolve to this machine (DNS rebinding). Its requests then reach this listener, and the
//! browser takes them for requests to that site. They have that name in `Host`; an address there cannot be rebound.

use std::net::IpAddr;

use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue};

use crate::calendar::text::shortened;
use crate::config::HttpConfig;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenHosts {
    /// The host of `http.public_url`.
    public: Option<String>,
}

impl From<&HttpConfig> for OpenHosts {
    fn from(config: &HttpConfig) -> Self {
        let url = config.public_base().and_then(|base| reqwest::Url::parse(&base).ok());
        Self { public: url.and_then(|url| url.host_str().map(str::to_owned)) }
    }
}

impl OpenHosts {
    /// Returns why a request requires a token. Browsers always send `Host`.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), String> {
        match headers.get(HOST) {
            Some(host) if !self.includes(host) => Err(format!(
                "http.auth is off, and the request is for the host {:?}: use localhost, an IP address or the host of \
                 http.public_url, or send a token",
                shortened(&String::from_utf8_lossy(host.as_bytes()))
            )),
            _ => Ok(()),
        }
    }

    fn includes(&self, host: &HeaderValue) -> bool {
        let Some(authority) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else {
            return false;
        };
        let name = authority.host().to_ascii_lowercase();
        let is_address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        is_address
            || name == "localhost"
            || name.ends_with(".localhost")
            || self.public.as_ref().is_some_and(|public| public.eq_ignore_ascii_case(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_the_public_host_are_open() {
        let hosts = OpenHosts { public: Some("bday.example.org".to_owned()) };
        let is_open = |host: &str| {
            let host = HeaderValue::from_str(host).expect("a header");
            hosts.check(&[(HOST, host)].into_iter().collect()).is_ok()
        };
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "bday.localhost:8080",
            "127.0.0.1:8080",
            "127.1.2.3",
            "[::1]:8080",
            "[::1]",
            "10.0.0.7:8080",
            "bday.example.org",
            "Bday.Example.org:443",
        ] {
            assert!(is_open(host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "notlocalhost",
            "127.0.0.1.evil.example",
            "bday.example.org.evil.example",
            "bday:8080",
            "localhost@evil.example",
            "",
            "a b",
        ] {
            assert!(!is_open(host), "{host}");
        }
        assert!(hosts.check(&HeaderMap::new()).is_ok());
    }
}
