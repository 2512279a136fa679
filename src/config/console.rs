use ipnet::IpNet;
use reqwest::header::HeaderName;
use serde::{Deserialize, Deserializer};

use super::webhook::{list, range};

/// The users that a reverse proxy signs in to the console.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleConfig {
    #[serde(deserialize_with = "proxy_networks")]
    pub proxy_networks: Vec<IpNet>,
    #[serde(deserialize_with = "identity_header")]
    pub identity_header: Option<HeaderName>,
    #[serde(deserialize_with = "identities")]
    pub readers: Vec<String>,
    #[serde(deserialize_with = "identities")]
    pub writers: Vec<String>,
    #[serde(deserialize_with = "identities")]
    pub admins: Vec<String>,
}

fn proxy_networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    list(deserializer, "console.proxy_networks", range)
}

fn identities<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    list(deserializer, "console.readers, writers or admins", |text| Ok::<_, String>(text.to_owned()))
}

fn identity_header<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<HeaderName>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        let problem =
            format!("console.identity_header: {text:?} is no header name: use one such as X-Forwarded-User");
        serde::de::Error::custom(problem)
    })
}

impl ConsoleConfig {
    /// Returns an error if only one of the two settings that name a proxy is given.
    pub(super) fn errors(&self) -> Vec<String> {
        let error = match (self.proxy_networks.is_empty(), self.identity_header.is_none()) {
            (true, false) => {
                "console.identity_header is set, but console.proxy_networks is empty: name the networks of the proxy, or every \
                 client could choose its identity"
            }
            (false, true) => {
                "console.proxy_networks is set, but console.identity_header is empty: name the header, such as X-Forwarded-User"
            }
            _ => return Vec::new(),
        };
        vec![error.to_owned()]
    }
}
