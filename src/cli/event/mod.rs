//! `bday event`

mod list;
mod show;

use std::process::ExitCode;

use clap::Subcommand;

use super::ConfigSource;
use crate::app;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List events, those due last first
    List(list::Args),
    /// Show one event with all its attempts
    Show(show::Args),
}

pub(super) async fn run(command: Command, source: &ConfigSource) -> anyhow::Result<ExitCode> {
    let config = source.load()?;
    let store = app::store(&config).await?;
    store.check_schema().await?;
    let code = match command {
        Command::List(args) => list::run(args, &store).await,
        Command::Show(args) => show::run(args, &store).await,
    };
    store.close().await;
    code
}
