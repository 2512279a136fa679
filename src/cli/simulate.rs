//! `bday simulate`

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, Datelike as _, NaiveDate, TimeDelta, Utc};

use super::output::{self, Table};
use crate::calendar::{format_count, format_duration};
use crate::clock::SharedClock;
use crate::dev::postgres::{EmbeddedPostgres, PostgresOptions};
use crate::dev::simulate::{self, SimulationOptions, SimulationReport, YearCounts};
use crate::model::LateJoin;

const EXAMPLES: &str = "\
Examples:
  bday simulate --users 1000 --years 2
  bday simulate --users 10000 --from 2026-01-01 --years 5 --seed 7
  bday simulate --late-join skip --json | jq .years

Runs the real stages on a private PostgreSQL server, removed at the end, or on the empty database of --database. Reads \
neither the configuration nor BDAY__ variables. Exit code 1 if a greeting is wrong, missing or duplicate.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Simulate this many users
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    users: u32,
    /// Start on this day [default: 1 January of this year]
    #[arg(long, value_name = "DATE")]
    from: Option<NaiveDate>,
    /// Simulate this many years, including that of the first day
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=50))]
    years: u32,
    /// Seed the random generator; the same seed repeats a simulation [default: random]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Apply this rule to dates that are learned on the day
    #[arg(long, value_name = "RULE", default_value = "send", value_parser = ["send", "skip"])]
    late_join: String,
    /// Use this empty database [default: a private server]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, clock: SharedClock) -> Result<ExitCode> {
    let this_year = NaiveDate::from_ymd_opt(clock.now().year(), 1, 1).unwrap_or_default();
    let options = SimulationOptions {
        users: args.users,
        from: args.from.unwrap_or(this_year),
        years: args.years,
        seed: args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000)),
        late_join: if args.late_join == "skip" { LateJoin::Skip } else { LateJoin::Send },
    };
    anyhow::ensure!(options.from.year() >= 2000, "--from {}: must be 2000-01-01 or later", options.from);
    let server = match &args.database {
        Some(_) => None,
        None => Some(EmbeddedPostgres::start(PostgresOptions::throwaway()).await?),
    };
    let url = args.database.or_else(|| server.as_ref().map(EmbeddedPostgres::url)).unwrap_or_default();
    let bar = output::progress("{msg} {wide_bar} {eta}", u64::from(options.years) * 365);
    bar.enable_steady_tick(Duration::from_millis(500));
    let day = |at: DateTime<Utc>| {
        bar.set_position((at.date_naive() - options.from).num_days() as u64);
        bar.set_message(at.format("%Y-%m").to_string());
    };
    let result = Box::pin(simulate::run(&options, &url, &*clock, &day)).await;
    bar.finish_and_clear();
    if let Some(server) = server {
        server.stop().await?;
    }
    let report = result?;
    output::json_or(args.json, &report, || print(&report))?;
    if report.is_right() {
        return Ok(ExitCode::SUCCESS);
    }
    for line in &report.violations {
        eprintln!("bday: {line}");
    }
    eprintln!("bday: repeat this simulation with --seed {}", report.seed);
    Ok(ExitCode::FAILURE)
}

fn print(report: &SimulationReport) -> io::Result<()> {
    let total = report.total();
    let names: Vec<&str> = columns(&total).iter().map(|(name, _)| *name).collect();
    let mut table = Table::new(&[&["YEAR"], &names[..]].concat());
    let years = report.years.iter().map(|(year, counts)| (year.to_string(), counts));
    for (year, counts) in years.chain([("all".to_owned(), &total)]) {
        let cells = columns(counts).map(|(_, count)| count.to_string());
        table.row([year].into_iter().chain(cells));
    }
    table.print()?;
    let YearCounts { moves, edits, deleted, returned, .. } = total;
    let took = format_duration(TimeDelta::milliseconds((report.elapsed_secs * 1000.0) as i64));
    println!(
        "\n{} to another zone, {}, {}, {}; {}, {took}, seed {}",
        format_count(moves, "move", "moves"),
        format_count(edits, "other edit", "other edits"),
        format_count(deleted, "deletion", "deletions"),
        format_count(returned, "return", "returns"),
        format_count(report.ticks, "tick", "ticks"),
        report.seed
    );
    if report.is_right() {
        println!("Every greeting was sent once and on time, as its event records.");
    } else {
        println!("Not every greeting was sent once and on time.");
    }
    Ok(())
}

fn columns(year: &YearCounts) -> [(&'static str, u64); 17] {
    [
        ("USERS", year.users),
        ("DUE", year.due),
        ("SENT", year.sent),
        ("RETRIED", year.retried),
        ("LATE JOINS", year.late_joins),
        ("MOVED", year.moved),
        ("LEAP", year.leap),
        ("GAP", year.gap),
        ("OVERLAP", year.overlap),
        ("NO DATE", year.missing_date),
        ("LATE", year.skipped_late),
        ("LATE JOIN", year.skipped_late_join),
        ("DEAD", year.dead),
        ("CANCELLED", year.cancelled),
        ("WRONG", year.wrong),
        ("TWICE", year.twice),
        ("MISSING", year.missing),
    ]
}
