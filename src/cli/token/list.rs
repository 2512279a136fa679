//! `bday token list`

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use serde_json::json;

use crate::cli::output::{self, Table};
use crate::store::{ApiToken, Store};

const EXAMPLES: &str = "\
Examples:
  bday token list
  bday token list --all --json";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// Those that have ended, too
    #[arg(long)]
    all: bool,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args, store: &Store, now: DateTime<Utc>) -> anyhow::Result<ExitCode> {
    let tokens = store.tokens().await?;
    let mut table = Table::new(&["NAME", "SCOPE", "STATE", "CREATED", "LAST USED", "EXPIRES"]);
    for token in tokens.iter().filter(|token| args.all || token.is_live(now)) {
        let state = state(token, now);
        if args.json {
            let mut line = json!(token);
            line["state"] = json!(state);
            output::json(&line)?;
        } else {
            let at = |at: Option<DateTime<Utc>>| at.map_or_else(|| "never".to_owned(), output::instant);
            table.row([
                token.name.clone(),
                token.scope.to_string(),
                state.to_owned(),
                output::instant(token.created_at),
                at(token.last_used_at),
                at(token.expires_at),
            ]);
        }
    }
    if !args.json {
        table.print()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn state(token: &ApiToken, now: DateTime<Utc>) -> &'static str {
    match token {
        _ if token.is_live(now) => "live",
        _ if token.revoked_at != token.expires_at && token.revoked_at.is_some() => "revoked",
        _ => "expired",
    }
}
