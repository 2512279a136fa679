//! The section `[webhook]`.

use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

use super::values;
use crate::config::source::Reference;
use crate::model::ChannelName;
use crate::pipeline::channel::signature::{self, MAX_SECRETS};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    pub url: Reference,
    #[serde(deserialize_with = "secrets")]
    pub secrets: Vec<Reference>,
    #[serde(rename = "timeout_secs", deserialize_with = "values::seconds")]
    pub timeout: Duration,
    #[serde(rename = "connect_timeout_secs", deserialize_with = "values::seconds")]
    pub connect_timeout: Duration,
    pub allow_http: bool,
    pub tls_root_cert: String,
    #[serde(deserialize_with = "values::variant")]
    pub addresses: Addresses,
    #[serde(deserialize_with = "allow_ranges")]
    pub allow_ranges: Vec<IpNet>,
    #[serde(deserialize_with = "deny_ranges")]
    pub deny_ranges: Vec<IpNet>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Addresses {
    Any,
    /// Only addresses on the Internet.
    Public,
}

impl WebhookConfig {
    /// Returns errors by position in the list. A secret from another source is checked when it is fetched.
    pub(super) fn secret_errors(&self) -> Vec<String> {
        let all = self.secrets.len();
        if all > MAX_SECRETS {
            return vec![format!(
                "webhook.secrets has {all} entries: the maximum is {MAX_SECRETS}, and a rotation needs two"
            )];
        }
        let literals = self.secrets.iter().map(Reference::literal);
        (1..)
            .zip(literals)
            .filter_map(|(n, secret)| {
                let error = signature::parse_secrets(secret?).err()?;
                Some(format!(
                    "webhook.secrets, number {n} of {all}, {error}: give whsec_… (`bday webhook secret` creates one), or a \
                     source that begins with env:, file:, ssm: or secretsmanager:"
                ))
            })
            .collect()
    }
}

fn secrets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Reference>, D::Error> {
    // The error of a reference contains no more than a prefix.
    list(deserializer, "webhook.secrets", str::parse)
}

pub(super) fn channels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ChannelName>, D::Error> {
    list(deserializer, "channels", str::parse)
}

fn allow_ranges<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    list(deserializer, "webhook.allow_ranges", range)
}

fn deny_ranges<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    list(deserializer, "webhook.deny_ranges", range)
}

/// Parses a range or an address.
pub(super) fn range(text: &str) -> Result<IpNet, String> {
    IpNet::from_str(text)
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| format!("{text:?} is not a range such as 10.0.0.0/8 or fd00::/8"))
}

/// Deserializes a list, or a text with commas as in a variable.
pub(super) fn list<'de, D: Deserializer<'de>, T, E: Display>(
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
        // The original error may contain a secret.
        Err(_) => return Err(wrong(&"expected a list of texts")),
    };
    texts
        .iter()
        .filter(|text| !text.is_empty())
        .map(|text| read(text).map_err(|error| wrong(&error)))
        .collect()
}
