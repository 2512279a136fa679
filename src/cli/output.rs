//! Output that the commands share: tables, lists, JSON lines, colours, progress bars.

use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::TimeDelta;
use clap::builder::styling::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

use crate::calendar::format_duration;
pub(super) use crate::calendar::text::escape;
use crate::runtime::telemetry;

pub(super) const BOLD: Style = Style::new().bold();
pub(super) const RED: Style = AnsiColor::Red.on_default();
pub(super) const GREEN: Style = AnsiColor::Green.on_default();
pub(super) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(super) const CYAN: Style = AnsiColor::Cyan.on_default();

/// The template of a progress bar for a count.
pub(super) const COUNT_BAR: &str = "{bar:40} {pos}/{len} {per_sec} {eta} left";

/// Users, events or dead events per query.
const PAGE: u64 = 1000;

/// Set when the reader of standard output has closed the pipe.
static READER_CLOSED: AtomicBool = AtomicBool::new(false);
/// Whether standard output may have colours.
pub(super) static COLOURED: LazyLock<bool> = LazyLock::new(|| telemetry::colours(io::stdout().is_terminal()));

/// A table of left-aligned columns, two blanks apart.
#[derive(Debug)]
pub(super) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    /// The style of one column.
    style: Option<(usize, Style)>,
}

impl Table {
    pub(super) fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(ToString::to_string).collect(), rows: Vec::new(), style: None }
    }

    pub(super) fn with_style(self, column: usize, style: Style) -> Self {
        Self { style: Some((column, style)), ..self }
    }

    /// Adds a row; its cells are [escaped](escape).
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| escape(&cell)).collect());
    }

    pub(super) fn print(&self) -> io::Result<()> {
        ignore_closed_reader(self.write(&mut io::stdout().lock(), *COLOURED))
    }

    pub(super) fn write(&self, out: &mut impl Write, coloured: bool) -> io::Result<()> {
        let lines = || self.rows.iter().chain([&self.head]);
        let width = |column: usize| {
            lines().filter_map(|cells| cells.get(column)).map(|cell| cell.width()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let style = self.style.filter(|_| coloured);
        writeln!(out, "{}", styled(BOLD, &line(&self.head, &widths, None), coloured))?;
        for row in &self.rows {
            writeln!(out, "{}", line(row, &widths, style))?;
        }
        out.flush()
    }
}

fn line(cells: &[String], widths: &[usize], style: Option<(usize, Style)>) -> String {
    let mut line = String::new();
    let mut blanks = 0;
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        if !cell.is_empty() {
            line.extend(std::iter::repeat_n(' ', blanks));
            blanks = 0;
            match style {
                Some((styled_column, style)) if styled_column == column => line += &styled(style, cell, true),
                _ => line += cell,
            }
        }
        blanks += width.saturating_sub(cell.width()) + 2;
    }
    line
}

/// Prints the fields of one object.
pub(super) fn fields(rows: impl IntoIterator<Item = (impl Into<String>, String)>) -> io::Result<()> {
    let mut table = Table::new(&["FIELD", "VALUE"]);
    for (name, value) in rows {
        table.row([name.into(), value]);
    }
    table.print()
}

/// A list of up to `limit` rows (0: all): JSON lines, a table, or, without a limit, tab-separated lines. Without a
/// limit there may be millions, too many to hold for the widths of a table.
#[derive(Debug)]
pub(super) struct List {
    json: bool,
    table: Option<Table>,
    limit: u64,
    pub(super) count: u64,
}

impl List {
    pub(super) fn new(json: bool, limit: u64, head: &[&str]) -> Self {
        Self { json, table: (!json && limit != 0).then(|| Table::new(head)), limit, count: 0 }
    }

    /// How many rows to query next; `None` at the limit, or when the reader has closed the pipe.
    pub(super) fn next_page(&self) -> Option<u32> {
        let left = if self.limit == 0 { PAGE } else { self.limit.saturating_sub(self.count).min(PAGE) };
        (left > 0 && !reader_closed()).then_some(left as u32)
    }

    pub(super) fn add<T: Serialize, const N: usize>(
        &mut self,
        item: &T,
        cells: impl Fn(&T) -> [String; N],
    ) -> io::Result<()> {
        self.count += 1;
        match &mut self.table {
            Some(table) => table.row(cells(item)),
            None if self.json => json(item)?,
            None => println!("{}", tab_separated(&cells(item))),
        }
        Ok(())
    }

    pub(super) fn print(&self) -> io::Result<()> {
        self.table.as_ref().map_or(Ok(()), Table::print)
    }
}

fn tab_separated<const N: usize>(cells: &[String; N]) -> String {
    cells.each_ref().map(|cell| escape(cell)).join("\t")
}

/// [Escapes](escape) each line of a text.
pub(super) fn escape_lines(text: &str) -> String {
    text.split('\n').map(escape).collect::<Vec<_>>().join("\n")
}

