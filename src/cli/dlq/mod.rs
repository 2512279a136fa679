//! `bday dlq`

mod filter;
mod list;
mod purge;
mod redrive;
mod show;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;

use super::ConfigSource;
use crate::clock::SharedClock;
use crate::config::parts;
use crate::operations::dead_letters::DeadLetters;
use crate::store::Store;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List what was given up, those due last first; and messages that stand for none of it
    List(list::Args),
    /// Show one dead event with every attempt and answer, or one message
    Show(show::Args),
    /// Send dead events again, each with the webhook-id that it had
    Redrive(redrive::Args),
    /// Delete messages from the dead-letter queue; the events stay on record
    Purge(purge::Args),
}

/// What every one of these commands needs.
struct Context {
    store: Store,
    letters: DeadLetters,
}

pub(super) async fn run(
    command: Command,
    source: &ConfigSource,
    clock: SharedClock,
) -> anyhow::Result<ExitCode> {
    let context = Context::new(source, clock).await?;
    let code = match command {
        Command::List(args) => list::run(args, &context).await,
        Command::Show(args) => show::run(args, &context).await,
        Command::Redrive(args) => redrive::run(args, &context).await,
        Command::Purge(args) => purge::run(args, &context).await,
    };
    context.store.close().await;
    code
}

impl Context {
    async fn new(source: &ConfigSource, clock: SharedClock) -> anyhow::Result<Self> {
        let config = source.load()?;
        config.require_all(false)?;
        let store = parts::store(&config).await?;
        store.check_schema().await?;
        let queue = parts::queue(&config, &store, &clock).await?;
        if config.queue.create {
            queue.create().await?;
        }
        let letters = DeadLetters::new(&config, store.clone(), queue, Arc::clone(&clock));
        Ok(Self { store, letters })
    }
}

/// The store and the dead letters, for `bday event retry|cancel`.
pub(super) async fn open(source: &ConfigSource, clock: SharedClock) -> anyhow::Result<(Store, DeadLetters)> {
    let Context { store, letters } = Context::new(source, clock).await?;
    Ok((store, letters))
}
