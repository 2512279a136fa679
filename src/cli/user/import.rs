//! `bday user import`

use std::fs::File;
use std::io::{BufReader, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};

use super::Context;
use crate::cli::output;
use crate::people::{FileFormat, import};

const EXAMPLES: &str = "\
CSV: the columns, named in the first line, in any order, are first_name,last_name,birth_date,time_zone \
and if wanted send_at (HH:MM), leap_day (feb28, mar1, leap_years_only), external_id, id (bday's own, as `bday user \
export` writes it), and a date for each further kind, named like the kind, such as work_anniversary. A date is YYYY-MM-DD, or --MM-DD without the year.

NDJSON (a file that ends in .ndjson or .jsonl, or --format ndjson): a line is an object as the API takes it, and as \
`bday user export` writes it.

A person with an id is brought up to date, or added under that id; else one with an external id is. One without both is \
known by its line: a line that was imported before changes nothing. (So give external ids to people whom you also add in \
other ways: `bday user add` and the API do not look for a line, and a person who is there twice is greeted twice. Equal lines \
want them, too: they are as many people, but an import that broke off between two of them and runs again adds only one.) A bad \
line is reported with its number, and the rest goes in. Exit code 1 when there was one.

Examples:
  bday user import people.csv
  bday user import people.csv --json | jq '.errors[]'
  zcat people.ndjson.gz | bday user import - --format ndjson";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The file; - is standard input
    file: PathBuf,
    /// How it is written [default: what its name says, else CSV]
    #[arg(long)]
    format: Option<FileFormat>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> anyhow::Result<ExitCode> {
    let Args { file, format, json } = args;
    let format = format.unwrap_or_else(|| format_of(&file));
    let (store, schedule, clock) = (&context.store, &context.schedule, &context.clock);
    let report = if file.as_os_str() == "-" {
        let input = BufReader::with_capacity(256 * 1024, std::io::stdin());
        import::run(store, schedule, clock, format, input, |_| {}).await
    } else {
        let opened = File::open(&file).with_context(|| format!("cannot open {}", file.display()))?;
        let bar = progress(opened.metadata().map_or(0, |data| data.len()));
        let input = BufReader::with_capacity(256 * 1024, opened);
        let shown = bar.clone();
        let report = import::run(store, schedule, clock, format, input, move |bytes| {
            shown.set_position(bytes);
        })
        .await;
        bar.finish_and_clear();
        report
    };
    let report = report.with_context(|| format!("import of {}", file.display()))?;
    if json {
        output::json(&report)?;
    } else {
        for bad in &report.errors {
            eprintln!("line {}: {}", bad.line, output::harmless(&bad.reason));
        }
        if report.failed > report.errors.len() as u64 {
            eprintln!("… and {} more invalid lines", report.failed - report.errors.len() as u64);
        }
        println!(
            "created {}, updated {}, unchanged {}, failed {}",
            report.created, report.updated, report.unchanged, report.failed
        );
    }
    Ok(if report.failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn format_of(file: &Path) -> FileFormat {
    let ending = file.extension().and_then(|ending| ending.to_str());
    match ending {
        Some("ndjson" | "jsonl") => FileFormat::Ndjson,
        _ => FileFormat::Csv,
    }
}

/// On a terminal only.
fn progress(bytes: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta} left");
    ProgressBar::new(bytes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
