//! Reads lines in bounded memory: a line of 100 MB is one invalid line.

use std::io::BufRead;

pub(super) const MAX_LINE_BYTES: usize = 64 * 1024;
/// Of a line that is too long: enough for the name and the parameters of a picture in a vCard.
const START_BYTES: usize = 256;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Text(&'a str),
    TooLong {
        bytes: u64,
        start: &'a [u8],
    },
    NotUtf8 {
        text: &'a [u8],
        /// The offset of the first invalid byte.
        at: usize,
    },
}

impl Line<'_> {
    /// Returns the error of the line; empty for a text.
    pub(super) fn error(&self) -> String {
        match self {
            Line::Text(_) => String::new(),
            Line::TooLong { bytes, .. } => {
                format!(
                    "has {bytes} bytes, over the limit of {MAX_LINE_BYTES}: a line end is missing, or the line ends are CR \
                     alone; save the file with LF or CRLF line ends"
                )
            }
            Line::NotUtf8 { at, .. } => format!("byte {} is not UTF-8: save the file as UTF-8", at + 1),
        }
    }

    /// Returns the bytes of the line; the first ones, if it is too long.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Line::Text(text) => text.as_bytes(),
            Line::TooLong { start, .. } => start,
            Line::NotUtf8 { text, .. } => text,
        }
    }
}

#[derive(Debug)]
pub(super) struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    number: u64,
    bytes: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, buffer: Vec::with_capacity(256), number: 0, bytes: 0 }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn next_line(&mut self) -> std::io::Result<Option<Line<'_>>> {
        let length = self.read_line()?;
        if length == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.bytes += length;
        if length > MAX_LINE_BYTES as u64 {
            // Releases the memory of a long line.
            self.buffer = self.buffer[..START_BYTES].to_vec();
            return Ok(Some(Line::TooLong { bytes: length, start: &self.buffer }));
        }
        while self.buffer.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            self.buffer.pop();
        }
        Ok(Some(match std::str::from_utf8(&self.buffer) {
            Ok(text) => Line::Text(text),
            Err(error) => Line::NotUtf8 { text: &self.buffer, at: error.valid_up_to() },
        }))
    }

    /// Reads a line into the buffer, and returns its length. Beyond the limit, bytes are discarded.
    fn read_line(&mut self) -> std::io::Result<u64> {
        self.buffer.clear();
        let mut length = 0;
        loop {
            let chunk = match self.input.fill_buf() {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                chunk => chunk?,
            };
            if chunk.is_empty() {
                return Ok(length);
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(chunk.len(), |at| at + 1);
            length += taken as u64;
            if self.buffer.len() <= MAX_LINE_BYTES {
                self.buffer.extend_from_slice(&chunk[..taken]);
            }
            self.input.consume(taken);
            if end.is_some() {
                return Ok(length);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    #[test]
    fn a_long_line_is_one_invalid_line() {
        let text = format!("a\n{}\r\nb", "x".repeat(1_000_000));
        let mut lines = Lines::new(BufReader::new(text.as_bytes()));
        assert_eq!(lines.next_line().expect("a line"), Some(Line::Text("a")));
        let start = &[b'x'; 256];
        assert_eq!(lines.next_line().expect("a line"), Some(Line::TooLong { bytes: 1_000_002, start }));
        assert!(lines.buffer.capacity() < 1000);
        assert_eq!(lines.next_line().expect("a line"), Some(Line::Text("b")));
        assert_eq!(lines.next_line().expect("a line"), None);
        assert_eq!(lines.number(), 3);
    }

    #[test]
    fn a_line_that_is_not_utf8_is_reported_with_its_byte() {
        let mut lines = Lines::new(&b"ab\xff\nc\n"[..]);
        assert_eq!(lines.next_line().expect("a line"), Some(Line::NotUtf8 { text: b"ab\xff", at: 2 }));
        assert_eq!(lines.next_line().expect("a line"), Some(Line::Text("c")));
    }
}
