//! A file line by line, in bounded memory: 100 MB on one line are one bad line.

use std::io::BufRead;

/// No honest line is longer.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// What a line is.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// Text without its line end.
    Text(&'a str),
    /// Over the limit; its bytes were passed over.
    TooLong(u64),
    /// Not UTF-8, from this byte of the line on.
    NotUtf8(usize),
}

impl Line<'_> {
    /// In words, for whoever wrote the file. Of a text there is nothing to say.
    #[must_use]
    pub fn problem(&self) -> String {
        match self {
            Line::Text(_) => String::new(),
            Line::TooLong(bytes) => {
                format!(
                    "the line has {bytes} bytes; {MAX_LINE_BYTES} is the most: is a line end missing, or are line ends CR \
                     alone? Save the file with LF or CRLF line ends"
                )
            }
            Line::NotUtf8(at) => format!("byte {} of the line is not UTF-8: save the file as UTF-8", at + 1),
        }
    }
}

/// Reads lines.
#[derive(Debug)]
pub struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    number: u64,
    bytes: u64,
}

impl<R: BufRead> Lines<R> {
    /// From the beginning of `input`.
    pub fn new(input: R) -> Self {
        Self { input, buffer: Vec::with_capacity(256), number: 0, bytes: 0 }
    }

    /// The number of the last line that was read, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How much was read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next line; none at the end.
    pub fn next_line(&mut self) -> std::io::Result<Option<Line<'_>>> {
        self.buffer.clear();
        let mut length = 0_u64;
        let mut ended = false;
        while !ended {
            let chunk = match self.input.fill_buf() {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                chunk => chunk?,
            };
            if chunk.is_empty() {
                break;
            }
            let (taken, end) = match chunk.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (chunk.len(), false),
            };
            ended = end;
            length += taken as u64;
            if self.buffer.len() <= MAX_LINE_BYTES {
                self.buffer.extend_from_slice(&chunk[..taken]);
            }
            self.input.consume(taken);
        }
        if length == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.bytes += length;
        if length > MAX_LINE_BYTES as u64 {
            // A long line must not keep its memory either.
            self.buffer = Vec::with_capacity(256);
            return Ok(Some(Line::TooLong(length)));
        }
        while self.buffer.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            self.buffer.pop();
        }
        Ok(Some(match std::str::from_utf8(&self.buffer) {
            Ok(text) => Line::Text(text),
            Err(error) => Line::NotUtf8(error.valid_up_to()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    #[test]
    fn a_long_line_is_one_bad_line_and_the_next_is_read() {
        let text = format!("a\n{}\r\nb", "x".repeat(1_000_000));
        let mut lines = Lines::new(BufReader::new(text.as_bytes()));
        assert_eq!(lines.next_line().expect("it reads"), Some(Line::Text("a")));
        assert_eq!(lines.next_line().expect("it reads"), Some(Line::TooLong(1_000_002)));
        assert!(lines.buffer.capacity() < 1000);
        assert_eq!(lines.next_line().expect("it reads"), Some(Line::Text("b")));
        assert_eq!(lines.next_line().expect("it reads"), None);
        assert_eq!(lines.number(), 3);
    }

    #[test]
    fn a_line_that_is_not_utf8_is_named_with_its_place() {
        let mut lines = Lines::new(&b"ab\xff\nc\n"[..]);
        assert_eq!(lines.next_line().expect("it reads"), Some(Line::NotUtf8(2)));
        assert_eq!(lines.next_line().expect("it reads"), Some(Line::Text("c")));
    }
}
