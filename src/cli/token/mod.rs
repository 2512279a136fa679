//! `bday token`

mod audit;
mod create;
mod generate;
mod list;
mod revoke;

use std::process::ExitCode;

use clap::Subcommand;

use super::ConfigSource;
use crate::clock::SharedClock;
use crate::config::parts;
use crate::store::Store;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a token and print it, once
    Create(create::Args),
    /// Make a token without a database: for where the output of `create` would end up in a log
    Generate(generate::Args),
    /// List the tokens, never the tokens themselves
    List(list::Args),
    /// End a token, within seconds
    Revoke(revoke::Args),
    /// Show who changed what through the API, and who was refused
    Audit(audit::Args),
}

pub(super) async fn run(
    command: Command,
    source: &ConfigSource,
    clock: SharedClock,
) -> anyhow::Result<ExitCode> {
    let now = clock.now();
    match command {
        Command::Create(args) => with_store(source, async |store| create::run(args, store, now).await).await,
        Command::Generate(args) => generate::run(&args),
        Command::List(args) => with_store(source, async |store| list::run(&args, store, now).await).await,
        Command::Revoke(args) => with_store(source, async |store| revoke::run(&args, store, now).await).await,
        Command::Audit(args) => with_store(source, async |store| audit::run(args, store).await).await,
    }
}

async fn with_store(
    source: &ConfigSource,
    work: impl AsyncFnOnce(&Store) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let store = parts::store(&source.load()?).await?;
    store.check_schema().await?;
    let code = work(&store).await;
    store.close().await;
    code
}
