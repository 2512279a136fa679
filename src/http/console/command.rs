//! The command line that does the same as a page or a form.

use std::fmt::{self, Display, Write as _};

/// A command, quoted for a POSIX shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CommandLine(String);

impl CommandLine {
    /// `words` needs no quotes.
    pub(super) fn new(words: &str) -> Self {
        Self(words.to_owned())
    }

    pub(super) fn word(mut self, word: impl Display) -> Self {
        self.0.push(' ');
        self.0.push_str(&quoted(&word.to_string()));
        self
    }

    /// Adds the option `name` with `value`, if there is one.
    pub(super) fn option(mut self, name: &str, value: Option<impl Display>) -> Self {
        let Some(value) = value else { return self };
        let _ = write!(self.0, " {name}");
        self.word(value)
    }

    pub(super) fn flag(self, name: &str, is_set: bool) -> Self {
        if is_set { self.word(name) } else { self }
    }
}

impl Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:+,@".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        let command = CommandLine::new("bday dlq redrive")
            .option("--reason", Some("status"))
            .option("--kind", Some("it's; rm -rf"))
            .option("--since", None::<&str>)
            .flag("--force", true);
        assert_eq!(command.to_string(), r"bday dlq redrive --reason status --kind 'it'\''s; rm -rf' --force");
        assert_eq!(CommandLine::new("bday event show").word("").to_string(), "bday event show ''");
    }
}
