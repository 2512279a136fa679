//! `[webhook]`

use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

use super::values;
use crate::config::source::Reference;
use crate::pipeline::channel::signature::{self, MAX_SECRETS};

/// `[webhook]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    pub url: Reference,
    #[serde(deserialize_with = "secrets")]
    pub secrets: Vec<Reference>,
    pub timeout_secs: u64,
    pub connect_timeout_secs: u64,
    pub allow_http: bool,
    pub tls_root_cert: String,
    #[serde(deserialize_with = "values::word")]
    pub addresses: Addresses,
    #[serde(deserialize_with = "allow_ranges")]
    pub allow_ranges: Vec<IpNet>,
    #[serde(deserialize_with = "deny_ranges")]
    pub deny_ranges: Vec<IpNet>,
}

/// `webhook.addresses`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Addresses {
    /// All addresses.
    Any,
    /// Only addresses on the public Internet.
    Public,
}

impl Webhook {
    /// Errors of secrets, by their place in the list. A secret that is stored elsewhere is checked when it is fetched.
    pub(super) fn wrong_secrets(&self) -> Vec<String> {
        let all = self.secrets.len();
        if all > MAX_SECRETS {
            return vec![format!(
                "webhook.secrets has {all} entries; {MAX_SECRETS} at the most: a rotation needs two"
            )];
        }
        let literals = self.secrets.iter().map(Reference::literal);
        (1..)
            .zip(literals)
            .filter_map(|(n, secret)| {
                let error = signature::parse_secrets(secret?).err()?;
                Some(format!(
                    "webhook.secrets, number {n} of {all}, {error}: give whsec_… (`bday webhook secret` makes one), or \
                     env:, file:, ssm: or secretsmanager: and where it is"
                ))
            })
            .collect()
    }
}

fn secrets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Reference>, D::Error> {
    // The error of a reference names a prefix at the most.
    list(deserializer, "webhook.secrets", str::parse)
}

fn allow_ranges<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    list(deserializer, "webhook.allow_ranges", range)
}

fn deny_ranges<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    list(deserializer, "webhook.deny_ranges", range)
}

/// A range, or one address.
fn range(text: &str) -> Result<IpNet, String> {
    IpNet::from_str(text)
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| format!("{text:?} is not a range such as 10.0.0.0/8 or fd00::/8"))
}

/// A list, or a text with commas as in a variable.
fn list<'de, D: Deserializer<'de>, T, E: Display>(
    deserializer: D,
    key: &str,
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Texts {
        One(String),
        More(Vec<String>),
    }
    let wrong = |problem: &dyn Display| serde::de::Error::custom(format!("{key}: {problem}"));
    let texts = match Texts::deserialize(deserializer) {
        Ok(Texts::One(text)) => text.split(',').map(|text| text.trim().to_owned()).collect(),
        Ok(Texts::More(texts)) => texts,
        // The original error could repeat a secret.
        Err(_) => return Err(wrong(&"a list of texts is expected")),
    };
    texts
        .iter()
        .filter(|text| !text.is_empty())
        .map(|text| read(text).map_err(|error| wrong(&error)))
        .collect()
}
