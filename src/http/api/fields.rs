//! Values in bodies and queries: field types, and functions for `#[serde(deserialize_with)]`.

use std::fmt::Display;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use uuid::Uuid;

use crate::model::{parse_date, parse_instant, parse_token_name};

/// Longest list in a body.
pub(super) const MAX_ITEMS: usize = 500;

/// 1 to 200 characters, none of them a control character: what a column can hold.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct ShortText(pub(super) String);

impl TryFrom<String> for ShortText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let length = text.chars().count();
        if !(1..=200).contains(&length) {
            return Err(format!("has {length} characters: expected 1 to 200"));
        }
        if text.chars().any(char::is_control) {
            return Err("has a control character: remove it".to_owned());
        }
        Ok(Self(text))
    }
}

impl FromStr for ShortText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.to_owned().try_into()
    }
}

/// A number of a query, from 1 to `MAX`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Number<const MAX: u32>(pub(super) u32);

impl<const MAX: u32> TryFrom<String> for Number<MAX> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits && (1..=MAX).contains(number));
        number.map(Self).ok_or_else(|| format!("expected a whole number from 1 to {MAX}"))
    }
}

/// Reads a number of a body. JSON Schema counts 1.0 as a whole number.
pub(super) fn whole<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let float = || number.as_f64().filter(|n| n.fract() == 0.0 && *n >= 0.0).map(|n| n as u64);
    let whole = number.as_u64().or_else(float).filter(|n| (MIN..=MAX).contains(n));
    let error = || D::Error::custom(format!("is {number}: expected a whole number from {MIN} to {MAX}"));
    whole.map(Some).ok_or_else(error)
}

/// Reads an instant, RFC 3339 or a date.
pub(super) fn instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    parsed(deserializer, parse_instant)
}

/// Reads a date.
pub(super) fn date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NaiveDate>, D::Error> {
    parsed(deserializer, parse_date)
}

/// Reads a value from its text.
pub(super) fn text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    parsed(deserializer, str::parse)
}

/// Reads an id in the form with hyphens, the only one that bday writes.
pub(super) fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Uuid>, D::Error> {
    parsed(deserializer, parse_id)
}

pub(in crate::http) fn parse_id(text: &str) -> Result<Uuid, &'static str> {
    let id = Uuid::try_parse(text).ok().filter(|_| text.len() == 36);
    id.ok_or("invalid id: expected a UUID such as 0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f")
}

/// Reads the name of a token.
pub(super) fn token_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    parsed(deserializer, parse_token_name)
}

/// Reads `true` or `false` in a query.
pub(super) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match &*String::deserialize(deserializer)? {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(D::Error::custom("expected true or false")),
    }
}

fn parsed<'de, D: Deserializer<'de>, T, E: Display>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| parse(&text).map_err(D::Error::custom)).transpose()
}

/// Reads a list of a query: values with commas between them, in one parameter or several.
pub(super) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Texts {
        One(String),
        Several(Vec<String>),
    }

    let texts = match Texts::deserialize(deserializer)? {
        Texts::One(text) => vec![text],
        Texts::Several(texts) => texts,
    };
    let items = texts.iter().flat_map(|text| text.split(','));
    items.map(|item| item.parse().map_err(D::Error::custom)).collect()
}

/// Reads a list of a body. Null is an empty list.
pub(super) fn items<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let items = Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default();
    if items.len() > MAX_ITEMS {
        return Err(D::Error::custom(format!("has {} items: at most {MAX_ITEMS} are allowed", items.len())));
    }
    Ok(items)
}
