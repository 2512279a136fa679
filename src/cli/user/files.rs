//! `bday user import` and `bday user export`

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::output;
use crate::calendar::{Zone, format_count};
use crate::cli::context::Context;
use crate::cli::open_input;
use crate::people::export::{self, ExportFormat};
use crate::people::import::{self, ImportFormat, ImportOptions, ImportReport};
use crate::store::UserFilter;

const IMPORT: &str = "\
CSV: the first line names the columns, in any order: first_name, last_name, birth_date, time_zone, and optionally send_at \
(HH:MM), leap_day (feb28, mar1, leap_years_only), external_id, id (as written by `bday user export`), email, phone \
(+491711234567), slack_user_id, locale (pt-BR), and a date for each further kind, such as work_anniversary. Dates are \
YYYY-MM-DD, or --MM-DD without the year. A line is the whole user, but addresses and dates of further kinds without a \
column are kept.

NDJSON: a file that ends in .ndjson or .jsonl, or --format ndjson. Each line is an object as in the API and as written by \
`bday user export`.

vCard: a file that ends in .vcf, or --format vcard, of version 2.1, 3.0 or 4.0. FN or N, BDAY (also --MMDD), TZ (an \
IANA name), EMAIL and TEL (the preferred one), UID (the external id) and LANG are read. --time-zone is the zone of cards \
without TZ. An address that a card lacks is kept.

A line with an id updates that user or creates it; else a line with an external id does. A line without both creates a \
user once: importing the same line again changes nothing. Give external ids to users that you also add with `bday user \
add` or the API, which do not compare lines, or they may exist and be greeted twice. Give external ids to equal lines, \
too: they are different users, but if an import is interrupted between them, its repetition adds only one.

Invalid lines are reported with their numbers, and the rest is imported. Exit code 1 if a line is invalid. --dry-run \
reports what an import would do, and writes nothing. --rejects writes the invalid lines to a file, to correct them there \
and import that file.

Examples:
  bday user import users.csv
  bday user import users.csv --dry-run --rejects invalid.csv
  bday user import users.csv --json | jq '.errors[]'
  bday user import contacts.vcf --time-zone Europe/Berlin
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
    format: Option<ImportFormat>,
    /// Use this zone for vCards without TZ
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<Zone>,
    /// Report what would be created and updated, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Write the invalid lines to this file
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn import(args: Import, context: &Context) -> Result<ExitCode> {
    let Import { file, format, time_zone, dry_run, rejects, json } = args;
    let format = format.unwrap_or_else(|| ImportFormat::of_file_name(&file));
    if time_zone.is_some() && format != ImportFormat::Vcard {
        bail!("--time-zone is for vCards: in CSV and NDJSON, each line has its time zone");
    }
    let (input, bytes) = open_input(&file)?;
    let input = BufReader::with_capacity(BUFFER_BYTES, input);
    let (rejects, writing) = rejects.map(|path| write_rejects(&path, &file)).transpose()?.unzip();
    let bar = output::progress(BAR, bytes);
    let shown = bar.clone();
    let progress = move |read| {
        if bytes > 0 {
            shown.set_position(read);
        }
    };
    let options = ImportOptions { format, time_zone, dry_run, rejects };
    let report =
        import::run(&context.store, &context.schedule, &context.clock, options, input, progress).await;
    bar.finish_and_clear();
    if let Some(writing) = writing {
        writing.await?.context("cannot write the file of --rejects")?;
    }
    let report = report.with_context(|| format!("import of {}", file.display()))?;
    output::json_or(json, &report, || {
        print_report(&report);
        Ok(())
    })?;
    Ok(if report.failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print_report(report: &ImportReport) {
    let ImportReport { created, updated, unchanged, failed, .. } = report;
    for error in &report.errors {
        eprintln!("line {}: {}", error.line, output::escape(&error.reason));
    }
    let unreported = failed.saturating_sub(report.errors.len() as u64);
    if unreported > 0 {
        eprintln!("… and {}", format_count(unreported, "more invalid line", "more invalid lines"));
    }
    let ignored: Vec<String> = report.columns.ignored.iter().map(|name| output::escape(name)).collect();
    if !ignored.is_empty() {
        eprintln!("ignored properties: {}", ignored.join(", "));
    }
    let dry_run = if report.dry_run { "dry run, nothing written: " } else { "" };
    println!("{dry_run}created {created}, updated {updated}, unchanged {unchanged}, failed {failed}");
}

type RejectsFile = (mpsc::Sender<Vec<u8>>, JoinHandle<io::Result<()>>);

/// Creates the file `path`, and writes each row that is sent.
fn write_rejects(path: &Path, input: &Path) -> Result<RejectsFile> {
    let is_input =
        path.canonicalize().is_ok_and(|path| input.canonicalize().is_ok_and(|input| input == path));
    ensure!(!is_input, "--rejects {} is the file to import: name another file", path.display());
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let (sender, mut rows) = mpsc::channel::<Vec<u8>>(64);
    let writing = tokio::task::spawn_blocking(move || {
        let mut out = BufWriter::new(file);
        while let Some(row) = rows.blocking_recv() {
            out.write_all(&row)?;
        }
        out.flush()
    });
    Ok((sender, writing))
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
    #[arg(long, value_enum, default_value_t = ExportFormat::Csv)]
    format: ExportFormat,
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
