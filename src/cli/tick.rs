//! `bday tick`

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;

use super::context::with_queue;
use super::{ConfigSource, output};
use crate::clock::SharedClock;
use crate::config::parts;
use crate::pipeline::zone_data;
use crate::store::chain;

const EXAMPLES: &str = "\
Examples:
  bday tick                     run what a scheduler runs each minute, once
  bday tick | jq .enqueued

Prints one JSON object. Exit code 1 if any part failed; completed parts stay committed.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Print a JSON object (the default)
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(_: Args, source: &ConfigSource, clock: SharedClock) -> Result<ExitCode> {
    with_queue(source, clock, async |context| {
        let (store, clock) = (&context.store, &context.clock);
        let queue = context.queue().await?;
        // If another process recomputes concurrently, this tick may send by the old data, as a minute earlier.
        zone_data::recompute(store, &context.schedule, &**clock, &zone_data::version(), || {}).await?;
        let scheduler =
            parts::scheduler_for_command(&context.config, store.clone(), queue, Arc::clone(clock));
        let (tick, result) = scheduler.tick(clock.now()).await;
        output::json(&tick)?;
        if let Err(error) = &result {
            eprintln!("bday: {}", chain(error));
        }
        Ok(if result.is_err() || tick.failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    })
    .await
}
