//! Pages of lists, and the cursors between them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Datelike as _};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::fields::Number;
use crate::store::{SearchCursor, TimeCursor};

const MAX_LIMIT: u32 = 500;
const DEFAULT_LIMIT: u32 = 50;
const INVALID_CURSOR: &str = "invalid cursor: give `next` of the page before";

pub(super) type Limit = Option<Number<MAX_LIMIT>>;

/// The items that a page may have.
pub(super) fn items(limit: Limit) -> u32 {
    limit.map_or(DEFAULT_LIMIT, |Number(limit)| limit)
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Page<T> {
    pub(in crate::http) items: Vec<T>,
    /// The `cursor` of the next page; null on the last page.
    pub(in crate::http) next: Option<String>,
}

impl<T> Page<T> {
    /// Returns the first `limit` of `items`, of which there is one more if another page follows.
    pub(in crate::http) fn by_time(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> TimeCursor) -> Self {
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = items.last().filter(|_| more).map(|item| TimeCursorText(cursor(item)).to_string());
        Self { items, next }
    }
}

/// A [`TimeCursor`] as text: microseconds since 1970 and the id.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(in crate::http) struct TimeCursorText(pub(in crate::http) TimeCursor);

impl fmt::Display for TimeCursorText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.0.at.timestamp_micros(), self.0.id.simple())
    }
}

impl TryFrom<String> for TimeCursorText {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let read = || {
            let (micros, id) = text.split_once('_')?;
            let at = DateTime::from_timestamp_micros(micros.parse().ok()?)?;
            // PostgreSQL has fewer years than chrono.
            let plausible = (1..=9999).contains(&at.year()) && id.len() == 32;
            let id = Uuid::try_parse(id).ok().filter(|_| plausible)?;
            Some(Self(TimeCursor { at, id }))
        };
        read().ok_or(INVALID_CURSOR)
    }
}

/// A [`SearchCursor`] as text: the id, and the text that matched in base64, which is empty without a search.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(in crate::http) struct UserCursorText(pub(in crate::http) SearchCursor);

impl UserCursorText {
    /// Returns the error of a cursor of a list with a search in a list without, or the reverse.
    pub(in crate::http) fn check(&self, is_search: bool) -> Result<(), &'static str> {
        if self.0.key.is_empty() == is_search { Err(INVALID_CURSOR) } else { Ok(()) }
    }
}

impl fmt::Display for UserCursorText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.0.id.simple(), URL_SAFE_NO_PAD.encode(&self.0.key))
    }
}

impl TryFrom<String> for UserCursorText {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let read = || {
            let (id, key) = text.split_at_checked(32)?;
            let key = String::from_utf8(URL_SAFE_NO_PAD.decode(key).ok()?).ok()?;
            // PostgreSQL accepts no NUL in a text.
            let id = Uuid::try_parse(id).ok().filter(|_| !key.contains('\0'))?;
            Some(Self(SearchCursor { key, id }))
        };
        read().ok_or(INVALID_CURSOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cursors_of_events_that_bday_writes_are_read() {
        let read = |text: &str| TimeCursorText::try_from(text.to_owned()).map(|cursor| cursor.to_string());
        let valid = "1780000000000000_0198f0c05b7e7cc398c4dc0c0c07398f";
        assert_eq!(read(valid).as_deref(), Ok(valid));
        for invalid in [
            "",
            "_",
            "x_0198f0c05b7e7cc398c4dc0c0c07398f",
            "1_1",
            "9223372036854775807_0198f0c05b7e7cc398c4dc0c0c07398f",
            "-9000000000000000000_0198f0c05b7e7cc398c4dc0c0c07398f",
        ] {
            assert!(read(invalid).is_err(), "{invalid}");
        }
    }
}
