//! Reads a mail as far as the inbox shows it: its sender, subject, text and HTML (RFC 5322, 2045 to 2047).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quoted_printable::ParseMode;

use super::message::{MessageBody, event_of_message_id};
use super::request::Content;

/// Parts inside of parts.
const MAX_DEPTH: usize = 8;

/// Returns the content of a mail to `to`, the recipients of its envelope.
pub(super) fn parse(raw: &[u8], to: Vec<String>) -> Content {
    let (headers, body) = split(raw);
    if headers.0.is_empty() {
        return Content::unreadable("the mail has no headers", raw);
    }
    let mut message = MessageBody {
        to,
        from: headers.text("from"),
        to_header: headers.text("to"),
        subject: headers.text("subject"),
        message_id: headers.text("message-id"),
        ..MessageBody::default()
    };
    message.event_id = message.message_id.as_deref().and_then(event_of_message_id);
    let mut texts = Texts::default();
    texts.collect(&headers, body, 0);
    message.text = texts.plain.unwrap_or_default();
    message.html = texts.html;
    Content::Message(message.bounded())
}

/// Lower-case names, and unfolded values.
struct Headers(Vec<(String, String)>);

impl Headers {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(decode_words)
    }
}

/// Splits the headers from the body at the first empty line.
fn split(raw: &[u8]) -> (Headers, &[u8]) {
    let mut headers: Vec<(String, String)> = Vec::new();
    let mut rest = raw;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(end);
        let line = String::from_utf8_lossy(line.trim_ascii_end());
        if line.is_empty() {
            rest = after;
            break;
        }
        if let (Some((_, value)), true) = (headers.last_mut(), line.starts_with([' ', '\t'])) {
            value.push(' ');
            value.push_str(line.trim());
        } else if let Some((name, value)) = line.split_once(':') {
            headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        } else {
            break;
        }
        rest = after;
    }
    (Headers(headers), rest)
}

/// The first plain text and the first HTML of a mail.
#[derive(Default)]
struct Texts {
    plain: Option<String>,
    html: Option<String>,
}

impl Texts {
    fn collect(&mut self, headers: &Headers, body: &[u8], depth: usize) {
        let content_type = headers.get("content-type").unwrap_or("text/plain");
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if kind.starts_with("multipart/") && depth < MAX_DEPTH {
            let boundary = parameter(content_type, "boundary").unwrap_or_default();
            for part in parts(body, &boundary) {
                let (headers, body) = split(part);
                self.collect(&headers, body, depth + 1);
            }
            return;
        }
        let text = match kind.as_str() {
            "text/plain" => &mut self.plain,
            "text/html" => &mut self.html,
            _ => return,
        };
        if text.is_none() {
            let charset = parameter(content_type, "charset").unwrap_or_default();
            let decoded = decode_transfer(headers.get("content-transfer-encoding").unwrap_or_default(), body);
            *text = Some(decode_charset(&charset, &decoded).replace("\r\n", "\n").trim_end().to_owned());
        }
    }
}

/// Returns the value of a parameter of a Content-Type, such as `boundary="x"`.
fn parameter(content_type: &str, name: &str) -> Option<String> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// Returns what is between the lines that begin with `--boundary`.
fn parts<'a>(body: &'a [u8], boundary: &str) -> Vec<&'a [u8]> {
    let delimiter = format!("--{boundary}");
    let mut parts = Vec::new();
    let (mut start, mut at) = (None, 0);
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let next = at + line.len();
        if line.starts_with(delimiter.as_bytes()) {
            if let Some(start) = start {
                parts.push(&body[start..at]);
            }
            if line[delimiter.len()..].starts_with(b"--") {
                return parts;
            }
            start = Some(next);
        }
        at = next;
    }
    parts.extend(start.map(|start| &body[start..]));
    parts
}

/// Decodes base64 and quoted-printable. What cannot be decoded stays as it is.
fn decode_transfer(encoding: &str, body: &[u8]) -> Vec<u8> {
    let decoded = match encoding.trim().to_ascii_lowercase().as_str() {
        "base64" => {
            let compact: Vec<u8> = body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
            STANDARD.decode(compact).ok()
        }
        "quoted-printable" => quoted_printable::decode(body, ParseMode::Robust).ok(),
        _ => None,
    };
    decoded.unwrap_or_else(|| body.to_vec())
}

