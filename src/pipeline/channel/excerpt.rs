//! Bytes from outside as text that is safe to store and to print.

use crate::calendar::text::escape;

pub(super) const MAX_BYTES: usize = 512;

/// Returns the first 512 bytes as text. Replaces invalid UTF-8; escapes control characters and bidirectional overrides.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    let kept = &bytes[..bytes.len().min(MAX_BYTES)];
    let text = String::from_utf8_lossy(kept);
    let mut text = &*text;
    if kept.len() == MAX_BYTES {
        // Omits a character that was cut in two.
        text = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
    }
    escape(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_unchanged_and_control_characters_are_escaped() {
        assert_eq!(excerpt("{\"error\":\"zu groß\"}".as_bytes()), "{\"error\":\"zu groß\"}");
        assert_eq!(excerpt(b"a\r\n\tb\0\x1b[31m"), "a\\r\\n\\tb\\u{0}\\u{1b}[31m");
        assert_eq!(excerpt("a\u{202e}b".as_bytes()), "a\\u{202e}b");
        assert_eq!(excerpt(b"caf\xe9 x"), "caf\u{fffd} x");
    }

    #[test]
    fn an_excerpt_ends_between_two_characters() {
        let text = format!("{}ß and more", "x".repeat(511));
        assert_eq!(excerpt(text.as_bytes()), "x".repeat(511));
        assert_eq!(excerpt(&[b'x'; 9999]).len(), 512);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_stored_and_printed(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
            let text = excerpt(&bytes);
            prop_assert!(text.chars().count() <= 5000);
            prop_assert!(!text.chars().any(char::is_control));
        }
    }
}
