//! `bday token`

use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde_json::json;

use super::ConfigSource;
use super::context::with_database;
use super::output::{self, List};
use crate::calendar::format_instant;
use crate::clock::SharedClock;
use crate::model::{Scope, Token, TokenHash, parse_instant, parse_token_name};
use crate::operations::tokens::{self, CreatedToken, TokenRequest};
use crate::store::{ApiWrite, ApiWriteFilter, Store};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create a token and print it, once
    Create(Create),
    /// Generate a token without a database, to register its hash with `create --sha256`
    Generate(Generate),
    /// List tokens, without their secrets
    List(ListTokens),
    /// Revoke a token (takes effect within 5 s)
    Revoke(Revoke),
    /// Show the changes made through the API, and refused requests
    Audit(Audit),
}

const CREATE: &str = "\
Examples:
  bday token create hr --scope write --expires-in-days 365
  TOKEN=$(bday token create prometheus --scope read)
  bday token create my-calendar --scope calendar      for /calendar.ics?token=TOKEN
  bday token create hr --scope write --sha256 HASH    the hash from `bday token generate`

Prints only the token to standard output. It is not shown again: the database stores its hash.";

#[derive(Debug, Args)]
#[command(after_help = CREATE)]
pub(super) struct Create {
    /// A name for the token: letters, digits, dots, hyphens, underscores
    #[arg(value_parser = parse_token_name)]
    name: String,
    /// Allow this; each scope includes those before it
    #[arg(long)]
    scope: Scope,
    /// Expire after this many days
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    expires_in_days: Option<u32>,
    /// Register the token with this hash, from `bday token generate`, and print none
    #[arg(long, value_name = "HASH")]
    sha256: Option<TokenHash>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

const GENERATE: &str = "\
Examples:
  bday token generate
  bday token create hr --scope write --sha256 HASH    register it where bday runs

Needs no database. Keep the token; only its hash is registered. Use it where the output of `create` would be logged.";

#[derive(Debug, Args)]
#[command(after_help = GENERATE)]
pub(super) struct Generate {
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bday token list\n  bday token list --all --json")]
pub(super) struct ListTokens {
    /// List expired and revoked tokens, too
    #[arg(long)]
    all: bool,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bday token revoke hr\n\nTakes effect in all processes within 5 seconds."
)]
pub(super) struct Revoke {
    /// The name of the token
    name: String,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

const AUDIT: &str = "\
Examples:
  bday token audit
  bday token audit --since 2026-03-01 --token hr --limit 1000 --json

Shows each API request that changed something or was refused: time, token, response status, request, and the id \
concerned. A dash as the status: the request ended before its response. Kept for retention.audit_days.";

#[derive(Debug, Args)]
#[command(after_help = AUDIT)]
pub(super) struct Audit {
    /// Show only requests at or after this instant: RFC 3339, or a date
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    since: Option<DateTime<Utc>>,
    /// Show only requests with the token of this name
    #[arg(long, value_name = "NAME")]
    token: Option<String>,
    /// Show at most this many, the newest first
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: Command, source: &ConfigSource, clock: SharedClock) -> Result<ExitCode> {
    let command = match command {
        Command::Generate(args) => return generate(&args).map(|()| ExitCode::SUCCESS),
        command => command,
    };
    with_database(source, clock, async |context| {
        let (store, now) = (&context.store, context.clock.now());
        match command {
            Command::Create(args) => create(args, store, now).await?,
            Command::Generate(args) => generate(&args)?,
            Command::List(args) => list(&args, store, now).await?,
            Command::Revoke(args) => revoke(&args, store, now).await?,
            Command::Audit(args) => audit(args, store).await?,
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

async fn create(args: Create, store: &Store, now: DateTime<Utc>) -> Result<()> {
    let Create { name, scope, expires_in_days, sha256, json } = args;
    let request =
        TokenRequest { name, scope, expires_at: tokens::expiry(now, expires_in_days, None)?, hash: sha256 };
    let CreatedToken { token: created, secret } = tokens::create(store, now, request).await?;
    let (name, expires_at) = (&created.name, created.expires_at);
    let token = secret.as_ref().map(Token::expose);
    if json {
        output::json(
            &json!({ "id": created.id, "name": name, "scope": scope, "expiresAt": expires_at, "token": token }),
        )?;
        return Ok(());
    }
    let until = expires_at.map_or_else(String::new, |at| format!(", until {}", format_instant(at)));
    let advice = if token.is_some() { " Store the token now: it is not shown again." } else { "" };
    if let Some(token) = token {
        println!("{token}");
    }
    eprintln!("{name} has scope {scope}{until}.{advice}");
    Ok(())
}

fn generate(args: &Generate) -> Result<()> {
    let token = Token::generate().context("cannot read random bytes")?;
    let (token, hash) = (token.expose(), token.hash().to_string());
    let json = json!({ "token": token, "sha256": hash });
    Ok(output::json_or_text(args.json, &json, format_args!("token   {token}\nsha256  {hash}"))?)
}

async fn list(args: &ListTokens, store: &Store, now: DateTime<Utc>) -> Result<()> {
    let tokens = store.tokens().await?;
    let head = ["NAME", "SCOPE", "STATE", "CREATED", "LAST USED", "EXPIRES"];
    let mut list = List::new(args.json, u64::MAX, &head);
    for token in tokens.iter().filter(|token| args.all || token.is_live(now)) {
        let state = token.state(now);
        let mut json = json!(token);
        json["state"] = json!(state);
        let or_never = |at: Option<DateTime<Utc>>| at.map_or_else(|| "never".to_owned(), format_instant);
        list.add(&json, |_| {
            [
                token.name.clone(),
                token.scope.to_string(),
                state.to_string(),
                format_instant(token.created_at),
                or_never(token.last_used_at),
                or_never(token.expires_at),
            ]
        })?;
    }
    Ok(list.print()?)
}

async fn revoke(args: &Revoke, store: &Store, now: DateTime<Utc>) -> Result<()> {
    let name = &args.name;
    let revoked = store.revoke_token(now, name).await?;
    ensure!(revoked, "no live token has the name {name:?}: see `bday token list`");
    let json = json!({ "name": name, "result": "revoked" });
    Ok(output::json_or_text(args.json, &json, format_args!("revoked {name}: takes effect within 5 s"))?)
}

async fn audit(args: Audit, store: &Store) -> Result<()> {
    let filter = ApiWriteFilter { from: args.since, token: args.token, ..ApiWriteFilter::default() };
    let head = ["AT", "TOKEN", "STATUS", "METHOD", "PATH", "FROM", "REQUEST"];
    let mut list = List::new(args.json, args.limit.into(), &head);
    for write in store.api_writes(&filter, None, args.limit).await? {
        list.add(&write, audit_cells)?;
    }
    Ok(list.print()?)
}

fn audit_cells(write: &ApiWrite) -> [String; 7] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let path = match write.target_id {
        Some(id) if write.path.contains("{id}") => write.path.replace("{id}", &id.to_string()),
        Some(id) => format!("{} ({id})", write.path),
        None => write.path.clone(),
    };
    [
        format_instant(write.at),
        or_dash(write.token_name.clone()),
        or_dash(write.status.map(|status| status.to_string())),
        write.method.clone(),
        path,
        or_dash(write.remote.0.map(|ip| ip.to_string())),
        write.id.to_string(),
    ]
}
