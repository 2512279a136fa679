//! `bday event`

mod cancel;
mod list;
mod retry;
pub(super) mod show;

use std::process::ExitCode;

use clap::Subcommand;
use uuid::Uuid;

use super::{ConfigSource, dlq};
use crate::clock::SharedClock;
use crate::config::parts;
use crate::store::Store;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List events, those due last first
    List(list::Args),
    /// Show one event with all its attempts
    Show(show::Args),
    /// Send a dead event again
    Retry(retry::Args),
    /// Cancel an event that is pending or queued
    Cancel(cancel::Args),
}

pub(super) async fn run(
    command: Command,
    source: &ConfigSource,
    clock: SharedClock,
) -> anyhow::Result<ExitCode> {
    let (store, code) = match command {
        Command::List(args) => {
            let store = open(source).await?;
            let code = list::run(args, &store).await;
            (store, code)
        }
        Command::Show(args) => {
            let store = open(source).await?;
            let code = show::run(args, &store).await;
            (store, code)
        }
        Command::Retry(args) => {
            let (store, letters) = dlq::open(source, clock).await?;
            let code = retry::run(args, &store, &letters).await;
            (store, code)
        }
        Command::Cancel(args) => {
            let (store, letters) = dlq::open(source, clock).await?;
            let code = cancel::run(args, &store, &letters).await;
            (store, code)
        }
    };
    store.close().await;
    code
}

/// The id of an event, as an argument.
pub(super) fn id(text: &str) -> Result<Uuid, &'static str> {
    Uuid::parse_str(text)
        .map_err(|_| "expected the id of an event, such as 0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f")
}

async fn open(source: &ConfigSource) -> anyhow::Result<Store> {
    let store = parts::store(&source.load()?).await?;
    store.check_schema().await?;
    Ok(store)
}
