//! `bday config`

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use super::output::{self, Table, json_name};
use super::{ConfigSource, variables};
use crate::config;

const EXAMPLES: &str = "\
Examples:
  bday config show
  bday --config bday.toml config show --json

Exit code 2 if the configuration is invalid; the error says why.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the configuration in effect and the origin of each value; secrets are hidden
    #[command(after_help = EXAMPLES)]
    Show {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: &Command, source: &ConfigSource) -> Result<ExitCode> {
    let Command::Show { json } = command;
    let values = config::show(source.0.as_deref(), variables())?;
    if *json {
        output::json(&values)?;
    } else {
        let mut table = Table::new(&["KEY", "VALUE", "FROM"]);
        for value in values {
            table.row([value.key, value.value, json_name(&value.origin)]);
        }
        table.print()?;
    }
    // Validates after printing, so that the invalid value is visible.
    source.load()?;
    Ok(ExitCode::SUCCESS)
}
