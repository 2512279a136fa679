//! `bday config`

use std::process::ExitCode;

use clap::Subcommand;

use super::output::{self, Table};
use super::{ConfigSource, variables};
use crate::config::{self, Origin};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the configuration in effect and the origin of each value; secrets are hidden
    #[command(
        after_help = "Examples:\n  bday config show\n  bday --config bday.toml config show --json\n\nExit code 2 if the configuration is invalid; the error says why."
    )]
    Show {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: &Command, source: &ConfigSource) -> anyhow::Result<ExitCode> {
    let Command::Show { json } = command;
    let shown = config::show(source.0.as_deref(), variables())?;
    if *json {
        output::json(&shown)?;
    } else {
        let mut table = Table::new(&["KEY", "VALUE", "FROM"]);
        for key in shown {
            let origin = match key.origin {
                Origin::Default => "default",
                Origin::File => "file",
                Origin::Environment => "environment",
            };
            table.row([key.key, key.value, origin.to_owned()]);
        }
        table.print()?;
    }
    // Validated after it is shown, so that the invalid value is visible.
    source.load()?;
    Ok(ExitCode::SUCCESS)
}
