//! `bday token generate`

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;

use crate::cli::output;
use crate::model::Token;

const EXAMPLES: &str = "\
Examples:
  bday token generate                                 here; then, where bday runs:
  bday token create hr --scope write --sha256 HASH

Needs no database. The token stays with you; only its hash goes to where bday runs.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let token = Token::generate().context("the system gives no randomness")?;
    let hash = token.hash().to_string();
    if args.json {
        output::json(&json!({ "token": token.expose(), "sha256": hash }))?;
    } else {
        println!("token   {}\nsha256  {hash}", token.expose());
    }
    Ok(ExitCode::SUCCESS)
}
