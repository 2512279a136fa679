//! Reads commands and mails from a connection, in bounded memory.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

/// RFC 5321 requires 512 bytes.
const MAX_LINE_BYTES: usize = 2048;
const END_OF_DATA: &[u8] = b"\r\n.\r\n";

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Text(String),
    TooLong,
    /// The sender disconnected.
    End,
}

/// Reads up to and including the next line feed. Discards a line that is too long.
pub(super) async fn line(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Line> {
    let mut line = Vec::new();
    loop {
        let available = stream.fill_buf().await?;
        if available.is_empty() {
            return Ok(Line::End);
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let read = end.map_or(available.len(), |at| at + 1);
        let room = (MAX_LINE_BYTES + 1).saturating_sub(line.len());
        line.extend_from_slice(&available[..read.min(room)]);
        stream.consume(read);
        if end.is_some() {
            let too_long = line.len() > MAX_LINE_BYTES;
            let text = || String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
            return Ok(if too_long { Line::TooLong } else { Line::Text(text()) });
        }
    }
}

/// Reads a mail up to the line with a single dot. Returns its first `max + 1` bytes at most; `None` if the sender disconnected.
pub(super) async fn data(
    stream: &mut (impl AsyncBufRead + Unpin),
    max: usize,
) -> io::Result<Option<Vec<u8>>> {
    let mut mail = Vec::new();
    // How many bytes of `END_OF_DATA` were read last. The line end of the command counts.
    let mut matched = 2;
    loop {
        let available = stream.fill_buf().await?;
        if available.is_empty() {
            return Ok(None);
        }
        for (index, byte) in available.iter().enumerate() {
            let dot_stuffed = matched == 3 && *byte == b'.';
            matched = following(matched, *byte);
            if matched == END_OF_DATA.len() {
                stream.consume(index + 1);
                // The line end before the dot belongs to the mail, the rest does not.
                let rest = END_OF_DATA.len() - 3;
                mail.truncate(mail.len().min(max + 1 + rest).saturating_sub(rest));
                return Ok(Some(mail));
            }
            if mail.len() < max + END_OF_DATA.len() && !dot_stuffed {
                mail.push(*byte);
            }
        }
        let read = available.len();
        stream.consume(read);
    }
}

/// Returns how many bytes of `END_OF_DATA` are matched after one more byte.
fn following(matched: usize, byte: u8) -> usize {
    if byte == END_OF_DATA[matched] { matched + 1 } else { usize::from(byte == b'\r') }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(input: &str, max: usize) -> Option<String> {
        let mail = data(&mut input.as_bytes(), max).await.expect("memory can be read")?;
        Some(String::from_utf8_lossy(&mail).into_owned())
    }

    #[tokio::test]
    async fn a_mail_ends_at_a_line_with_a_single_dot() {
        for (input, expected) in [
            ("a\r\nb\r\n.\r\nQUIT\r\n", Some("a\r\nb\r\n")),
            (".\r\n", Some("")),
            ("..\r\n...a\r\n.\r\n", Some(".\r\n..a\r\n")),
            ("a\n.\nb\r\n\r\n.\r\r\n.\r\n", Some("a\n.\nb\r\n\r\n.\r\r\n")),
            ("a\r\n.", None),
        ] {
            assert_eq!(read(input, 100).await.as_deref(), expected, "{input:?}");
        }
    }

    #[tokio::test]
    async fn no_more_than_the_limit_and_one_byte_is_kept() {
        let mail = |length: usize| format!("{}\r\n", "x".repeat(length - 2));
        assert_eq!(read(&(mail(100) + ".\r\n"), 100).await, Some(mail(100)));
        for length in [101, 102, 103, 5000] {
            let kept = read(&(mail(length) + ".\r\n"), 100).await.expect("it ends");
            assert_eq!(kept.len(), 101, "{length}");
        }
    }

    #[tokio::test]
    async fn a_long_line_is_discarded_up_to_its_end() {
        let input = format!("{}\r\nNOOP\r\n", "x".repeat(10_000));
        let mut stream = tokio::io::BufReader::with_capacity(64, input.as_bytes());
        let mut lines = Vec::new();
        for _ in 0..3 {
            lines.push(line(&mut stream).await.expect("memory can be read"));
        }
        assert_eq!(lines, [Line::TooLong, Line::Text("NOOP".to_owned()), Line::End]);
    }
}
