//! `bday migrate`

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::{ConfigSource, output};
use crate::clock::SharedClock;
use crate::config::{QueueKind, parts};

const EXAMPLES: &str = "\
Examples:
  bday migrate
  bday migrate --json

Migrates forward only, and may be run again. `bday serve` does the same when it starts, unless database.migrate is off.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, source: &ConfigSource, clock: SharedClock) -> Result<ExitCode> {
    let config = source.load()?;
    let store = parts::store(&config).await?;
    store.check_sessions().await?;
    store.migrate().await?;
    if config.queue.create {
        parts::queue(&config, &store, &clock).await?.create().await?;
    }
    store.close().await;
    let queue_ready = config.queue.create || config.queue.kind == QueueKind::Postgres;
    let json = json!({ "schemaUpToDate": true, "queueReady": queue_ready });
    let queue = if queue_ready { ", the queue is ready" } else { "" };
    output::json_or_text(args.json, &json, format_args!("the schema is up to date{queue}"))?;
    Ok(ExitCode::SUCCESS)
}
