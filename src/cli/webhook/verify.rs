//! `bday webhook verify`

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use secrecy::ExposeSecret as _;
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use super::verification::{SignedRequest, Verification, verify};
use super::{ConfigSource, output};
use crate::clock::SharedClock;
use crate::config::source::{Reference, Sources};
use crate::pipeline::channel::signature::{self, Secret};

/// A greeting has a few hundred bytes.
const MAX_BODY_BYTES: u64 = 1 << 20;

const EXAMPLES: &str = "\
Examples:
  bday webhook verify --secret-env SECRET --id 01a20c92-40bd-7496-a43a-0e7ed8f73c8f \\
    --timestamp 1773565200 --signature 'v1,FU5go/74DnQxQHoBSE3fpBoxb6PgIIcoBuEJU9oKPww=' < body.json
  bday webhook verify --secret file:secret.txt --id … --timestamp … --signature … \\
    --tolerance-secs 86400 < body.json

Give the three headers and the body as they arrived, byte for byte. --secret also takes env:NAME, file:PATH, ssm:NAME or \
secretsmanager:ID, which keeps the secret out of the list of processes. Without --secret, webhook.secrets is used. \
Exit code 0 if the request verifies, 1 if it does not, 2 if the call is invalid.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The receiver's secret, or a reference to it; may be repeated
    #[arg(long, value_name = "SECRET")]
    secret: Vec<Reference>,
    /// The environment variable that holds the secret
    #[arg(long, value_name = "NAME")]
    secret_env: Vec<String>,
    /// The header webhook-id
    #[arg(long)]
    id: String,
    /// The header webhook-timestamp
    #[arg(long, allow_hyphen_values = true)]
    timestamp: String,
    /// The header webhook-signature
    #[arg(long)]
    signature: String,
    /// Accept timestamps this far from this machine's clock, to either side
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    tolerance_secs: u32,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, source: &ConfigSource, clock: SharedClock) -> Result<ExitCode> {
    let sources = Sources::new(Arc::clone(&clock));
    let secrets = match secrets(&args, source, &sources).await {
        Ok(secrets) => secrets,
        Err(error) => {
            eprintln!("bday: {error:#}");
            return Ok(ExitCode::from(2));
        }
    };
    let mut body = Vec::new();
    let mut input = tokio::io::stdin().take(MAX_BODY_BYTES);
    input.read_to_end(&mut body).await.context("cannot read the body from standard input")?;
    let request =
        SignedRequest { id: &args.id, timestamp: &args.timestamp, signature: &args.signature, body: &body };
    let verification = verify(&secrets, &request, clock.now().timestamp(), args.tolerance_secs);
    if args.json {
        output::json(&as_json(&verification))?;
    } else {
        print(&verification, secrets.len());
    }
    Ok(if verification.succeeded() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn secrets(args: &Args, source: &ConfigSource, sources: &Sources) -> Result<Vec<Secret>> {
    let given = args.secret.iter().cloned().map(|reference| ("--secret", reference));
    let variables = args.secret_env.iter().cloned().map(|name| ("--secret-env", Reference::Env(name)));
    let mut references: Vec<_> = given.chain(variables).collect();
    if references.is_empty() {
        let configured = source.load()?.webhook.secrets;
        anyhow::ensure!(
            !configured.is_empty(),
            "no secret to verify with: give --secret or --secret-env, or set webhook.secrets"
        );
        references.extend(configured.into_iter().map(|reference| ("webhook.secrets", reference)));
    }
    let mut secrets = Vec::new();
    for (key, reference) in references {
        let origin = || match reference.literal() {
            Some(_) => key.to_owned(),
            None => format!("{key} (from {reference})"),
        };
        let text = sources.open(&reference).fetch().await.with_context(origin)?;
        let parsed = signature::parse_secrets(text.expose_secret());
        secrets.extend(parsed.map_err(|error| anyhow::anyhow!("{}: it {error}", origin()))?);
    }
    Ok(secrets)
}

fn print(verification: &Verification, secrets: usize) {
    match &verification.signature {
        Ok(_) if secrets == 1 => println!("signature  ok     matches the secret"),
        Ok(n) => println!("signature  ok     matches secret {} of {secrets}", n + 1),
        Err(error) => println!("signature  WRONG  {error}"),
    }
    match &verification.timestamp {
        Ok(age) if *age < 0 => println!("timestamp  ok     {} s ahead of this machine's clock", -age),
        Ok(age) => println!("timestamp  ok     {age} s old"),
        Err(error) => println!("timestamp  WRONG  {error}"),
    }
    if verification.succeeded() {
        println!("The request verifies.");
    } else {
        println!("The request does not verify: a receiver must refuse it.");
    }
}

fn as_json(verification: &Verification) -> serde_json::Value {
    let Verification { signature, timestamp } = verification;
    json!({
        "verifies": verification.succeeded(),
        "signature": {
            "ok": signature.is_ok(),
            "secret": signature.as_ref().ok().map(|n| n + 1),
            "error": signature.as_ref().err(),
        },
        "timestamp": {
            "ok": timestamp.is_ok(),
            "ageSecs": timestamp.as_ref().ok(),
            "error": timestamp.as_ref().err(),
        },
    })
}
