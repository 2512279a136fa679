//! `bday webhook secret`

use std::process::ExitCode;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::output;
use crate::pipeline::channel::signature::PREFIX;

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
    let secret = new_secret().context("the system gives no random bytes")?;
    if args.json {
        output::json(&serde_json::json!({ "secret": secret }))?;
    } else {
        println!("{secret}");
    }
    Ok(ExitCode::SUCCESS)
}

fn new_secret() -> Result<String, getrandom::Error> {
    // The width of the hash.
    let mut key = [0; 32];
    getrandom::fill(&mut key)?;
    Ok(format!("{PREFIX}{}", STANDARD.encode(key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::channel::signature::Secret;

    #[test]
    fn new_secrets_are_valid_and_differ() {
        let (one, other) = (new_secret().expect("a secret"), new_secret().expect("a secret"));
        assert_ne!(Secret::parse(&one), Secret::parse(&other));
        assert!(Secret::parse(&one).is_ok());
    }
}
