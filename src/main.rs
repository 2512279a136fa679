//! The binary: parse, run, exit code.

use std::process::ExitCode;

use bday::cli::Cli;
use clap::Parser as _;

fn main() -> ExitCode {
    Cli::parse().main()
}
