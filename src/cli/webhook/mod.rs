//! `bday webhook`

mod examine;
mod sample;
mod secret;
mod test;
mod verify;

use std::process::ExitCode;

use clap::Subcommand;

use super::{ConfigSource, output};
use crate::clock::SharedClock;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Send one signed sample to the webhook, and show the whole exchange
    Test(test::Args),
    /// Does a request that a receiver got verify, and if not, why? The body comes from standard input
    Verify(verify::Args),
    /// Make a new secret to sign with
    Secret(secret::Args),
}

pub(super) async fn run(
    command: Command,
    source: &ConfigSource,
    clock: SharedClock,
) -> anyhow::Result<ExitCode> {
    match command {
        Command::Test(args) => test::run(args, source, clock).await,
        Command::Verify(args) => verify::run(args, source, clock).await,
        Command::Secret(args) => secret::run(&args),
    }
}
