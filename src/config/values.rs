//! Deserializers of values that TOML has no type for. Each error says what is expected.

use std::net::SocketAddr;
use std::time::Duration;

use serde::de::{DeserializeOwned, Error as _, IntoDeserializer as _};
use serde::{Deserialize, Deserializer};

/// A variant of an enum. (The error of a derived enum does not list the variants.)
pub(super) fn variant<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    T::deserialize(text.as_str().into_deserializer()).map_err(|error: serde::de::value::Error| {
        D::Error::custom(error.to_string().replacen("unknown variant", "unknown value", 1))
    })
}

pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        D::Error::custom(format!(
            "{text:?} is not an address with a port, such as 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080"
        ))
    })
}

pub(super) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}

/// A list of seconds. From a variable, a list of one is a number, and the items of a longer list are texts.
pub(super) fn list_of_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seconds {
        Number(u64),
        Text(String),
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMore {
        One(Seconds),
        More(Vec<Seconds>),
    }
    let expected = || D::Error::custom("expected seconds, separated by commas, such as 30,120,600,1800");
    let list = match OneOrMore::deserialize(deserializer).map_err(|_| expected())? {
        OneOrMore::One(seconds) => vec![seconds],
        OneOrMore::More(list) => list,
    };
    let read = |seconds| match seconds {
        Seconds::Number(seconds) => Ok(seconds),
        Seconds::Text(text) => text.trim().parse().map_err(|_| expected()),
    };
    list.into_iter().map(|seconds| read(seconds).map(Duration::from_secs)).collect()
}
