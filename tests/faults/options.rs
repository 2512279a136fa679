//! The command line, including the options that test runners pass.

use std::path::PathBuf;
use std::time::Duration;

use super::plan::{Queue, Scale};

const EXAMPLES: &str = "\
Examples:
  cargo test --test faults -- --runs 200 --queue sqs
  cargo test --test faults -- --seed 17 --queue postgres --verbose     replay a run and print its report
  cargo test --test faults                                             the short form

Exit code 1 if a rule was broken; the seed and the report of the run are printed.";

/// Inject faults while greetings fall due, and check that none is lost or repeated
#[derive(Debug, clap::Parser)]
#[command(name = "faults", after_help = EXAMPLES, max_term_width = 110)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
    /// Seed of the first run; 1 if only --runs is given
    #[arg(long)]
    seed: Option<u64>,
    /// Number of runs; each run increments the seed
    #[arg(long)]
    pub(crate) runs: Option<u64>,
    /// Use the same seed for all runs
    #[arg(long)]
    pub(crate) same: bool,
    /// Queue to test [default: both]
    #[arg(long, value_enum)]
    pub(crate) queue: Option<Queue>,
    /// Duration of fault injection, in seconds
    #[arg(long, default_value_t = Scale::LONG.faults.as_secs())]
    duration: u64,
    /// Number of greetings that fall due
    #[arg(long, default_value_t = Scale::LONG.events)]
    events: u32,
    /// Print the report of every run
    #[arg(long)]
    pub(crate) verbose: bool,

    #[command(flatten)]
    runner: Runner,
    /// List the tests, for test runners
    #[arg(long, hide = true)]
    pub(crate) list: bool,
    /// Select ignored tests, of which there are none
    #[arg(long, hide = true)]
    pub(crate) ignored: bool,
}

/// Test names to filter by, and options of the standard test harness that have no effect here.
#[derive(Debug, clap::Args)]
struct Runner {
    #[arg(hide = true)]
    names: Vec<String>,
    #[arg(long, hide = true)]
    exact: bool,
    #[arg(long, hide = true)]
    nocapture: bool,
    #[arg(long, hide = true)]
    include_ignored: bool,
    #[arg(long, hide = true)]
    format: Option<String>,
}

/// The role of this binary when it starts itself.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Role {
    /// Run a daemon whose clock differs from the machine's by the milliseconds in a file
    #[command(hide = true, name = "daemon-with-a-turned-clock")]
    Daemon { offset: PathBuf },
}

impl Cli {
    /// Returns the first seed of the long form, or `None` for the short form.
    pub(crate) fn first_seed(&self) -> Option<u64> {
        self.seed.or(self.runs.map(|_| 1))
    }

    pub(crate) fn scale(&self) -> Scale {
        Scale { faults: Duration::from_secs(self.duration), events: self.events }
    }

    /// Returns whether the names on the command line select the test `name`.
    pub(crate) fn wants(&self, name: &str) -> bool {
        let Runner { names, exact, .. } = &self.runner;
        names.is_empty() || names.iter().any(|wish| name == wish || (!exact && name.contains(wish.as_str())))
    }
}
