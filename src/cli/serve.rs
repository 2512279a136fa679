//! `bday serve`

use std::process::ExitCode;

use anyhow::Result;

use super::ConfigSource;
use crate::clock::SharedClock;
use crate::runtime::{self, Role, telemetry};

const EXAMPLES: &str = "\
Examples:
  BDAY__DATABASE__URL=postgres://bday@localhost/bday BDAY__QUEUE__KIND=postgres \\
    BDAY__WEBHOOK__URL=http://127.0.0.1:8025/ bday serve
  bday serve --config bday.toml --role worker     run workers only; any number may run

SIGTERM stops taking work, finishes requests in flight, and exits 0. A second signal exits immediately.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Run only these parts
    #[arg(long, value_enum, default_value_t = Role::All)]
    role: Role,
}

pub(super) async fn run(args: Args, source: &ConfigSource, clock: SharedClock) -> Result<ExitCode> {
    let config = source.load()?;
    telemetry::log_for_daemon(&config.log)?;
    runtime::serve(config, args.role, clock).await?;
    Ok(ExitCode::SUCCESS)
}
