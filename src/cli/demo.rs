//! `bday demo`

use std::process::ExitCode;

use crate::clock::SharedClock;

#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) async fn run(_: Args, _: SharedClock) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not yet")
}
