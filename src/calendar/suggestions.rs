//! Suggestions for a time zone name that does not exist.

use std::sync::LazyLock;

/// No zone's name is longer than 40 characters.
const MAX_LEN: usize = 64;
const MAX_NAMES: usize = 3;

static CANDIDATES: LazyLock<Vec<(String, &'static str)>> =
    LazyLock::new(|| chrono_tz::TZ_VARIANTS.iter().map(|tz| (normalize(tz.name()), tz.name())).collect());

/// How a candidate resembles the given name, most similar first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Similarity {
    /// The same except for case, underscores, and blanks around it.
    Spelling,
    /// The same last part: `Berlin` for `Europe/Berlin`, `Asia/Berlin` too.
    City,
    /// The edit distance.
    Typo(usize),
    /// The edit distance to the last part, if no area is given.
    CityTypo(usize),
}

/// Returns up to three names, most similar first; a name that differs only in spelling is returned alone.
pub(super) fn similar_names(given: &str) -> Vec<&'static str> {
    let given = normalize(given.trim());
    if given.is_empty() || given.len() > MAX_LEN {
        return Vec::new();
    }
    let mut found: Vec<(Similarity, &'static str)> =
        CANDIDATES.iter().filter_map(|(name, shown)| Some((similarity(&given, name)?, *shown))).collect();
    found.sort_unstable();
    let certain = matches!(found.first(), Some((Similarity::Spelling, _)));
    found.into_iter().map(|(_, name)| name).take(if certain { 1 } else { MAX_NAMES }).collect()
}

fn normalize(name: &str) -> String {
    name.to_ascii_lowercase().replace(' ', "_")
}

fn similarity(given: &str, name: &str) -> Option<Similarity> {
    if given == name {
        return Some(Similarity::Spelling);
    }
    let similarity = if city(given) == city(name) {
        Similarity::City
    } else if name.contains('/') && !given.contains('/') {
        Similarity::CityTypo(edits(given, city(name))?)
    } else {
        Similarity::Typo(edits(given, name)?)
    };
    // In POSIX Etc/GMT+5 is five hours behind UTC; people who write "GMT+5" mean the opposite.
    (!name.contains("gmt")).then_some(similarity)
}

fn city(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, city)| city)
}

/// Returns the edit distance, if it is at most one in four letters: `IST` and `PST` resemble too many names.
fn edits(given: &str, name: &str) -> Option<usize> {
    let allowed = given.len() / 4;
    // An edit adds and removes at most one letter: comparing lengths and sets avoids most calculations.
    let different = (letters(given) ^ letters(name)).count_ones() as usize;
    if given.len().abs_diff(name.len()) > allowed || different > 2 * allowed {
        return None;
    }
    Some(strsim::osa_distance(given, name)).filter(|edits| *edits <= allowed)
}

/// Returns the bytes of `name` as a set of bits; some share a bit.
fn letters(name: &str) -> u64 {
    name.bytes().fold(0, |set, byte| set | 1 << (byte % 64))
}