/// Decodes UTF-8, ASCII and Latin 1.
fn decode_charset(charset: &str, bytes: &[u8]) -> String {
    match charset.to_ascii_lowercase().as_str() {
        "iso-8859-1" | "latin1" => bytes.iter().map(|byte| char::from(*byte)).collect(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Decodes the encoded words of a header: `=?utf-8?b?Wm/Dqw==?=`. Space between two of them is not part of the text.
fn decode_words(value: &str) -> String {
    let mut text = String::new();
    let mut rest = value;
    let mut after_word = false;
    while let Some(start) = rest.find("=?") {
        let before = &rest[..start];
        let Some((word, after)) = decode_word(&rest[start..]) else {
            text.push_str(&rest[..start + 2]);
            rest = &rest[start + 2..];
            after_word = false;
            continue;
        };
        if !(after_word && before.trim().is_empty()) {
            text.push_str(before);
        }
        text.push_str(&word);
        rest = after;
        after_word = true;
    }
    text + rest
}

/// Decodes the encoded word at the start of `text`, and returns it and what follows.
fn decode_word(text: &str) -> Option<(String, &str)> {
    let mut fields = text.strip_prefix("=?")?.splitn(3, '?');
    let (charset, encoding, rest) = (fields.next()?, fields.next()?, fields.next()?);
    let (encoded, after) = rest.split_once("?=")?;
    let bytes = match encoding {
        "B" | "b" => STANDARD.decode(encoded).ok()?,
        "Q" | "q" => {
            quoted_printable::decode(encoded.replace('_', " ").replace(' ', "=20"), ParseMode::Robust).ok()?
        }
        _ => return None,
    };
    Some((decode_charset(charset, &bytes), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(raw: &str) -> MessageBody {
        let raw = raw.replace('\n', "\r\n");
        match parse(raw.as_bytes(), vec!["ada@example.org".to_owned()]) {
            Content::Message(message) => message,
            other => panic!("parsed as {other:?}"),
        }
    }

    #[test]
    fn headers_are_unfolded_and_decoded() {
        let mail = message(
            "From: =?utf-8?b?QmRhecOp?= <bday@example.org>\nTO: ada@example.org\n\
             Subject: =?utf-8?q?Happy_birthday,?=\n =?UTF-8?B?IFpvw6s=?= and =?x?= co\n\
             Message-ID: <01a20c92-40bd-7496-a43a-0e7ed8f73c8f@example.org>\n\nHey\n",
        );
        assert_eq!(mail.from.as_deref(), Some("Bdayé <bday@example.org>"));
        assert_eq!(mail.to_header.as_deref(), Some("ada@example.org"));
        assert_eq!(mail.subject.as_deref(), Some("Happy birthday, Zoë and =?x?= co"));
        assert_eq!(mail.event(), Some("01a20c92-40bd-7496-a43a-0e7ed8f73c8f"));
        assert_eq!((mail.text.as_str(), mail.html), ("Hey", None));
    }

    #[test]
    fn the_first_text_and_html_of_nested_parts_are_found_and_decoded() {
        let mail = message(
            "Content-Type: multipart/mixed;\n boundary=\"a\"\n\npreamble\n--a\n\
             Content-Type: multipart/alternative; boundary=b\n\n--b\n\
             Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n\
             Hey Zo=C3=AB=\n!\n--b\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: base64\n\n\
             PGI+Wm/D\nqzwvYj4=\n--b--\n\n--a\nContent-Type: text/plain\n\nattached\n--a--\nepilogue\n",
        );
        assert_eq!((mail.text.as_str(), mail.html.as_deref()), ("Hey Zoë!", Some("<b>Zoë</b>")));
    }

    #[test]
    fn latin_1_is_decoded() {
        let raw = b"Content-Type: text/plain; charset=ISO-8859-1\r\n\r\nZo\xeb";
        let Content::Message(mail) = parse(raw, Vec::new()) else { panic!("unreadable") };
        assert_eq!(mail.text, "Zoë");
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        assert!(matches!(parse(b"", Vec::new()), Content::Unreadable(_)));
        assert!(matches!(parse(b"no header here", Vec::new()), Content::Unreadable(_)));
        for raw in [
            "A: =?utf-8?b?\u{fffd}?=",
            "Content-Type: multipart/mixed\n\n--\n--",
            "Content-Type: multipart/mixed; boundary=x\n\n--x",
            "Content-Transfer-Encoding: base64\n\n%%%",
            "Content-Transfer-Encoding: quoted-printable\n\n=ZZ=",
            "Subject: =?utf-8?q?=ZZ?= =?",
        ] {
            message(raw);
        }
        let nested = "Content-Type: multipart/mixed; boundary=x\n\n--x\n".repeat(1000);
        assert_eq!(message(&nested).text, "");
    }
}
