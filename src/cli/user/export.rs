//! `bday user export`

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use uuid::Uuid;

use super::Context;
use crate::people::FileFormat;
use crate::people::export::{ExportWriter, PAGE_SIZE};
use crate::store::UserFilter;

const EXAMPLES: &str = "\
Examples:
  bday user export > people.csv
  bday user export --format ndjson --output people.ndjson
  bday user export | bday --config other.toml user import -

People come in the order of their ids. Somebody who is added meanwhile may be missing; nobody comes twice. \
Have a spreadsheet import the columns as text: a name such as =1+1 is a formula to it.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// How it is written
    #[arg(long, value_enum, default_value_t = FileFormat::Csv)]
    format: FileFormat,
    /// Where to [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) async fn run(args: Args, context: &Context) -> anyhow::Result<ExitCode> {
    let out: Box<dyn Write + Send> = match &args.output {
        None => Box::new(io::stdout()),
        Some(path) => {
            Box::new(File::create(path).with_context(|| format!("cannot create {}", path.display()))?)
        }
    };
    let mut out = BufWriter::with_capacity(64 * 1024, out);
    let writer = ExportWriter::new(args.format, &context.schedule);
    match write(&mut out, &writer, context).await {
        // A reader that has seen enough is no failure.
        Err(error)
            if error
                .downcast_ref()
                .is_some_and(|error: &io::Error| error.kind() == ErrorKind::BrokenPipe) =>
        {
            Ok(ExitCode::SUCCESS)
        }
        result => result.map(|()| ExitCode::SUCCESS),
    }
}

async fn write(out: &mut impl Write, writer: &ExportWriter, context: &Context) -> anyhow::Result<()> {
    out.write_all(writer.header().as_bytes())?;
    let (everybody, mut after) = (UserFilter::default(), Uuid::nil());
    loop {
        let page = context.store.list_users(&everybody, after, PAGE_SIZE).await?;
        for user in &page.users {
            out.write_all(writer.line(user).as_bytes())?;
        }
        let Some(next) = page.next else { break };
        after = next;
    }
    out.flush()?;
    Ok(())
}
