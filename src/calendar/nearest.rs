//! Suggestions for a time zone name that does not exist.

use std::sync::LazyLock;

/// No zone's name is longer than 40; a longer text is no misspelt name.
const MAX_LEN: usize = 64;
const MAX_NAMES: usize = 3;

static CANDIDATES: LazyLock<Vec<(String, &'static str)>> =
    LazyLock::new(|| chrono_tz::TZ_VARIANTS.iter().map(|tz| (comparable(tz.name()), tz.name())).collect());

/// How a candidate resembles the given name, best first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Likeness {
    /// The same but for case, spaces for underscores, and blanks around it.
    Spelling,
    /// The same last part: `Berlin` for `Europe/Berlin`, `Asia/Berlin` too.
    City,
    /// This many letters added, dropped, changed or swapped.
    Typo(usize),
    /// This many in the last part, the area being absent.
    CityTypo(usize),
}

/// At most three names, best first. One that differs in spelling alone leaves no doubt and stands alone.
pub(super) fn names(given: &str) -> Vec<&'static str> {
    let given = comparable(given.trim());
    if given.is_empty() || given.len() > MAX_LEN {
        return Vec::new();
    }
    let mut found: Vec<(Likeness, &'static str)> =
        CANDIDATES.iter().filter_map(|(name, shown)| Some((likeness(&given, name)?, *shown))).collect();
    found.sort_unstable();
    let certain = matches!(found.first(), Some((Likeness::Spelling, _)));
    found.into_iter().map(|(_, name)| name).take(if certain { 1 } else { MAX_NAMES }).collect()
}

fn comparable(name: &str) -> String {
    name.to_ascii_lowercase().replace(' ', "_")
}

fn likeness(given: &str, name: &str) -> Option<Likeness> {
    if given == name {
        return Some(Likeness::Spelling);
    }
    let likeness = if city(given) == city(name) {
        Likeness::City
    } else if name.contains('/') && !given.contains('/') {
        Likeness::CityTypo(edits(given, city(name))?)
    } else {
        Likeness::Typo(edits(given, name)?)
    };
    // In POSIX Etc/GMT+5 is five hours behind UTC; people who write "GMT+5" mean the opposite.
    (!name.contains("gmt")).then_some(likeness)
}

fn city(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, city)| city)
}

/// The edit distance, if it is at most one in four letters: `IST` and `PST` resemble too many names.
fn edits(given: &str, name: &str) -> Option<usize> {
    let allowed = given.len() / 4;
    // An edit adds and removes at most one letter: comparing lengths and sets avoids most calculations.
    let strange = (letters(given) ^ letters(name)).count_ones() as usize;
    if given.len().abs_diff(name.len()) > allowed || strange > 2 * allowed {
        return None;
    }
    Some(strsim::osa_distance(given, name)).filter(|edits| *edits <= allowed)
}

/// The bytes of `name` as a set of bits; a few share one.
fn letters(name: &str) -> u64 {
    name.bytes().fold(0, |set, byte| set | 1 << (byte % 64))
}
