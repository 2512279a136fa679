//! `bday simulate`

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use chrono::{DateTime, Datelike as _, NaiveDate, Utc};
use indicatif::{ProgressBar, ProgressStyle};

use super::output::{self, Table};
use crate::clock::SharedClock;
use crate::dev::postgres::{EmbeddedPostgres, PostgresOptions};
use crate::dev::simulate::{self, SimulationOptions, SimulationReport, YearCounts};
use crate::model::LateJoin;

const EXAMPLES: &str = "\
Examples:
  bday simulate --users 1000 --years 2
  bday simulate --users 10000 --from 2026-01-01 --years 5 --seed 7
  bday simulate --late-join skip --json | jq .years

Runs the real stages on a real PostgreSQL: one of its own, removed at the end, unless --database names an empty one. Reads \
neither the configuration nor BDAY__ variables. Exit code 1 when a greeting is wrong, missing, or came twice.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// How many people
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    users: u32,
    /// The first day [default: 1 January of this year]
    #[arg(long, value_name = "DATE")]
    from: Option<NaiveDate>,
    /// How many years, that of the first day included
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=50))]
    years: u32,
    /// Everything is drawn from this; the same number makes the same years [default: a random one]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// What becomes of dates that are learned on the day: send or skip
    #[arg(long, value_name = "RULE", default_value = "send", value_parser = late_join)]
    late_join: LateJoin,
    /// An empty database to use [default: a private server]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

fn late_join(text: &str) -> Result<LateJoin, String> {
    match text {
        "send" => Ok(LateJoin::Send),
        "skip" => Ok(LateJoin::Skip),
        _ => Err("expected send or skip".to_owned()),
    }
}

pub(super) async fn run(args: Args, clock: SharedClock) -> anyhow::Result<ExitCode> {
    let this_year = NaiveDate::from_ymd_opt(clock.now().year(), 1, 1).unwrap_or_default();
    let options = SimulationOptions {
        users: args.users,
        from: args.from.unwrap_or(this_year),
        years: args.years,
        seed: args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000)),
        late_join: args.late_join,
    };
    anyhow::ensure!(
        options.from.year() >= 2000,
        "--from {}: the rules of zones are simulated from 2000 on",
        options.from
    );
    let server = match &args.database {
        Some(_) => None,
        None => Some(EmbeddedPostgres::start(PostgresOptions::throwaway()).await?),
    };
    let url = args.database.or_else(|| server.as_ref().map(EmbeddedPostgres::url)).unwrap_or_default();
    let bar = progress_bar(&options);
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
    if args.json {
        output::json(&report)?;
    } else {
        print(&report, &options)?;
    }
    if report.is_right() {
        return Ok(ExitCode::SUCCESS);
    }
    for line in &report.violations {
        eprintln!("bday: {line}");
    }
    eprintln!("bday: the seed was {}: the same years again with --seed {0}", report.seed);
    Ok(ExitCode::FAILURE)
}

fn progress_bar(options: &SimulationOptions) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(u64::from(options.years) * 365);
    let style = ProgressStyle::with_template("{msg} {wide_bar} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style);
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

fn print(report: &SimulationReport, options: &SimulationOptions) -> std::io::Result<()> {
    let mut table = Table::new(&[
        "YEAR",
        "USERS",
        "DUE",
        "SENT",
        "RETRIED",
        "LATE JOINS",
        "MOVED",
        "LEAP",
        "GAP",
        "OVERLAP",
        "NO DATE",
        "LATE",
        "LATE JOIN",
        "DEAD",
        "CANCELLED",
        "WRONG",
        "TWICE",
        "MISSING",
    ]);
    for (year, row) in &report.years {
        table.row(cells(year.to_string(), row));
    }
    let total = report.total();
    table.row(cells("all".to_owned(), &total));
    table.print()?;
    let YearCounts { moves, edits, deleted, returned, .. } = total;
    println!(
        "\n{moves} moves to another zone, {edits} other edits, {deleted} deletions, {returned} returns; {} ticks, {:.1} s, seed {}",
        report.ticks, report.elapsed_secs, options.seed
    );
    println!(
        "{}",
        if report.is_right() {
            "Every greeting came once, at its time, and every row says so."
        } else {
            "Not every greeting came once, at its time."
        }
    );
    Ok(())
}

fn cells(name: String, row: &YearCounts) -> Vec<String> {
    let counts = [
        row.users,
        row.due,
        row.sent,
        row.retried,
        row.late_joins,
        row.moved,
        row.leap,
        row.gap,
        row.overlap,
        row.missing_date,
        row.skipped_late,
        row.skipped_late_join,
        row.dead,
        row.cancelled,
        row.wrong,
        row.twice,
        row.missing,
    ];
    std::iter::once(name).chain(counts.map(|count| count.to_string())).collect()
}
