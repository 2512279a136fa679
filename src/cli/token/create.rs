//! `bday token create`

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use crate::cli::output;
use crate::model::{Scope, Token, TokenHash};
use crate::store::{CreateTokenOutcome, MAX_LIVE_TOKENS, NewToken, Store};

const EXAMPLES: &str = "\
Examples:
  bday token create hr --scope write --expires-in-days 365
  TOKEN=$(bday token create prometheus --scope read)
  bday token create hr --scope write --sha256 HASH    the hash from `bday token generate`

The token is the only line on standard output, and is not shown again: the database keeps its hash.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// Who will have it: letters, digits, dots, hyphens, underscores
    #[arg(value_parser = name)]
    name: String,
    /// What it allows; each scope includes those before it
    #[arg(long)]
    scope: Scope,
    /// Ends by itself after so many days
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    expires_in_days: Option<u32>,
    /// Take the token with this hash, made by `bday token generate`, and print none
    #[arg(long, value_name = "HASH")]
    sha256: Option<TokenHash>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// As the database has it.
fn name(text: &str) -> Result<String, String> {
    let known = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    if (1..=60).contains(&text.len()) && text.chars().all(known) {
        Ok(text.to_owned())
    } else {
        Err("use 1 to 60 letters, digits, dots, hyphens and underscores".to_owned())
    }
}

pub(super) async fn run(args: Args, store: &Store, now: DateTime<Utc>) -> anyhow::Result<ExitCode> {
    let made = match args.sha256 {
        Some(_) => None,
        None => Some(Token::generate().context("the system gives no randomness")?),
    };
    let hash = args.sha256.or_else(|| made.as_ref().map(Token::hash)).context("no token")?;
    let expires_at = args.expires_in_days.map(|days| now + TimeDelta::days(days.into()));
    let Args { name, scope, .. } = args;
    let token = NewToken { name: &name, scope, hash, expires_at };
    match store.create_token(now, token).await? {
        CreateTokenOutcome::Created => {}
        CreateTokenOutcome::NameTaken => bail!(
            "there is a token {name:?}: choose another name, or end that one with `bday token revoke {name}`"
        ),
        CreateTokenOutcome::HashTaken => {
            bail!("this token was registered before: make another with `bday token generate`")
        }
        CreateTokenOutcome::TooManyTokens => {
            bail!("there are {MAX_LIVE_TOKENS} tokens: end some with `bday token revoke NAME`")
        }
    }
    let token = made.as_ref().map(Token::expose);
    if args.json {
        output::json(&json!({ "name": name, "scope": scope, "expiresAt": expires_at, "token": token }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let end = expires_at.map_or_else(String::new, |at| format!(", until {}", output::instant(at)));
    if let Some(token) = token {
        println!("{token}");
        eprintln!("{name} has scope {scope}{end}. Keep the token now: it is not shown again.");
    } else {
        eprintln!("{name} has scope {scope}{end}.");
    }
    Ok(ExitCode::SUCCESS)
}
