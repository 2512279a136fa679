//! `bday token revoke`

use std::process::ExitCode;

use anyhow::bail;
use chrono::{DateTime, Utc};
use serde_json::json;

use crate::cli::output;
use crate::store::Store;

const EXAMPLES: &str = "\
Examples:
  bday token revoke hr

It ends in all processes within 5 seconds.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// Which one
    name: String,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args, store: &Store, now: DateTime<Utc>) -> anyhow::Result<ExitCode> {
    let name = &args.name;
    if !store.revoke_token(now, name).await? {
        bail!("there is no live token {name:?}: `bday token list` has all of them");
    }
    if args.json {
        output::json(&json!({ "name": name, "result": "revoked" }))?;
    } else {
        println!("revoked {name}: it ends within 5 s");
    }
    Ok(ExitCode::SUCCESS)
}
