//! `bday when`. Needs no database and no configuration.

mod batch;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use chrono::{DateTime, Datelike as _, NaiveDate, Timelike as _, Utc};
use clap::Args;

use super::open_input;
use super::output::{Table, YELLOW, is_broken_pipe};
use crate::calendar::{AnnualDate, LeapDay, Occurrence, SendAt, Zone, format_instant, occurrences_from};
use crate::clock::Clock;

/// The Gregorian calendar repeats after 400 years.
const MAX_YEARS: u16 = 400;

const EXAMPLES: &str = "\
Examples:
  bday when --birth-date 2000-02-29 --time-zone America/New_York
  bday when --birth-date=--03-29 --time-zone Europe/Berlin --send-at 02:30 --from 2026-01-01
  bday when --birth-date 2000-02-29 --time-zone Asia/Tokyo --leap-day mar1 --years 12 --json
  echo '{\"birthDate\":\"2000-02-29\",\"timeZone\":\"Asia/Tokyo\"}' | bday when --input -

With --input, each line is a JSON object with the fields birthDate, timeZone and optionally sendAt, leapDay, from and \
years. Each answer is one line: a JSON array as with --json, or an object with error, field and line. --send-at, \
--leap-day, --from and --years apply to lines that lack the field. Exit code 1 if a line is invalid.";

/// The arguments of `bday when`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct When {
    /// The birth date: YYYY-MM-DD, or =--MM-DD without the year
    #[arg(long, value_name = "DATE", required_unless_present = "input", allow_hyphen_values = true)]
    birth_date: Option<AnnualDate>,

    /// An IANA time zone name, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", required_unless_present = "input")]
    time_zone: Option<Zone>,

    #[command(flatten)]
    options: RequestOptions,

    /// Print a JSON array
    #[arg(long)]
    json: bool,

    /// Answer NDJSON from a file, or from standard input with "-"
    #[arg(long, value_name = "FILE", conflicts_with_all = ["birth_date", "time_zone"])]
    input: Option<PathBuf>,
}

// The optional part of a request.
#[derive(Debug, Clone, Copy, clap::Args)]
struct RequestOptions {
    /// The local time at which the greeting is due
    #[arg(long, value_name = "HH:MM", default_value_t)]
    send_at: SendAt,

    /// What 29 February means in a common year
    #[arg(long, value_name = "feb28|mar1|leap_years_only", default_value_t)]
    leap_day: LeapDay,

    /// The first date to consider [default: today in that zone]
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    from: Option<NaiveDate>,

    /// Look this many years ahead
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_YEARS)))]
    years: u16,
}

#[derive(Debug, Clone, Copy)]
struct Request {
    date: AnnualDate,
    zone: Zone,
    options: RequestOptions,
}

impl Request {
    /// One occurrence a year; fewer where 29 February counts in leap years only.
    fn occurrences(&self, now: DateTime<Utc>) -> impl Iterator<Item = Occurrence> + use<> {
        let &Self { date, zone, options: RequestOptions { send_at, leap_day, from, years } } = self;
        let from = from.unwrap_or_else(|| zone.local_date(now));
        // A year without its 29 February counts as one of the requested years.
        let counted = if leap_day == LeapDay::LeapYearsOnly { LeapDay::Feb28 } else { leap_day };
        let first_year =
            occurrences_from(date, from, send_at, zone, counted).map(|first| first.local_year).next();
        let end = first_year.unwrap_or(i32::MAX).saturating_add(i32::from(years));
        occurrences_from(date, from, send_at, zone, leap_day).take_while(move |next| next.local_year < end)
    }
}

impl When {
    /// Writes the answer to `out`.
    ///
    /// Returns exit code 1 if a line of `--input` is invalid. A closed pipe (`| head`) is not an error.
    pub fn run(&self, clock: &dyn Clock, out: &mut impl Write, coloured: bool) -> Result<ExitCode> {
        match self.answer(clock, out, coloured) {
            Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
            result => result,
        }
    }

    fn answer(&self, clock: &dyn Clock, out: &mut impl Write, coloured: bool) -> Result<ExitCode> {
        let now = clock.now();
        if let Some(path) = &self.input {
            let (input, _) = open_input(path)?;
            return batch::answer(input, out, self.options, now);
        }
        let (Some(date), Some(zone)) = (self.birth_date, self.time_zone) else {
            anyhow::bail!("missing --birth-date and --time-zone, or --input");
        };
        let request = Request { date, zone, options: self.options };
        if self.json {
            batch::write_occurrences(out, &request, now)?;
        } else {
            write_table(out, &request, now, coloured)?;
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

fn write_table(
    out: &mut impl Write,
    request: &Request,
    now: DateTime<Utc>,
    coloured: bool,
) -> io::Result<()> {
    let rows: Vec<Vec<String>> =
        request.occurrences(now).map(|occurrence| cells(&occurrence, request)).collect();
    if rows.is_empty() {
        let reason = if request.date.is_leap_day() && request.options.leap_day == LeapDay::LeapYearsOnly {
            "No 29 February in these years, and the rule is leap_years_only."
        } else {
            "None from then on: the calendar ends with the year 9999."
        };
        return writeln!(out, "{reason}");
    }
    let mut head = vec!["DATE", "DAY", "LOCAL", "OFFSET", "DUE (UTC)"];
    if request.date.year().is_some() {
        head.push("TURNS");
    }
    let note = head.len();
    head.push("");
    let mut table = Table::new(&head).with_style(note, YELLOW);
    for row in rows {
        table.row(row);
    }
    table.write(out, coloured)
}

fn cells(occurrence: &Occurrence, request: &Request) -> Vec<String> {
    let local = occurrence.local_time();
    // Local mean time has seconds.
    let clock = if local.second() == 0 { "%H:%M" } else { "%H:%M:%S" };
    let mut cells = vec![
        occurrence.local_date.to_string(),
        occurrence.local_date.weekday().to_string(),
        local.format(clock).to_string(),
        occurrence.offset.to_string(),
        format_instant(occurrence.due_at),
    ];
    if request.date.year().is_some() {
        let age = request.date.years_by(occurrence.local_year);
        cells.push(age.map_or_else(|| "-".to_owned(), |age| age.to_string()));
    }
    cells.push(
        occurrence
            .describe_rule(request.date, request.options.send_at, request.options.leap_day)
            .unwrap_or_default(),
    );
    cells
}

/// Parses a full date `YYYY-MM-DD`: chrono also accepts `2026-1-1` and `+2026-01-01`.
fn day(text: &str) -> Result<NaiveDate, &'static str> {
    let date = text.parse::<AnnualDate>().ok().and_then(AnnualDate::first);
    date.ok_or("expected a valid date as YYYY-MM-DD")
}
