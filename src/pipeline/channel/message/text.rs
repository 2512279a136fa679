//! Texts of one line.

/// The length that RFC 5322 recommends for a line of a header.
const MAX_SUBJECT_CHARS: usize = 78;

/// Replaces line breaks and other control characters by blanks: a line break would end a header.
pub(super) fn one_line(text: &str) -> String {
    let is_break = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let line: String = text.chars().map(|c| if is_break(c) { ' ' } else { c }).collect();
    line.trim().to_owned()
}

/// Returns the first line of `text` that is not blank, cut between two words at 78 characters.
pub(in super::super) fn subject_of(text: &str) -> String {
    let first = text.lines().map(one_line).find(|line| !line.is_empty()).unwrap_or_default();
    let Some((end, _)) = first.char_indices().nth(MAX_SUBJECT_CHARS) else {
        return first;
    };
    // One character less, for the ellipsis.
    let end = first[..end].char_indices().next_back().map_or(end, |(last, _)| last);
    let words = first[..end].rsplit_once(' ').map(|(words, _)| words.trim_end());
    // The first word may be that long.
    let kept = words.filter(|words| words.chars().count() > MAX_SUBJECT_CHARS / 2).unwrap_or(&first[..end]);
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_no_line_break() {
        assert_eq!(one_line("a\r\nBcc: b\u{2028}c\u{85}d\n"), "a  Bcc: b c d");
    }

    #[test]
    fn a_subject_is_the_first_line_up_to_78_characters() {
        assert_eq!(subject_of("\n  Hey, Ada\nand all"), "Hey, Ada");
        assert_eq!(subject_of(" \n "), "");
        let line = "x".repeat(78);
        assert_eq!(subject_of(&line), line);
        assert_eq!(subject_of(&format!("{line}y")), format!("{}…", "x".repeat(77)));
        let words = "ü".repeat(50) + " " + &"é".repeat(40);
        assert_eq!(subject_of(&words), "ü".repeat(50) + "…");
    }
}
