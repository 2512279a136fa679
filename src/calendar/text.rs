//! Values that are one short string everywhere: in CSV, JSON, on the command line and in the database.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{self, Deserializer, Visitor};

/// What was given, shortened: an error must not carry a 100 MB line along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given(Box<str>);

impl Given {
    const MAX_CHARS: usize = 60;

    pub(super) fn new(text: &str) -> Self {
        match text.char_indices().nth(Self::MAX_CHARS) {
            None => Self(text.into()),
            Some((end, _)) => Self(format!("{}…", &text[..end]).into()),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Given {
    /// In quotes and escaped, so that a NUL byte or a newline shows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Deserializes through [`FromStr`] without keeping a copy of the input.
pub(super) fn deserialize<'de, D, T>(deserializer: D, expecting: &'static str) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    struct Text<T>(&'static str, PhantomData<T>);

    impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }

    deserializer.deserialize_str(Text(expecting, PhantomData))
}

/// Implements serde for a type as the string of its `Display` and `FromStr`.
macro_rules! serde_as_text {
    ($type:ty, $expecting:literal) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::calendar::text::deserialize(deserializer, $expecting)
            }
        }
    };
}

pub(super) use serde_as_text;
