//! The locales of templates.

use std::fmt;
use std::str::FromStr;

use crate::calendar::InvalidText;
use crate::model::parse_locale;

/// A language tag (BCP 47) in lower case, such as `de` or `pt-br`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locale(String);

impl Locale {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns a tag, then its shorter forms: `zh-hant-tw`, `zh-hant`, `zh` (RFC 4647, section 3.4).
pub(super) fn and_shorter(tag: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(tag), |tag| Some(tag.rsplit_once('-')?.0))
}

impl fmt::Display for Locale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Accepts the locales of users. `_` replaces `-` in names of environment variables. A language has 2 or 3 letters, which no name of a
/// template field has.
impl FromStr for Locale {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let tag = parse_locale(text).map_err(|_| {
            InvalidText::new("invalid locale", text, "expected a language tag such as de, de-AT or pt-BR")
        })?;
        Ok(Self(tag.to_ascii_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_is_compared_in_lower_case() {
        for (text, tag) in [("pt-BR", "pt-br"), ("pt_br", "pt-br"), ("DE", "de"), ("es-419", "es-419")] {
            assert_eq!(text.parse::<Locale>().expect("a locale").as_str(), tag);
        }
        for text in ["", "d", "german", "de-", "-de", "de--at", "12", "de at", "de-österreich", "text"] {
            assert!(text.parse::<Locale>().is_err(), "{text}");
        }
    }

    #[test]
    fn shorter_forms_end_with_the_language() {
        let locale: Locale = "zh-Hant-TW".parse().expect("a locale");
        assert_eq!(and_shorter(locale.as_str()).collect::<Vec<_>>(), ["zh-hant-tw", "zh-hant", "zh"]);
    }
}
