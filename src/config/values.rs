//! Values beyond the types of TOML, each with an error that says what is expected.

use std::net::SocketAddr;

use serde::de::{DeserializeOwned, Error as _, IntoDeserializer as _};
use serde::{Deserialize, Deserializer};

/// One of a few words. (The error of an enum does not list them.)
pub(super) fn word<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    T::deserialize(text.as_str().into_deserializer()).map_err(|error: serde::de::value::Error| {
        D::Error::custom(error.to_string().replacen("unknown variant", "unknown value", 1))
    })
}

/// An address with its port.
pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        D::Error::custom(format!(
            "{text:?} is not an address with a port, such as 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080"
        ))
    })
}

/// Seconds, one or more. In a variable, a list of one is written like a number, and the numbers of a list are texts.
pub(super) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
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
    list.into_iter()
        .map(|seconds| match seconds {
            Seconds::Number(seconds) => Ok(seconds),
            Seconds::Text(text) => text.trim().parse().map_err(|_| expected()),
        })
        .collect()
}
