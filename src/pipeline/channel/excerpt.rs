//! What strangers send, as text that can be stored, printed and looked at.

/// This much of it is kept.
pub(super) const MOST_BYTES: usize = 512;

/// The first 512 bytes of `bytes` as text: what is no UTF-8 is replaced, and what would steer a terminal or turn a line
/// around is escaped.
#[must_use]
pub fn excerpt(bytes: &[u8]) -> String {
    let bytes = &bytes[..bytes.len().min(MOST_BYTES)];
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if steers(c) {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        // A character that the cut went through is just left out.
        let cut = bytes.len() == MOST_BYTES
            && bytes.ends_with(chunk.invalid())
            && starts_a_character(chunk.invalid());
        if !chunk.invalid().is_empty() && !cut {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}

/// Controls, line breaks of any kind, and what changes the direction of text.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn starts_a_character(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| *first >= 0xc2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_stays_as_it_is_and_controls_are_escaped() {
        assert_eq!(excerpt("{\"error\":\"zu groß\"}".as_bytes()), "{\"error\":\"zu groß\"}");
        assert_eq!(excerpt(b"a\r\n\tb\0\x1b[31m"), "a\\r\\n\\tb\\u{0}\\u{1b}[31m");
        assert_eq!(excerpt("a\u{202e}b".as_bytes()), "a\\u{202e}b");
        assert_eq!(excerpt(b"caf\xe9 x"), "caf\u{fffd} x");
    }

    #[test]
    fn it_is_cut_between_two_characters() {
        let text = format!("{}ß and more", "x".repeat(511));
        assert_eq!(excerpt(text.as_bytes()), "x".repeat(511));
        assert_eq!(excerpt(&[b'x'; 9999]).len(), 512);
    }

    proptest! {
        #[test]
        fn whatever_comes_can_be_stored_and_printed(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
            let text = excerpt(&bytes);
            prop_assert!(text.chars().count() <= 5000);
            prop_assert!(!text.chars().any(char::is_control));
        }
    }
}
