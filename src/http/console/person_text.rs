//! People in words: names, kinds, zones.

use uuid::Uuid;

use crate::calendar::{Zone, format_count};
use crate::model::{BIRTHDAY, User};

/// Longest name in a list: 50 names of 400 characters would be most of a page.
const MAX_LISTED_CHARS: usize = 60;

/// Returns the path of the page of a person.
pub(super) fn person_path(id: Uuid) -> String {
    format!("/people/{id}")
}

pub(super) fn full_name(user: &User) -> String {
    format!("{} {}", user.first_name, user.last_name).trim_end().to_owned()
}

/// Returns the name for a list.
pub(super) fn listed_name(user: &User) -> String {
    let name = full_name(user);
    match name.char_indices().nth(MAX_LISTED_CHARS) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name,
    }
}

/// Returns the kind with blanks: `work anniversary`.
pub(super) fn kind_in_words(kind: &str) -> String {
    kind.replace('_', " ")
}

pub(super) fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// Returns the kind with the years since its date, as far as they are known: `birthday, 36 years`.
pub(super) fn kind_with_years(kind: &str, years: Option<u32>) -> String {
    let kind = kind_in_words(kind);
    match years {
        Some(years) => format!("{kind}, {}", format_count(years, "year", "years")),
        None => kind,
    }
}

/// As [`kind_with_years`], but `turns 36` for a birthday.
pub(super) fn age_or_years(kind: &str, years: Option<u32>) -> String {
    match years {
        Some(years) if kind == BIRTHDAY => format!("turns {years}"),
        None if kind == BIRTHDAY => String::new(),
        years => kind_with_years(kind, years),
    }
}

/// Returns the names of all zones, for `<datalist>`.
pub(super) fn zone_names() -> impl Iterator<Item = &'static str> {
    Zone::all().map(Zone::name)
}
