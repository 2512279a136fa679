//! Users whom a reverse proxy has signed in.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::config::ConsoleConfig;
use crate::model::Scope;

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// In the lists of identities: every user of the proxy.
const EVERYONE: &str = "*";

/// A proxy whose header names the user. Headers of other clients are ignored.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxy {
    networks: Vec<IpNet>,
    header: Option<HeaderName>,
    /// The identities of each scope, the highest first.
    scopes: Vec<(Scope, Vec<String>)>,
}

impl From<&ConsoleConfig> for TrustedProxy {
    fn from(config: &ConsoleConfig) -> Self {
        let lists =
            [(Scope::Admin, &config.admins), (Scope::Write, &config.writers), (Scope::Read, &config.readers)];
        Self {
            networks: config.proxy_networks.clone(),
            header: config.identity_header.clone(),
            scopes: lists.map(|(scope, list)| (scope, list.clone())).into(),
        }
    }
}

impl TrustedProxy {
    fn sent(&self, remote: Option<IpAddr>) -> bool {
        remote.is_some_and(|remote| {
            self.networks.iter().any(|network| network.contains(&remote.to_canonical()))
        })
    }

    /// Returns the user that the proxy names and their scope; none if the request is not from the proxy, or the user has no scope.
    pub(super) fn identity<'a>(
        &self,
        headers: &'a HeaderMap,
        remote: Option<IpAddr>,
    ) -> Option<(&'a str, Scope)> {
        if !self.sent(remote) {
            return None;
        }
        let mut values = headers.get_all(self.header.as_ref()?).iter();
        let name = values.next()?.to_str().ok()?.trim();
        // A second value may be that of the client.
        if name.is_empty() || values.next().is_some() {
            return None;
        }
        let is_listed = |list: &[String]| list.iter().any(|one| one == name || one == EVERYONE);
        let (scope, _) = self.scopes.iter().find(|(_, list)| is_listed(list))?;
        Some((name, *scope))
    }

    /// Whether the proxy received the request by HTTPS.
    pub(in crate::http) fn received_https(&self, headers: &HeaderMap, remote: Option<IpAddr>) -> bool {
        self.sent(remote) && headers.get(FORWARDED_PROTO).is_some_and(|proto| proto == "https")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy() -> TrustedProxy {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        TrustedProxy {
            networks: vec!["10.0.0.0/8".parse().expect("a network")],
            header: Some(HeaderName::from_static("x-forwarded-user")),
            scopes: vec![(Scope::Admin, list(&["ada@example.org"])), (Scope::Read, list(&[EVERYONE]))],
        }
    }

    fn identity(remote: &str, values: &[&'static str]) -> Option<(String, Scope)> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("x-forwarded-user", value.parse().expect("a value"));
        }
        let remote = Some(remote.parse().expect("an address"));
        proxy().identity(&headers, remote).map(|(name, scope)| (name.to_owned(), scope))
    }

    #[test]
    fn only_the_proxy_names_users() {
        let ada = Some(("ada@example.org".to_owned(), Scope::Admin));
        assert_eq!(identity("10.1.2.3", &["ada@example.org"]), ada);
        assert_eq!(identity("::ffff:10.1.2.3", &["ada@example.org"]), ada);
        assert_eq!(identity("192.0.2.1", &["ada@example.org"]), None);
    }

    #[test]
    fn a_user_without_a_list_has_the_scope_of_everyone() {
        assert_eq!(identity("10.1.2.3", &["grace"]), Some(("grace".to_owned(), Scope::Read)));
    }

    #[test]
    fn a_request_with_two_names_has_no_user() {
        assert_eq!(identity("10.1.2.3", &["grace", "ada@example.org"]), None);
        assert_eq!(identity("10.1.2.3", &[""]), None);
    }
}
