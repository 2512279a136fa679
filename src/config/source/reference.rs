//! How the configuration says where a value lives.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer};

/// A value of the configuration, or where it lives.
///
/// ```text
/// env:NAME   file:PATH   ssm:NAME   secretsmanager:ID[#KEY]   anything else is the value itself
/// ```
///
/// `Display` and `Debug` show where a value lives, never the value.
#[derive(Clone)]
pub enum Reference {
    /// The value itself.
    Literal(SecretString),
    /// A variable of the process's environment.
    Env(String),
    /// A file, as Docker and systemd hand secrets out. A line break at its end is not part of the value.
    File(PathBuf),
    /// A parameter in AWS Systems Manager, by name or ARN; decrypted where it is a `SecureString`.
    Ssm(String),
    /// A secret in AWS Secrets Manager.
    Secret {
        /// Its name or ARN.
        id: String,
        /// The key whose value is meant, where the secret is a JSON object.
        key: Option<String>,
    },
}

/// Why a text names no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{prefix} must be followed by {expected}")]
pub struct ReferenceError {
    prefix: &'static str,
    expected: &'static str,
}

impl Reference {
    /// The value, where it is written down in the configuration itself.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        match self {
            Self::Literal(value) => Some(value.expose_secret()),
            _ => None,
        }
    }

    /// Whether nothing was given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.literal().is_some_and(str::is_empty)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |prefix, expected| Err(ReferenceError { prefix, expected });
        // Another prefix (`https:`, `postgres:`) is no place, but the beginning of a value.
        match text.split_once(':') {
            Some(("env", "")) => refuse("env:", "a variable's name"),
            Some(("env", name)) => Ok(Self::Env(name.to_owned())),
            Some(("file", "")) => refuse("file:", "a path"),
            Some(("file", path)) => Ok(Self::File(path.into())),
            Some(("ssm", "")) => refuse("ssm:", "a parameter's name"),
            Some(("ssm", name)) => Ok(Self::Ssm(name.to_owned())),
            Some(("secretsmanager", secret)) => match secret.split_once('#') {
                Some(("", _)) => refuse("secretsmanager:", "a secret's name"),
                None if secret.is_empty() => refuse("secretsmanager:", "a secret's name"),
                Some((_, "")) => refuse("secretsmanager:…#", "a key"),
                Some((id, key)) => Ok(Self::Secret { id: id.to_owned(), key: Some(key.to_owned()) }),
                None => Ok(Self::Secret { id: secret.to_owned(), key: None }),
            },
            _ => Ok(Self::Literal(text.into())),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(_) => f.write_str("the configuration"),
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Ssm(name) => write!(f, "ssm:{name}"),
            Self::Secret { id, key: None } => write!(f, "secretsmanager:{id}"),
            Self::Secret { id, key: Some(key) } => write!(f, "secretsmanager:{id}#{key}"),
        }
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reference({self})")
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The error names a prefix at the most.
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Reference>().expect("a reference").to_string()
    }

    #[test]
    fn a_place_is_read_and_shown_as_it_was_written() {
        for text in [
            "env:WEBHOOK_URL",
            "file:/run/secrets/url",
            "ssm:/bday/webhook-url",
            "secretsmanager:bday/db-credentials",
            "secretsmanager:bday/db-credentials#password",
            "secretsmanager:arn:aws:secretsmanager:eu-central-1:123456789012:secret:bday/db-credentials-AbCdEf#password",
        ] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn another_prefix_is_the_beginning_of_a_value_and_is_not_shown() {
        for text in ["", "https://example.org/hook", "postgres://u:p@db/bday", "sesame:open", "Env:x", "p#w"]
        {
            let reference: Reference = text.parse().expect("a literal");
            assert_eq!(reference.literal(), Some(text));
            assert_eq!(format!("{reference:?}"), "Reference(the configuration)");
        }
    }

    #[test]
    fn a_prefix_with_nothing_behind_it_is_refused() {
        for text in ["env:", "file:", "ssm:", "secretsmanager:", "secretsmanager:#x", "secretsmanager:x#"] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