/// `text` in `style`, if standard output is a terminal and `NO_COLOR` is unset.
pub(super) fn paint(style: Style, text: &str) -> String {
    styled(style, text, *COLOURED)
}

fn styled(style: Style, text: &str, coloured: bool) -> String {
    if coloured { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

/// Milliseconds after (`+`) or before (`-`) the due instant.
pub(super) fn lateness(ms: i64) -> String {
    format!("{}{}", if ms < 0 { '-' } else { '+' }, format_duration(TimeDelta::milliseconds(ms)))
}

/// A progress bar or spinner on standard error, hidden unless that is a terminal.
pub(super) fn progress(template: &str, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}

/// The JSON name of a plain enum's value.
pub(super) fn json_name(value: &impl Serialize) -> String {
    let name = serde_json::to_value(value).ok();
    name.and_then(|name| Some(name.as_str()?.to_owned())).unwrap_or_default()
}

/// Prints a value as a line of JSON.
pub(super) fn json(value: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    ignore_closed_reader(
        serde_json::to_writer(&mut out, value).map_err(io::Error::from).and_then(|()| writeln!(out)),
    )
}

/// Prints a value as JSON if `json` is set, else by `print`.
pub(super) fn json_or(
    json: bool,
    value: &impl Serialize,
    print: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    if json { self::json(value) } else { print() }
}

/// Prints a value as JSON if `json` is set, else `text`.
pub(super) fn json_or_text(json: bool, value: &impl Serialize, text: impl fmt::Display) -> io::Result<()> {
    json_or(json, value, || {
        println!("{text}");
        Ok(())
    })
}

/// Prints a line, for `println!` of the commands. A closed pipe does not stop a command that changes something.
pub(super) fn print_line(text: fmt::Arguments<'_>) {
    if let Err(error) = ignore_closed_reader(writeln!(io::stdout().lock(), "{text}")) {
        eprintln!("bday: cannot write to standard output: {error}");
        std::process::exit(1);
    }
}

/// Whether the reader of standard output has closed the pipe, as `head` does.
pub(super) fn reader_closed() -> bool {
    READER_CLOSED.load(Ordering::Relaxed)
}

pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn ignore_closed_reader(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            READER_CLOSED.store(true, Ordering::Relaxed);
            Ok(())
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Table {
        pub(in crate::cli) fn text(&self, coloured: bool) -> String {
            let mut out = Vec::new();
            self.write(&mut out, coloured).expect("a write to memory");
            String::from_utf8(out).expect("UTF-8")
        }
    }

    #[test]
    fn columns_align_with_wide_and_combining_characters() {
        let mut table = Table::new(&["NAME", "ZONE"]);
        for name in ["Ada", "山田 太郎", "Mu\u{308}ßig", "Jürgen"] {
            table.row([name.to_owned(), "UTC".to_owned()]);
        }
        let text = table.text(false);
        let at: Vec<usize> = text.lines().skip(1).map(|line| line.trim_end_matches("UTC").width()).collect();
        assert_eq!(at, [11; 4], "{text}");
    }

    #[test]
    fn a_table_has_colours_only_if_asked_and_no_trailing_blanks() {
        let mut table = Table::new(&["A", "NOTE"]).with_style(1, YELLOW);
        for cells in [["1", "x"], ["22", ""]] {
            table.row(cells.map(str::to_owned));
        }
        assert_eq!(table.text(false), "A   NOTE\n1   x\n22\n");
        let expected = format!("{BOLD}A   NOTE{BOLD:#}\n1   {YELLOW}x{YELLOW:#}\n22\n");
        assert_eq!(table.text(true), expected);
    }

    #[test]
    fn text_from_users_cannot_control_the_terminal() {
        assert_eq!(escape("a\x1b[2Jb\nc\u{202e}d\u{9b}"), "a\\u{1b}[2Jb\\nc\\u{202e}d\\u{9b}");
        assert_eq!(escape("Hey, Zoë 李 it's your birthday 🎂"), "Hey, Zoë 李 it's your birthday 🎂");
        assert_eq!(escape_lines("a\x1b\n  - b\r"), "a\\u{1b}\n  - b\\r");
        assert_eq!(tab_separated(&["a\tb".to_owned(), "c\x07".to_owned()]), "a\\tb\tc\\u{7}");
        let mut table = Table::new(&["NAME"]);
        table.row(["Ada\x1b[8m".to_owned()]);
        assert_eq!(table.text(false), "NAME\nAda\\u{1b}[8m\n");
    }

    #[test]
    fn lateness_has_a_sign() {
        let shown = [0, 999, 4120, 60_000, 3_600_000, -1500].map(lateness);
        assert_eq!(shown, ["+0 s", "+999 ms", "+4.1 s", "+1 min", "+1 h", "-1.5 s"]);
    }
}
