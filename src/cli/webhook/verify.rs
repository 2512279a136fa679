//! `bday webhook verify`

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use secrecy::ExposeSecret as _;
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use super::examine::{Claim, Examination, examine};
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

Give the three headers and the body as they arrived, byte for byte. --secret takes env:NAME, file:PATH, ssm:NAME or \
secretsmanager:ID, too, so that no secret stands in the list of processes; without any, webhook.secrets is taken. \
Exit code 0 when it verifies, 1 when it does not, 2 when the call is wrong.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The receiver's secret, or where it is; may be given several times
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
    /// How far the timestamp may be from this machine's clock, to either side
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    tolerance_secs: u32,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, source: &ConfigSource, clock: SharedClock) -> anyhow::Result<ExitCode> {
    let sources = Sources::new(Arc::clone(&clock));
    let secrets = match secrets(&args, source, &sources).await {
        Ok(secrets) => secrets,
        Err(error) => {
            eprintln!("bday: {error:#}");
            return Ok(ExitCode::from(2));
        }
    };
    let mut body = Vec::new();
    tokio::io::stdin()
        .take(MAX_BODY_BYTES)
        .read_to_end(&mut body)
        .await
        .context("the body cannot be read from standard input")?;
    let claim = Claim { id: &args.id, timestamp: &args.timestamp, signature: &args.signature, body: &body };
    let examination = examine(&secrets, &claim, clock.now().timestamp(), args.tolerance_secs);
    if args.json {
        output::json(&as_json(&examination))?;
    } else {
        show(&examination, secrets.len());
    }
    Ok(if examination.verifies() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn secrets(args: &Args, source: &ConfigSource, sources: &Sources) -> anyhow::Result<Vec<Secret>> {
    let given = args.secret.iter().cloned().map(|place| ("--secret", place));
    let variables = args.secret_env.iter().cloned().map(Reference::Env);
    let mut places: Vec<_> = given.chain(variables.map(|place| ("--secret-env", place))).collect();
    if places.is_empty() {
        let configured = source.load()?.webhook.secrets;
        if configured.is_empty() {
            anyhow::bail!(
                "there is no secret to verify with: give --secret or --secret-env, or set webhook.secrets"
            );
        }
        places.extend(configured.into_iter().map(|place| ("webhook.secrets", place)));
    }
    let mut secrets = Vec::new();
    for (key, place) in places {
        let where_from = || match place.literal() {
            Some(_) => key.to_owned(),
            None => format!("{key} (from {place})"),
        };
        let text = sources.open(&place).fetch().await.with_context(where_from)?;
        let parsed = signature::parse_secrets(text.expose_secret());
        secrets.extend(parsed.map_err(|error| anyhow::anyhow!("{}: it {error}", where_from()))?);
    }
    Ok(secrets)
}

fn show(examination: &Examination, secrets: usize) {
    match &examination.signature {
        Ok(_) if secrets == 1 => println!("signature  ok     it fits the secret"),
        Ok(n) => println!("signature  ok     it fits secret {} of {secrets}", n + 1),
        Err(error) => println!("signature  WRONG  {error}"),
    }
    match &examination.timestamp {
        Ok(age) if *age < 0 => println!("timestamp  ok     {} s ahead of this machine's clock", -age),
        Ok(age) => println!("timestamp  ok     {age} s ago"),
        Err(error) => println!("timestamp  WRONG  {error}"),
    }
    println!(
        "{}",
        if examination.verifies() {
            "It verifies."
        } else {
            "It does not verify: a receiver must refuse it."
        }
    );
}

fn as_json(examination: &Examination) -> serde_json::Value {
    let (signature, timestamp) = (&examination.signature, &examination.timestamp);
    json!({
        "verifies": examination.verifies(),
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
