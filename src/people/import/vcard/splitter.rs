//! Splits the lines of a file into cards, in bounded memory.

use std::collections::BTreeSet;

use super::property::name_of;
use crate::people::import::lines::{Line, MAX_LINE_BYTES};

/// Without its pictures.
const MAX_CARD_BYTES: usize = MAX_LINE_BYTES;
/// These can have megabytes, and are left out.
const BINARY: [&str; 5] = ["PHOTO", "LOGO", "SOUND", "KEY", "X-MS-CARDPICTURE"];
/// Names that the report lists; a file may invent any number.
const MAX_NAMES: usize = 50;
const MAX_NAME_BYTES: usize = 40;

/// A card, from `BEGIN:VCARD` to `END:VCARD`, or text that is no card.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::people::import) struct Card {
    /// The line on which it begins.
    pub(in crate::people::import) line: u64,
    /// Empty if it is too long.
    pub(in crate::people::import) text: Vec<u8>,
    pub(in crate::people::import) error: Option<String>,
}

#[derive(Debug, Default)]
pub(in crate::people::import) struct CardSplitter {
    open: Option<OpenCard>,
    /// The text before the next card was reported.
    is_reported: bool,
    names: BTreeSet<String>,
}

#[derive(Debug)]
struct OpenCard {
    card: Card,
    is_binary: bool,
}

impl CardSplitter {
    /// Adds a line, and returns the card that it completes.
    pub(in crate::people::import) fn add(&mut self, number: u64, line: &Line<'_>) -> Option<Card> {
        let bytes = line.bytes();
        let bytes = if number == 1 { bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes) } else { bytes };
        let word = bytes.trim_ascii();
        if word.eq_ignore_ascii_case(b"BEGIN:VCARD") {
            self.is_reported = false;
            let card = Card { line: number, text: b"BEGIN:VCARD".to_vec(), error: None };
            let before = self.open.replace(OpenCard { card, is_binary: false });
            return before.map(OpenCard::unterminated);
        }
        let Some(open) = &mut self.open else {
            return self.outside(number, line, word);
        };
        if word.eq_ignore_ascii_case(b"END:VCARD") {
            open.card.push(b"END:VCARD");
            return self.open.take().map(|open| open.card);
        }
        let name = open.add(line, bytes).filter(|name| name.len() <= MAX_NAME_BYTES)?;
        if self.names.len() < MAX_NAMES {
            self.names.insert(name);
        }
        None
    }

    /// Returns the card that the end of the file cuts off.
    pub(in crate::people::import) fn finish(&mut self) -> Option<Card> {
        self.open.take().map(OpenCard::unterminated)
    }

    /// Returns the names of the properties of all cards, in upper case.
    pub(in crate::people::import) fn names(self) -> BTreeSet<String> {
        self.names
    }

    /// Reports text outside cards once.
    fn outside(&mut self, number: u64, line: &Line<'_>, word: &[u8]) -> Option<Card> {
        if word.is_empty() || std::mem::replace(&mut self.is_reported, true) {
            return None;
        }
        let error = match line {
            Line::Text(text) if text.contains('\r') => {
                "the line ends are CR alone: save the file with LF or CRLF line ends".to_owned()
            }
            Line::Text(_) => "is not in a card: expected BEGIN:VCARD".to_owned(),
            other => other.error(),
        };
        Some(Card { line: number, text: line.bytes().to_vec(), error: Some(error) })
    }
}

impl OpenCard {
    fn unterminated(self) -> Card {
        let mut card = self.card;
        card.error.get_or_insert_with(|| "the card has no end: expected END:VCARD".to_owned());
        card
    }

    /// Returns the name of the property that begins on this line.
    fn add(&mut self, line: &Line<'_>, bytes: &[u8]) -> Option<String> {
        let is_fold = bytes.starts_with(b" ") || bytes.starts_with(b"\t");
        // Some programs do not indent the lines of a picture.
        let is_continued = is_fold || !bytes.contains(&b':');
        if self.is_binary && is_continued {
            return None;
        }
        let name = (!is_continued).then(|| name_of(&String::from_utf8_lossy(bytes)));
        if let Some(name) = &name {
            self.is_binary = BINARY.contains(&name.as_str());
        }
        if !self.is_binary {
            if !matches!(line, Line::Text(_)) {
                self.card.error.get_or_insert_with(|| line.error());
            }
            match line {
                Line::TooLong { .. } => self.card.text = Vec::new(),
                _ => self.card.push(bytes),
            }
        }
        // A line of quoted-printable text may have a colon, too.
        let is_name = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
        name.filter(|name| !name.is_empty() && name.bytes().all(is_name))
    }
}

