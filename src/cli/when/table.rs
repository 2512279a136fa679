//! The answer for people: an aligned table that says why a line is not simply "that date, that time".

use std::io::{self, Write};

use chrono::{Datelike as _, NaiveTime, SecondsFormat, Timelike as _};
use clap::builder::styling::{AnsiColor, Style};

use super::request::Request;
use crate::calendar::{LeapDay, Occurrence};

/// One line of the table, header included.
struct Row {
    cells: Vec<String>,
    note: String,
}

pub(super) fn write(out: &mut impl Write, request: &Request, colour: bool) -> io::Result<()> {
    let mut rows: Vec<Row> = request.occurrences().map(|occurrence| row(&occurrence, request)).collect();
    if rows.is_empty() {
        let why = if request.date.is_leap_day() && request.leap_day == LeapDay::LeapYearsOnly {
            "No 29 February in these years, and the rule is leap_years_only."
        } else {
            "None from then on: the calendar ends with the year 9999."
        };
        return writeln!(out, "{why}");
    }
    let titles = ["DATE", "DAY", "LOCAL", "OFFSET", "DUE (UTC)", "TURNS"];
    rows.insert(0, Row { cells: titles.map(String::from).to_vec(), note: String::new() });
    if request.date.year().is_none() {
        for row in &mut rows {
            row.cells.pop();
        }
    }
    let widths: Vec<usize> = (0..rows[0].cells.len())
        .map(|column| rows.iter().map(|row| row.cells[column].len()).max().unwrap_or_default())
        .collect();
    let (bold, yellow) = (Style::new().bold(), AnsiColor::Yellow.on_default());
    for (index, Row { cells, note }) in rows.iter().enumerate() {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        let text = padded.join("  ");
        match (colour, index) {
            (true, 0) => writeln!(out, "{bold}{}{bold:#}", text.trim_end())?,
            (true, _) if !note.is_empty() => writeln!(out, "{text}  {yellow}{note}{yellow:#}")?,
            _ => writeln!(out, "{}", format!("{text}  {note}").trim_end())?,
        }
    }
    Ok(())
}

fn row(occurrence: &Occurrence, request: &Request) -> Row {
    let age = request.date.years_by(occurrence.local_year);
    let cells = vec![
        occurrence.local_date.to_string(),
        occurrence.local_date.weekday().to_string(),
        clock_face(occurrence.local_time()),
        occurrence.offset.to_string(),
        occurrence.due_at.to_rfc3339_opts(SecondsFormat::Secs, true),
        age.map_or_else(|| "-".to_owned(), |age| age.to_string()),
    ];
    Row {
        cells,
        note: occurrence.describe_rule(request.date, request.send_at, request.leap_day).unwrap_or_default(),
    }
}

/// To the minute, unless local mean time left seconds.
fn clock_face(time: NaiveTime) -> String {
    time.format(if time.second() == 0 { "%H:%M" } else { "%H:%M:%S" }).to_string()
}
