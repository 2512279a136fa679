//! Tables for people: aligned, with a bold head on a terminal. And what else is shown the same everywhere.

use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, SecondsFormat, Utc};
use indicatif::{ProgressBar, ProgressStyle};
use unicode_width::UnicodeWidthStr as _;

use crate::runtime::telemetry;

/// A table with a head.
#[derive(Debug)]
pub(super) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// What stands in a cell may come from anybody: see [`harmless`].
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| harmless(&cell)).collect());
    }

    /// Writes to standard output; a reader that has seen enough is no error.
    pub(super) fn print(&self) -> io::Result<()> {
        let stdout = io::stdout();
        finish(self.write(&mut stdout.lock(), coloured()))
    }

    fn write(&self, out: &mut impl Write, bold: bool) -> io::Result<()> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width());
            cells.chain([self.head[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let cells: Vec<String> = cells.zip(&widths).map(|(cell, width)| padded(cell, *width)).collect();
            cells.join("  ").trim_end().to_owned()
        };
        let head = line(&mut self.head.iter().copied());
        let (on, off) = if bold { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        writeln!(out, "{on}{head}{off}")?;
        for row in &self.rows {
            writeln!(out, "{}", line(&mut row.iter().map(String::as_str)))?;
        }
        out.flush()
    }
}

/// A text from elsewhere must not steer the terminal: control characters and those that turn the direction of
/// writing are shown by their code.
pub(super) fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => shown.extend(c.escape_unicode()),
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

/// The same for a text of several lines.
pub(super) fn harmless_lines(text: &str) -> String {
    text.split('\n').map(harmless).collect::<Vec<_>>().join("\n")
}

/// A row without a table: for so many that the widest of them is not known.
pub(super) fn tabbed<const N: usize>(cells: &[String; N]) -> String {
    cells.each_ref().map(|cell| harmless(cell)).join("\t")
}

/// `text` in a column: by the places that it takes on a terminal, where a Chinese character takes two.
pub(super) fn padded(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(text.width());
    format!("{text}{:missing$}", "")
}

/// A count with its noun.
pub(super) fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A bar over things that are counted, on a terminal only.
pub(super) fn progress() -> Option<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {eta} left");
    io::stderr()
        .is_terminal()
        .then(|| ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
}

/// To the second, UTC.
pub(super) fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The name of a plain enum's value, as in JSON.
pub(super) fn snake_case(value: &impl serde::Serialize) -> String {
    let name = serde_json::to_value(value).ok();
    name.and_then(|name| Some(name.as_str()?.to_owned())).unwrap_or_default()
}

/// Writes one value as a line of JSON.
pub(super) fn json(value: &impl serde::Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    finish(serde_json::to_writer(&mut out, value).map_err(io::Error::from).and_then(|()| writeln!(out)))
}

/// Writes a line to standard output, for `println!` of the commands. A reader that has seen enough is no error: what a
/// command does, it does to its end.
pub(super) fn line(text: fmt::Arguments<'_>) {
    if let Err(error) = finish(writeln!(io::stdout().lock(), "{text}")) {
        eprintln!("bday: the answer cannot be written: {error}");
        std::process::exit(1);
    }
}

/// Whether standard output may have colours.
pub(super) fn coloured() -> bool {
    telemetry::colours(io::stdout().is_terminal())
}

/// Milliseconds, as short as a person wants them.
pub(super) fn duration(ms: i64) -> String {
    let (sign, ms) = (if ms < 0 { "-" } else { "+" }, ms.unsigned_abs());
    match ms {
        0..1000 => format!("{sign}{ms}ms"),
        1000..60_000 => format!("{sign}{:.2}s", ms as f64 / 1000.0),
        60_000..3_600_000 => format!("{sign}{}m{:02}s", ms / 60_000, ms / 1000 % 60),
        _ => format!("{sign}{}h{:02}m", ms / 3_600_000, ms / 60_000 % 60),
    }
}

/// Whether whoever read standard output has gone: a command that only tells has nothing more to do.
pub(super) fn reader_is_gone() -> bool {
    READER_IS_GONE.load(Ordering::Relaxed)
}

static READER_IS_GONE: AtomicBool = AtomicBool::new(false);

fn finish(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            READER_IS_GONE.store(true, Ordering::Relaxed);
            Ok(())
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_whatever_the_letters() {
        let mut table = Table::new(&["NAME", "ZONE"]);
        for name in ["Ada", "山田 太郎", "Mu\u{308}ßig", "Jürgen"] {
            table.row([name.to_owned(), "UTC".to_owned()]);
        }
        let mut out = Vec::new();
        table.write(&mut out, false).expect("memory takes it");
        let text = String::from_utf8(out).expect("it is text");
        let at: Vec<usize> = text.lines().skip(1).map(|line| line.trim_end_matches("UTC").width()).collect();
        assert_eq!(at, [11; 4], "{text}");
    }

    #[test]
    fn a_text_cannot_steer_the_terminal() {
        assert_eq!(harmless("a\x1b[2Jb\nc\u{202e}d\u{9b}"), "a\\u{1b}[2Jb\\nc\\u{202e}d\\u{9b}");
        assert_eq!(harmless("Hey, Zoë 李 it's your birthday 🎂"), "Hey, Zoë 李 it's your birthday 🎂");
        assert_eq!(harmless_lines("a\x1b\n  - b\r"), "a\\u{1b}\n  - b\\r");
        assert_eq!(tabbed(&["a\tb".to_owned(), "c\x07".to_owned()]), "a\\tb\tc\\u{7}");
        let mut table = Table::new(&["NAME"]);
        table.row(["Ada\x1b[8m".to_owned()]);
        let mut out = Vec::new();
        table.write(&mut out, false).expect("memory takes it");
        assert_eq!(String::from_utf8_lossy(&out), "NAME\nAda\\u{1b}[8m\n");
    }

    #[test]
    fn lateness_is_short_and_signed() {
        let shown = [0, 999, 4120, 59_999, 60_000, 3_600_000, -1500].map(duration);
        assert_eq!(shown, ["+0ms", "+999ms", "+4.12s", "+60.00s", "+1m00s", "+1h00m", "-1.50s"]);
    }
}