impl Card {
    fn push(&mut self, line: &[u8]) {
        let is_too_long = self.text.is_empty();
        if is_too_long || self.text.len() + line.len() + 1 > MAX_CARD_BYTES {
            self.text = Vec::new();
            self.error.get_or_insert_with(|| {
                format!("the card has over {MAX_CARD_BYTES} bytes, not counting pictures: shorten it")
            });
            return;
        }
        self.text.push(b'\n');
        self.text.extend(line);
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;
    use crate::people::import::lines::Lines;

    fn split(text: &[u8]) -> Vec<(u64, String, Option<String>)> {
        let mut lines = Lines::new(BufReader::new(text));
        let (mut splitter, mut cards) = (CardSplitter::default(), Vec::new());
        let mut number = 0;
        while let Some(line) = lines.next_line().expect("a line") {
            number += 1;
            cards.extend(splitter.add(number, &line));
        }
        cards.extend(splitter.finish());
        let card = |card: Card| (card.line, String::from_utf8_lossy(&card.text).into_owned(), card.error);
        cards.into_iter().map(card).collect()
    }

    const ADA: &str = "BEGIN:VCARD\nFN:Ada\nEND:VCARD";

    #[test]
    fn cards_are_found_with_their_lines() {
        let text = format!("\u{feff}{ADA}\r\n\r\n\nbegin:vcard\r\nFN:Bob\r\n x\r\nend:vcard \n");
        let bob = "BEGIN:VCARD\nFN:Bob\n x\nEND:VCARD".to_owned();
        assert_eq!(split(text.as_bytes()), [(1, ADA.to_owned(), None), (6, bob, None)]);
    }

    #[test]
    fn a_broken_card_does_not_affect_the_next() {
        let text = format!("BEGIN:VCARD\nFN:Cut\n{ADA}\nFN:stray\nFN:stray\n{ADA}\nBEGIN:VCARD\nFN:End");
        let cards = split(text.as_bytes());
        let lines: Vec<u64> = cards.iter().map(|(line, ..)| *line).collect();
        assert_eq!(lines, [1, 3, 6, 8, 11]);
        let errors: Vec<&str> =
            cards.iter().map(|(.., error)| error.as_deref().unwrap_or_default()).collect();
        assert!(errors[0].contains("END:VCARD") && errors[4].contains("END:VCARD"), "{errors:?}");
        assert!(errors[2].contains("BEGIN:VCARD"), "{errors:?}");
        assert_eq!((errors[1], errors[3]), ("", ""));
        assert_eq!((&*cards[0].1, &*cards[2].1), ("BEGIN:VCARD\nFN:Cut", "FN:stray"));
    }

    #[test]
    fn pictures_are_left_out() {
        let data = "A".repeat(200_000);
        let folded = "/9j/4AAQ\n".repeat(10_000);
        let text = format!(
            "BEGIN:VCARD\nPHOTO;ENCODING=b:{data}\nFN:Ada\nitem1.LOGO:x\n {data}\nUID:1\nPHOTO;BASE64:\n{folded}\nTZ:UTC\nEND:VCARD"
        );
        let expected = "BEGIN:VCARD\nFN:Ada\nUID:1\nTZ:UTC\nEND:VCARD".to_owned();
        assert_eq!(split(text.as_bytes()), [(1, expected, None)]);
    }

    #[test]
    fn a_card_over_the_limit_is_one_invalid_card() {
        let long = format!("NOTE:{}\n", "x".repeat(1000)).repeat(70);
        let line = format!("NOTE:{}\n", "x".repeat(100_000));
        for notes in [long, line] {
            let text = format!("{ADA}\nBEGIN:VCARD\nFN:Long\n{notes}END:VCARD\n{ADA}");
            let cards = split(text.as_bytes());
            assert_eq!(cards.len(), 3);
            assert!(cards[1].2.as_deref().is_some_and(|error| error.contains("65536")), "{cards:?}");
            assert_eq!((&cards[0].2, &cards[2].2), (&None, &None));
        }
    }

    #[test]
    fn a_file_in_another_format_is_one_error() {
        let cards = split(b"first_name,last_name\nAda,Lovelace\n");
        assert_eq!((cards.len(), cards[0].0), (1, 1));
        let cards = split(b"BEGIN:VCARD\rFN:Ada\rEND:VCARD");
        assert!(cards[0].2.as_deref().is_some_and(|error| error.contains("CR alone")), "{cards:?}");
        let cards = split(b"BEGIN:VCARD\nFN:Zo\xeb\nEND:VCARD");
        assert!(cards[0].2.as_deref().is_some_and(|error| error.contains("UTF-8")), "{cards:?}");
    }
}
