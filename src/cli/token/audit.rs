//! `bday token audit`

use std::process::ExitCode;

use chrono::{DateTime, Utc};

use crate::cli::output::{self, Table};
use crate::model::parse_instant;
use crate::store::{ApiWrite, ApiWriteFilter, Store};

const EXAMPLES: &str = "\
Examples:
  bday token audit
  bday token audit --since 2026-03-01 --token hr --limit 1000 --json

Each request to the API that changed something, or was refused when it tried: when, with which token, what, \
about which id, and how it was answered. A dash as the status: it broke off before its answer. \
Kept for retention.audit_days.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// Only at this instant or later: RFC 3339, or a date
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    since: Option<DateTime<Utc>>,
    /// Only with the token of this name
    #[arg(long, value_name = "NAME")]
    token: Option<String>,
    /// How many, the newest first
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, store: &Store) -> anyhow::Result<ExitCode> {
    let filter = ApiWriteFilter { since: args.since, token: args.token };
    let writes = store.api_writes(&filter, i64::from(args.limit)).await?;
    let mut table = Table::new(&["AT", "TOKEN", "STATUS", "METHOD", "PATH", "FROM", "REQUEST"]);
    for write in &writes {
        if args.json {
            output::json(write)?;
        } else {
            table.row(cells(write));
        }
    }
    if !args.json {
        table.print()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn cells(write: &ApiWrite) -> [String; 7] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let path = match write.target_id {
        Some(id) if write.path.contains("{id}") => write.path.replace("{id}", &id.to_string()),
        Some(id) => format!("{} ({id})", write.path),
        None => write.path.clone(),
    };
    [
        output::instant(write.at),
        or_dash(write.token_name.clone()),
        or_dash(write.status.map(|status| status.to_string())),
        write.method.clone(),
        path,
        or_dash(write.remote.0.map(|ip| ip.to_string())),
        write.id.to_string(),
    ]
}
