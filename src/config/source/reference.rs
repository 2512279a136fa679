//! References from the configuration to values that are stored elsewhere.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer};

/// A value, or the place where it is stored.
///
/// ```text
/// env:NAME   file:PATH   ssm:NAME   secretsmanager:ID[#KEY]   anything else is the value itself
/// ```
///
/// `Display` and `Debug` print the place, never the value.
#[derive(Clone)]
pub enum Reference {
    Literal(SecretString),
    /// An environment variable.
    Env(String),
    /// A file, without the line break at its end.
    File(PathBuf),
    /// A parameter in AWS Systems Manager, by name or ARN. A `SecureString` is decrypted.
    Ssm(String),
    /// A secret in AWS Secrets Manager.
    Secret {
        /// Name or ARN.
        id: String,
        /// The key to read, for a secret that is a JSON object.
        key: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{prefix} must be followed by {expected}")]
pub struct ReferenceError {
    prefix: &'static str,
    expected: &'static str,
}

impl Reference {
    /// Returns the value, if it is in the configuration itself.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        match self {
            Self::Literal(value) => Some(value.expose_secret()),
            _ => None,
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.literal().is_some_and(str::is_empty)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |prefix, expected| Err(ReferenceError { prefix, expected });
        // Any other prefix (`https:`, `postgres:`) is part of a value.
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
        // The error contains no more than a prefix.
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
    fn a_reference_is_shown_as_it_was_written() {
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
    fn any_other_prefix_is_part_of_a_value_and_is_not_shown() {
        for text in ["", "https://example.org/hook", "postgres://u:p@db/bday", "sesame:open", "Env:x", "p#w"]
        {
            let reference: Reference = text.parse().expect("a literal");
            assert_eq!(reference.literal(), Some(text));
            assert_eq!(format!("{reference:?}"), "Reference(the configuration)");
        }
    }

    #[test]
    fn a_prefix_alone_is_rejected() {
        for text in ["env:", "file:", "ssm:", "secretsmanager:", "secretsmanager:#x", "secretsmanager:x#"] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
