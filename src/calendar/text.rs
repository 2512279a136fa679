//! Values that are written as a short text: in CSV, JSON, on the command line and in the database.

use std::borrow::Cow;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {given:?}: {problem}")]
pub struct InvalidText {
    what: &'static str,
    given: String,
    problem: Cow<'static, str>,
}

impl InvalidText {
    /// `what` is a short error, such as "invalid date".
    pub(crate) fn new(what: &'static str, given: &str, problem: impl Into<Cow<'static, str>>) -> Self {
        Self { what, given: shortened(given), problem: problem.into() }
    }
}

/// Returns the first 60 characters of `text`: an error must not contain a line of 100 MB.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// Escapes control characters, and those that change the direction of writing: text from outside must not control a terminal.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
                escaped.extend(c.escape_unicode());
            }
            c if c.is_control() => escaped.extend(c.escape_default()),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Formats the names of an enum: `expected a, b or c`.
pub(crate) fn expected(names: &[&str]) -> String {
    match names {
        [others @ .., last] if !others.is_empty() => format!("expected {} or {last}", others.join(", ")),
        _ => format!("expected {}", names.concat()),
    }
}

/// Defines an enum with a name for each variant: `ALL`, `as_str`, `Display` and `FromStr`.
macro_rules! named_enum {
    (
        $(#[$meta:meta])*
        pub enum $type:ident ($what:literal) {
            $($(#[$variant_meta:meta])* $variant:ident = $name:literal,)+
        }
    ) => {
        $(#[$meta])*
        pub enum $type {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $type {
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// The name in the database, the API, files and metrics.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::calendar::InvalidText;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                use $crate::calendar::text::{InvalidText, expected};
                let found = Self::ALL.into_iter().find(|value| value.as_str() == text);
                found.ok_or_else(|| InvalidText::new(concat!("unknown ", $what), text, expected(&[$($name),+])))
            }
        }
    };
}

/// Implements serde for a type as the string of its `Display` and `FromStr`.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use {named_enum, serde_as_text};
