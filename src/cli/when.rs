//! `bday when`: the calendar as a calculator. Needs no database and no configuration.

mod batch;
mod request;
mod table;

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use chrono::NaiveDate;
use clap::Args;

use self::request::{Defaults, MAX_YEARS, Request};
use crate::calendar::{AnnualDate, LeapDay, SendAt, Zone};
use crate::clock::Clock;

const EXAMPLES: &str = "\
Examples:
  bday when --birth-date 2000-02-29 --time-zone America/New_York
  bday when --birth-date=--03-29 --time-zone Europe/Berlin --send-at 02:30 --from 2026-01-01
  bday when --birth-date 2000-02-29 --time-zone Asia/Tokyo --leap-day mar1 --years 12 --json
  echo '{\"birthDate\":\"2000-02-29\",\"timeZone\":\"Asia/Tokyo\"}' | bday when --input -

With --input, each line is a JSON object with the fields birthDate, timeZone \
and, if wanted, sendAt, leapDay, from and years. It is answered with one line: \
a JSON array as with --json, or an object with error, field and line. --send-at, \
--leap-day, --from and --years apply to lines that lack the field. The exit code \
is 1 when a line could not be answered.";

/// Show when the next birthdays are due, and by which rule
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct When {
    /// The birth date: YYYY-MM-DD, or =--MM-DD without the year
    #[arg(long, value_name = "DATE", required_unless_present = "input", allow_hyphen_values = true)]
    birth_date: Option<AnnualDate>,

    /// An IANA time zone name, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", required_unless_present = "input")]
    time_zone: Option<Zone>,

    /// The local time at which the greeting is due
    #[arg(long, value_name = "HH:MM", default_value_t)]
    send_at: SendAt,

    /// What 29 February means in a common year
    #[arg(long, value_name = "feb28|mar1|leap_years_only", default_value_t)]
    leap_day: LeapDay,

    /// The first date to consider [default: today in that zone]
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = request::day)]
    from: Option<NaiveDate>,

    /// How many years to look ahead
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_YEARS)))]
    years: u16,

    /// Print a JSON array
    #[arg(long)]
    json: bool,

    /// Answer NDJSON from a file, or from standard input with "-"
    #[arg(long, value_name = "FILE", conflicts_with_all = ["birth_date", "time_zone"])]
    input: Option<PathBuf>,
}

impl When {
    /// Writes the answer to `out`, in colour if `colour`.
    ///
    /// Exits with 1 when a line of `--input` could not be answered. A reader that has seen enough (`| head`) is no
    /// failure.
    pub fn run(&self, clock: &dyn Clock, out: &mut impl Write, colour: bool) -> anyhow::Result<ExitCode> {
        match self.answer(clock, out, colour) {
            Err(error)
                if error.downcast_ref().is_some_and(|e: &io::Error| e.kind() == ErrorKind::BrokenPipe) =>
            {
                Ok(ExitCode::SUCCESS)
            }
            other => other,
        }
    }

    fn answer(&self, clock: &dyn Clock, out: &mut impl Write, colour: bool) -> anyhow::Result<ExitCode> {
        let defaults = Defaults {
            send_at: self.send_at,
            leap_day: self.leap_day,
            from: self.from,
            years: self.years,
            now: clock.now(),
        };
        if let Some(path) = &self.input {
            return batch::answer(&mut open(path)?, out, &defaults);
        }
        let (Some(date), Some(zone)) = (self.birth_date, self.time_zone) else {
            anyhow::bail!("--birth-date and --time-zone are needed, or --input");
        };
        let request = Request::new(date, zone, &defaults);
        if self.json {
            serde_json::to_writer(&mut *out, &request.occurrences().collect::<Vec<_>>())
                .map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            table::write(out, &request, colour)?;
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

fn open(path: &Path) -> anyhow::Result<BufReader<Box<dyn Read>>> {
    let input: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).with_context(|| format!("cannot open {}", path.display()))?)
    };
    Ok(BufReader::with_capacity(batch::BUFFER_BYTES, input))
}
