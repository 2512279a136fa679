//! `bday user import` and `bday user export`

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use uuid::Uuid;

use super::output;
use crate::calendar::format_count;
use crate::cli::context::Context;
use crate::cli::open_input;
use crate::people::{FileFormat, export, import};
use crate::store::UserFilter;

const IMPORT: &str = "\
CSV: the first line names the columns, in any order: first_name, last_name, birth_date, time_zone, and optionally send_at \
(HH:MM), leap_day (feb28, mar1, leap_years_only), external_id, id (as written by `bday user export`), email, phone \
(+491711234567), slack_user_id, locale (pt-BR), and a date for each further kind, such as work_anniversary. Dates are \
YYYY-MM-DD, or --MM-DD without the year. A line is the whole user, but addresses and dates of further kinds without a \
column are kept.

NDJSON: a file that ends in .ndjson or .jsonl, or --format ndjson. Each line is an object as in the API and as written by \
`bday user export`.

A line with an id updates that user or creates it; else a line with an external id does. A line without both creates a \
user once: importing the same line again changes nothing. Give external ids to users that you also add with `bday user \
add` or the API, which do not compare lines, or they may exist and be greeted twice. Give external ids to equal lines, \
too: they are different users, but if an import is interrupted between them, its repetition adds only one.

Invalid lines are reported with their numbers, and the rest is imported. Exit code 1 if a line is invalid.

Examples:
  bday user import users.csv
  bday user import users.csv --json | jq '.errors[]'
  zcat users.ndjson.gz | bday user import - --format ndjson";
const BUFFER_BYTES: usize = 256 * 1024;
const BAR: &str = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta} left";

#[derive(Debug, clap::Args)]
#[command(after_help = IMPORT)]
pub(in crate::cli) struct Import {
    /// The file; - is standard input
    file: PathBuf,
    /// Read this format [default: by the file's name, else CSV]
    #[arg(long)]
    format: Option<FileFormat>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn import(args: Import, context: &Context) -> Result<ExitCode> {
    let Import { file, format, json } = args;
    let format = format.unwrap_or_else(|| format_of(&file));
    let (input, bytes) = open_input(&file)?;
    let input = BufReader::with_capacity(BUFFER_BYTES, input);
    let bar = output::progress(BAR, bytes);
    let shown = bar.clone();
    let progress = move |read| {
        if bytes > 0 {
            shown.set_position(read);
        }
    };
    let report =
        import::run(&context.store, &context.schedule, &context.clock, format, input, progress).await;
    bar.finish_and_clear();
    let report = report.with_context(|| format!("import of {}", file.display()))?;
    output::json_or(json, &report, || {
        for error in &report.errors {
            eprintln!("line {}: {}", error.line, output::escape(&error.reason));
        }
        let unreported = report.failed.saturating_sub(report.errors.len() as u64);
        if unreported > 0 {
            eprintln!("… and {}", format_count(unreported, "more invalid line", "more invalid lines"));
        }
        println!(
            "created {}, updated {}, unchanged {}, failed {}",
            report.created, report.updated, report.unchanged, report.failed
        );
        Ok(())
    })?;
    Ok(if report.failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn format_of(file: &Path) -> FileFormat {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("ndjson" | "jsonl") => FileFormat::Ndjson,
        _ => FileFormat::Csv,
    }
}

const EXPORT: &str = "\
Examples:
  bday user export > users.csv
  bday user export --format ndjson --output users.ndjson
  bday user export | bday --config other.toml user import -

Exports users in the order of their ids, each once. A user who is added during the export may be missing. \
In a spreadsheet, import all columns as text: a name such as =1+1 would be a formula.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXPORT)]
pub(in crate::cli) struct Export {
    /// Write this format
    #[arg(long, value_enum, default_value_t = FileFormat::Csv)]
    format: FileFormat,
    /// Write to this file [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) async fn export(args: Export, context: &Context) -> Result<ExitCode> {
    let out: Box<dyn Write + Send> = match &args.output {
        None => Box::new(io::stdout()),
        Some(path) => {
            Box::new(File::create(path).with_context(|| format!("cannot create {}", path.display()))?)
        }
    };
    let mut out = BufWriter::with_capacity(64 * 1024, out);
    let writer = export::ExportWriter::new(args.format, &context.schedule);
    match write(&mut out, &writer, context).await {
        Err(error) if output::is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        result => result.map(|()| ExitCode::SUCCESS),
    }
}

async fn write(out: &mut impl Write, writer: &export::ExportWriter, context: &Context) -> Result<()> {
    out.write_all(writer.header().as_bytes())?;
    let (all, mut after) = (UserFilter::default(), Uuid::nil());
    loop {
        let page = context.store.list_users(&all, after, export::PAGE_SIZE).await?;
        for user in &page.users {
            out.write_all(writer.line(user).as_bytes())?;
        }
        let Some(next) = page.next else { break };
        after = next;
    }
    out.flush()?;
    Ok(())
}
