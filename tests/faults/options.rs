//! The command line, and what a test runner says to a test binary.

use std::path::PathBuf;
use std::time::Duration;

use super::plan::{Queue, Scale};

const EXAMPLES: &str = "\
Examples:
  cargo test --test faults -- --runs 200 --queue sqs
  cargo test --test faults -- --seed 17 --queue postgres --verbose     replay a run, and print its story
  cargo test --test faults                                             the short form

Exit code 1 when a rule was broken; the run's seed and story are printed.";

/// Break everything while greetings fall due, and check that none is lost or repeated
#[derive(Debug, clap::Parser)]
#[command(name = "faults", after_help = EXAMPLES, max_term_width = 110)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
    /// The seed of the first run; without it, and with --runs, 1
    #[arg(long)]
    seed: Option<u64>,
    /// How many runs, each with the next seed
    #[arg(long)]
    pub(crate) runs: Option<u64>,
    /// Repeat the same seed instead
    #[arg(long)]
    pub(crate) same: bool,
    /// On which queue; without it on both
    #[arg(long, value_enum)]
    pub(crate) queue: Option<Queue>,
    /// For how many seconds faults are injected
    #[arg(long, default_value_t = Scale::LONG.faults.as_secs())]
    duration: u64,
    /// How many greetings fall due
    #[arg(long, default_value_t = Scale::LONG.events)]
    events: u32,
    /// Print the story of every run
    #[arg(long)]
    pub(crate) verbose: bool,

    #[command(flatten)]
    runner: Runner,
    /// As the test runners ask
    #[arg(long, hide = true)]
    pub(crate) list: bool,
    /// None of the tests is
    #[arg(long, hide = true)]
    pub(crate) ignored: bool,
}

/// Options of the usual test harness that mean nothing here, and the names that it filters by.
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

/// What this binary is when it starts itself.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Role {
    /// A daemon whose clock differs from the machine's by what the file says, in milliseconds
    #[command(hide = true, name = "daemon-with-a-turned-clock")]
    Daemon { offset: PathBuf },
}

impl Cli {
    /// The first seed of the long form; none for the short one.
    pub(crate) fn first_seed(&self) -> Option<u64> {
        self.seed.or(self.runs.map(|_| 1))
    }

    pub(crate) fn scale(&self) -> Scale {
        Scale { faults: Duration::from_secs(self.duration), events: self.events }
    }

    /// Whether a test runner that gave these names means the test `name`.
    pub(crate) fn wants(&self, name: &str) -> bool {
        let Runner { names, exact, .. } = &self.runner;
        names.is_empty() || names.iter().any(|wish| name == wish || (!exact && name.contains(wish.as_str())))
    }
}
