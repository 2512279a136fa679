//! The commands of SMTP (RFC 5321).

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Whether extensions are wanted (EHLO).
    Hello {
        extended: bool,
    },
    /// The sender, empty for a bounce, and the size that it announces.
    Mail {
        from: String,
        size: Option<usize>,
    },
    Recipient(String),
    Data,
    Reset,
    Noop,
    Verify,
    Quit,
    /// A command of HTTP: a browser was made to connect here.
    Http,
    Unknown,
    BadArguments,
}

impl Command {
    pub(super) fn parse(line: &str) -> Self {
        let line = line.trim_end();
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" if rest.is_empty() => Self::BadArguments,
            "EHLO" => Self::Hello { extended: true },
            "HELO" => Self::Hello { extended: false },
            "MAIL" => mail(rest).unwrap_or(Self::BadArguments),
            "RCPT" => match path(rest, "TO:") {
                Some((to, _)) if !to.is_empty() => Self::Recipient(to),
                _ => Self::BadArguments,
            },
            "DATA" => Self::Data,
            "RSET" => Self::Reset,
            "NOOP" => Self::Noop,
            "VRFY" => Self::Verify,
            "QUIT" => Self::Quit,
            _ if rest.contains(" HTTP/1.") => Self::Http,
            _ => Self::Unknown,
        }
    }
}

fn mail(arguments: &str) -> Option<Command> {
    let (from, parameters) = path(arguments, "FROM:")?;
    let size = parameters.split_whitespace().find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.eq_ignore_ascii_case("SIZE").then(|| value.parse().ok())?
    });
    Some(Command::Mail { from, size })
}

/// Splits `FROM:<ada@example.org> SIZE=700` into the address and the parameters.
fn path<'a>(arguments: &'a str, keyword: &str) -> Option<(String, &'a str)> {
    let (start, rest) = arguments.split_at_checked(keyword.len())?;
    let rest = rest.trim_start().strip_prefix('<').filter(|_| start.eq_ignore_ascii_case(keyword))?;
    let (address, parameters) = rest.split_once('>')?;
    Some((address.to_owned(), parameters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_parsed_in_any_case() {
        let mail = |from: &str, size| Command::Mail { from: from.to_owned(), size };
        for (line, expected) in [
            ("EHLO host", Command::Hello { extended: true }),
            ("helo host\r\n", Command::Hello { extended: false }),
            ("EHLO", Command::BadArguments),
            ("MAIL FROM:<a@example.org> BODY=8BITMIME size=700", mail("a@example.org", Some(700))),
            ("mail from:<>", mail("", None)),
            ("MAIL FROM: <zoë@example.org> SIZE=x", mail("zoë@example.org", None)),
            ("MAIL FROM:a@example.org", Command::BadArguments),
            ("MAIL é", Command::BadArguments),
            ("RCPT TO:<b@example.org>", Command::Recipient("b@example.org".to_owned())),
            ("RCPT TO:<>", Command::BadArguments),
            ("RCPT FROM:<b@example.org>", Command::BadArguments),
            ("data", Command::Data),
            ("VRFY b", Command::Verify),
            ("POST / HTTP/1.1", Command::Http),
            ("STARTTLS", Command::Unknown),
            ("", Command::Unknown),
        ] {
            assert_eq!(Command::parse(line), expected, "{line}");
        }
    }
}
