//! `bday migrate`

use std::process::ExitCode;
use std::sync::Arc;

use super::{ConfigSource, output};
use crate::clock::{SharedClock, SystemClock};
use crate::config::QueueKind;
use crate::config::parts;

const EXAMPLES: &str = "\
Examples:
  bday migrate
  bday migrate --json

Forward only, and may be run again. `bday serve` does the same at its start, unless database.migrate is off.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args, source: &ConfigSource) -> anyhow::Result<ExitCode> {
    let config = source.load()?;
    let store = parts::store(&config).await?;
    store.check_sessions().await?;
    store.migrate().await?;
    let ours = config.queue.create || config.queue.kind == QueueKind::Postgres;
    if config.queue.create {
        let clock: SharedClock = Arc::new(SystemClock);
        parts::queue(&config, &store, &clock).await?.create().await?;
    }
    store.close().await;
    if args.json {
        output::json(&serde_json::json!({ "schemaUpToDate": true, "queueReady": ours }))?;
    } else {
        let queue = if ours { ", the queue is there" } else { "" };
        println!("the schema is up to date{queue}");
    }
    Ok(ExitCode::SUCCESS)
}
