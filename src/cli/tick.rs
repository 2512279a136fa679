//! `bday tick`

use std::process::ExitCode;
use std::sync::Arc;

use super::{ConfigSource, output};
use crate::clock::SharedClock;
use crate::config::parts;
use crate::pipeline::zone_data;
use crate::store::chain;

const EXAMPLES: &str = "\
Examples:
  bday tick                     what a running scheduler does each minute, once
  bday tick | jq .enqueued

Prints one JSON object. Exit code 1 when something could not be done; what was done stays done.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The answer is JSON with or without this
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(_: Args, source: &ConfigSource, clock: SharedClock) -> anyhow::Result<ExitCode> {
    let config = source.load()?;
    config.require_all(false)?;
    let store = parts::store(&config).await?;
    store.check_schema().await?;
    let queue = parts::queue(&config, &store, &clock).await?;
    if config.queue.create {
        queue.create().await?;
    }
    // Where another process is at it, what is due by the old data may go out by it: as in the minute before.
    zone_data::recompute(&store, &config.schedule(), &*clock, &zone_data::version(), || {}).await?;
    let scheduler = parts::scheduler_for_command(&config, store.clone(), queue, Arc::clone(&clock));
    let (tick, result) = scheduler.tick(clock.now()).await;
    output::json(&tick)?;
    store.close().await;
    if let Err(error) = &result {
        eprintln!("bday: {}", chain(error));
    }
    Ok(if result.is_err() || tick.failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
