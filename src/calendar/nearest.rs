//! Which zone was probably meant by a name that is none.

use std::sync::LazyLock;

use super::zone::Zone;

/// No zone's name is longer than 40; a longer text is no misspelt name.
const MAX_LEN: usize = 64;
const MAX_NAMES: usize = 3;

/// A name, made comparable: lower case, underscores for spaces.
struct Name {
    whole: String,
    /// Where the part after the last slash begins.
    city: usize,
    /// The bytes in `whole` as a set of bits; a few share one.
    letters: u64,
}

impl Name {
    fn new(name: &str) -> Self {
        let whole = name.to_ascii_lowercase().replace(' ', "_");
        let city = whole.rfind('/').map_or(0, |slash| slash + 1);
        let letters = whole.bytes().fold(0, |set, byte| set | 1 << (byte % 64));
        Self { whole, city, letters }
    }

    fn city(&self) -> &str {
        &self.whole[self.city..]
    }

    fn has_area(&self) -> bool {
        self.city > 0
    }
}

static CANDIDATES: LazyLock<Vec<(Name, &'static str)>> =
    LazyLock::new(|| Zone::all().map(|zone| (Name::new(zone.name()), zone.name())).collect());

/// How a candidate was found, best first, then how far off it is.
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
    let given = given.trim();
    if given.is_empty() || given.len() > MAX_LEN {
        return Vec::new();
    }
    let given = Name::new(given);
    let mut found: Vec<(Likeness, &'static str)> =
        CANDIDATES.iter().filter_map(|(name, shown)| Some((likeness(&given, name)?, *shown))).collect();
    found.sort_unstable();
    let certain = matches!(found.first(), Some((Likeness::Spelling, _)));
    found.into_iter().map(|(_, name)| name).take(if certain { 1 } else { MAX_NAMES }).collect()
}

fn likeness(given: &Name, name: &Name) -> Option<Likeness> {
    if given.whole == name.whole {
        return Some(Likeness::Spelling);
    }
    let likeness = if given.city() == name.city() {
        Likeness::City
    } else if name.has_area() && !given.has_area() {
        Likeness::CityTypo(edits(given.city(), name.city())?)
    } else {
        // An edit brings in one letter and takes one away at most: comparing sets spares most distances.
        let strange = (given.letters ^ name.letters).count_ones() as usize;
        if strange > 2 * allowed_edits(&given.whole) {
            return None;
        }
        Likeness::Typo(edits(&given.whole, &name.whole)?)
    };
    // POSIX turned the sign round: Etc/GMT+5 is five hours behind. Who writes "GMT+5" means the opposite.
    (!name.whole.contains("gmt")).then_some(likeness)
}

/// One in four letters, so that `IST` or `PST`, where everything is near everything, suggest nothing.
fn allowed_edits(given: &str) -> usize {
    given.len() / 4
}

/// The edit distance, where it is small for that length.
fn edits(given: &str, name: &str) -> Option<usize> {
    let allowed = allowed_edits(given);
    if given.len().abs_diff(name.len()) > allowed {
        return None;
    }
    Some(strsim::osa_distance(given, name)).filter(|edits| *edits <= allowed)
}
