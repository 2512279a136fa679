//! The binary: parse, run, exit code.

use std::process::ExitCode;

use bday::cli::Cli;
use clap::Parser as _;

/// Uses a tenth less CPU per event than the allocator of the system.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    Cli::parse().main()
}
