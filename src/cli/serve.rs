//! `bday serve`

use std::process::ExitCode;

use super::ConfigSource;
use crate::clock::SharedClock;
use crate::runtime::telemetry;
use crate::runtime::{self, Role};

const EXAMPLES: &str = "\
Examples:
  BDAY__DATABASE__URL=postgres://bday@localhost/bday BDAY__QUEUE__KIND=postgres \\
    BDAY__WEBHOOK__URL=http://127.0.0.1:8025/ bday serve
  bday serve --config bday.toml --role worker     workers only; any number may run side by side

SIGTERM stops taking work, ends what is in flight, and exits 0; a second signal ends at once.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Which parts to run
    #[arg(long, value_enum, default_value_t = Role::All)]
    role: Role,
}

pub(super) async fn run(args: Args, source: &ConfigSource, clock: SharedClock) -> anyhow::Result<ExitCode> {
    let config = source.load()?;
    telemetry::log_for_daemon(&config.log)?;
    runtime::serve(config, args.role, clock).await?;
    Ok(ExitCode::SUCCESS)
}
