//! The command line.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::Context as _;
use bday::config::QueueKind;

use super::scenario::Name;

const EXAMPLES: &str = "\
Examples:
  cargo bench --bench pipeline                                     100,000 events due at once
  cargo bench --bench pipeline -- --scenario all --json
  cargo bench --bench pipeline -- --events 20000 --config worker.max_in_flight=64
  cargo bench --bench pipeline -- --scenario slow --latency-ms 3000 --in-flight 1000
  cargo bench --bench pipeline -- --scenario million --queue postgres
  cargo bench --bench pipeline -- --scenario large --users 1000000 --events 3000000

Exit code 1 if an event was lost, repeated or had a wrong body; with --strict also if a limit was missed.";

/// Measure bday from the tick to the 2xx of the receiver
#[derive(Debug, clap::Parser)]
#[command(name = "pipeline", after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
    #[command(flatten)]
    pub(crate) options: Options,
    /// Passed by `cargo bench`; ignored
    #[arg(long, hide = true)]
    bench: bool,
}

/// The role of this binary when it starts itself.
#[derive(Debug, Clone, Copy, clap::Subcommand)]
pub(crate) enum Role {
    #[command(hide = true)]
    Receiver { latency_ms: u64 },
    #[command(hide = true)]
    Endpoint,
    #[command(hide = true)]
    Bare,
}

#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(crate) struct Options {
    /// Scenario to run; may be repeated
    #[arg(long, value_enum, default_value = "burst")]
    scenario: Vec<Name>,
    /// Override the number of due events (of `large`: finished events)
    #[arg(long)]
    pub(crate) events: Option<u32>,
    /// Override the number of users, including those with due events
    #[arg(long)]
    pub(crate) users: Option<u32>,
    /// Override the queue: sqs or postgres
    #[arg(long, value_parser = queue_kind)]
    pub(crate) queue: Option<QueueKind>,
    /// Override the number of concurrent `bday serve` processes
    #[arg(long)]
    pub(crate) daemons: Option<u32>,
    /// Override `worker.max_in_flight`
    #[arg(long)]
    pub(crate) in_flight: Option<u32>,
    /// Override the latency of the receiver for each request, in milliseconds
    #[arg(long)]
    pub(crate) latency_ms: Option<u64>,
    /// Measure another bday binary, for example of the previous release [default: the current build]
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_bday"), hide_default_value = true)]
    pub(crate) program: PathBuf,
    /// Set a key of bday's configuration, for example `worker.drain_secs=5`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    config: Vec<String>,
    /// Set a parameter of PostgreSQL, for example `shared_buffers=512MB`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    postgres: Vec<String>,
    /// Let this many operators have a page of the console open, which refreshes itself every 5 s
    #[arg(long, default_value_t = 0)]
    pub(crate) pollers: u32,
    /// Run PostgreSQL without fsync: faster, but unlike production
    #[arg(long)]
    pub(crate) no_fsync: bool,
    /// Print the statements with the longest total execution time (`pg_stat_statements`)
    #[arg(long)]
    pub(crate) statements: bool,
    /// Run each scenario this many times
    #[arg(long, default_value_t = 1)]
    pub(crate) repeat: u32,
    /// Print the results as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Exit with code 1 if a limit is missed
    #[arg(long)]
    pub(crate) strict: bool,
}

impl Options {
    pub(crate) fn scenarios(&self) -> Vec<Name> {
        if self.scenario.contains(&Name::All) { Name::EACH.to_vec() } else { self.scenario.clone() }
    }

    /// Returns whether options change the load of the scenario, so that its limits do not apply.
    pub(crate) fn changes_load(&self) -> bool {
        let numbers = [self.events, self.users, self.daemons, self.in_flight];
        numbers.iter().any(Option::is_some)
            || self.latency_ms.is_some()
            || !self.config.is_empty()
            || !self.postgres.is_empty()
    }

    /// Returns `--config` as environment variables of the daemon.
    pub(crate) fn config(&self) -> anyhow::Result<HashMap<String, String>> {
        let variable = |key: &str| format!("BDAY__{}", key.replace('.', "__").to_uppercase());
        let pairs = pairs("--config", &self.config)?;
        Ok(pairs.into_iter().map(|(key, value)| (variable(&key), value)).collect())
    }

    pub(crate) fn postgres(&self) -> anyhow::Result<Vec<(String, String)>> {
        pairs("--postgres", &self.postgres)
    }
}

fn pairs(option: &str, texts: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    texts
        .iter()
        .map(|text| {
            let (key, value) = text
                .split_once('=')
                .with_context(|| format!("invalid {option} {text:?}: expected KEY=VALUE"))?;
            Ok((key.to_owned(), value.to_owned()))
        })
        .collect()
}

fn queue_kind(text: &str) -> Result<QueueKind, String> {
    match text {
        "sqs" => Ok(QueueKind::Sqs),
        "postgres" => Ok(QueueKind::Postgres),
        _ => Err("expected sqs or postgres".to_owned()),
    }
}
