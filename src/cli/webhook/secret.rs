//! `bday webhook secret`

use std::process::ExitCode;

use anyhow::Context as _;

use super::output;
use crate::pipeline::channel::signature;

const EXAMPLES: &str = "\
Examples:
  (umask 077; bday webhook secret > /etc/bday/webhook-secret)
  aws secretsmanager create-secret --name bday/webhook --secret-string \"$(bday webhook secret)\"

32 random bytes, as Standard Webhooks writes a secret. Needs no configuration, and keeps nothing.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let secret = signature::new_secret().context("the system gives no random bytes")?;
    if args.json {
        output::json(&serde_json::json!({ "secret": secret }))?;
    } else {
        println!("{secret}");
    }
    Ok(ExitCode::SUCCESS)
}
