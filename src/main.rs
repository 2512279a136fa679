//! The binary: parse, run, exit code.

use std::process::ExitCode;

use bday::cli::Cli;
use clap::Parser as _;

/// A tenth less CPU an event than with the system's: most of what a greeting costs is small and short-lived.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    Cli::parse().main()
}
