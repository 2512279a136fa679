//! `bday webhook`

mod sample;
mod test;
mod verification;
mod verify;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use serde_json::json;

use super::{ConfigSource, output};
use crate::clock::SharedClock;
use crate::pipeline::channel::signature::PREFIX;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Send one signed sample to the webhook, and show the whole exchange
    Test(test::Args),
    /// Verify a received request, whose body is on standard input, and show why it does not verify
    Verify(verify::Args),
    /// Create a secret for signatures
    Secret(Secret),
}

const SECRET: &str = "\
Examples:
  (umask 077; bday webhook secret > /etc/bday/webhook-secret)
  aws secretsmanager create-secret --name bday/webhook --secret-string \"$(bday webhook secret)\"

Prints 32 random bytes in the format of Standard Webhooks. Needs no configuration and stores nothing.";

#[derive(Debug, clap::Args)]
#[command(after_help = SECRET)]
pub(super) struct Secret {
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: Command, source: &ConfigSource, clock: SharedClock) -> Result<ExitCode> {
    match command {
        Command::Test(args) => test::run(args, source, clock).await,
        Command::Verify(args) => verify::run(args, source, clock).await,
        Command::Secret(args) => secret(&args),
    }
}

fn secret(args: &Secret) -> Result<ExitCode> {
    let secret = new_secret().context("cannot read random bytes")?;
    output::json_or_text(args.json, &json!({ "secret": secret }), &secret)?;
    Ok(ExitCode::SUCCESS)
}

fn new_secret() -> Result<String, getrandom::Error> {
    // As long as the hash.
    let mut key = [0; 32];
    getrandom::fill(&mut key)?;
    Ok(format!("{PREFIX}{}", STANDARD.encode(key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::channel::signature;

    #[test]
    fn new_secrets_are_valid_and_differ() {
        let (one, other) = (new_secret().expect("a secret"), new_secret().expect("a secret"));
        assert_ne!(signature::Secret::parse(&one), signature::Secret::parse(&other));
        assert!(signature::Secret::parse(&one).is_ok());
    }
}
