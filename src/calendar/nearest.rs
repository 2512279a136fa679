//! Which zone was probably meant by a name that is none.

use super::zone::Zone;

/// No zone's name is longer than 40; a longer text is no misspelt name.
const MAX_LEN: usize = 64;
const MAX_NAMES: usize = 3;

/// How a candidate was found, best first, then how far off it is.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
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

pub(super) fn names(given: &str) -> Vec<&'static str> {
    let given = normalized(given.trim());
    if given.is_empty() || given.len() > MAX_LEN {
        return Vec::new();
    }
    let mut found: Vec<(Likeness, &'static str)> = Zone::all()
        .map(Zone::name)
        .filter_map(|name| Some((likeness(&given, name)?, name)))
        .collect();
    found.sort_unstable();
    if found.iter().any(|(likeness, _)| *likeness == Likeness::Spelling) {
        found.truncate(1);
    }
    found.into_iter().map(|(_, name)| name).take(MAX_NAMES).collect()
}

fn normalized(name: &str) -> String {
    name.to_ascii_lowercase().replace(' ', "_")
}

fn likeness(given: &str, name: &str) -> Option<Likeness> {
    let name = normalized(name);
    if given == name {
        return Some(Likeness::Spelling);
    }
    // POSIX turned the sign round: Etc/GMT+5 is five hours behind. Who writes "GMT+5" means the opposite.
    if name.starts_with("etc/gmt") {
        return None;
    }
    let (given_city, city) = (last_part(given), last_part(&name));
    if given_city == city {
        return Some(Likeness::City);
    }
    if let Some(edits) = edits(given, &name) {
        return Some(Likeness::Typo(edits));
    }
    if given.contains('/') {
        None
    } else {
        edits(given, city).map(Likeness::CityTypo)
    }
}

fn last_part(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The edit distance where it is small for that length: one in four letters, so that three letters, where everything
/// is near everything, suggest nothing.
fn edits(given: &str, name: &str) -> Option<usize> {
    let allowed = given.len() / 4;
    if given.len().abs_diff(name.len()) > allowed {
        return None;
    }
    Some(strsim::osa_distance(given, name)).filter(|edits| *edits <= allowed)
}
