//! The command line.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::Context as _;
use bday::config::QueueKind;

use super::scenario::Name;

const EXAMPLES: &str = "\
Examples:
  cargo bench --bench pipeline                                     100,000 due at once
  cargo bench --bench pipeline -- --scenario all --json
  cargo bench --bench pipeline -- --events 20000 --config worker.max_in_flight=64
  cargo bench --bench pipeline -- --scenario slow --latency-ms 3000 --in-flight 1000
  cargo bench --bench pipeline -- --scenario million --queue postgres
  cargo bench --bench pipeline -- --scenario large --users 1000000 --events 3000000

Exit code 1 when an event was lost, repeated or garbled; with --strict also when a limit was missed.";

/// Measure bday from the tick to the receiver's 2xx
#[derive(Debug, clap::Parser)]
#[command(name = "pipeline", after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
    #[command(flatten)]
    pub(crate) options: Options,
    /// What `cargo bench` passes
    #[arg(long, hide = true)]
    bench: bool,
}

/// What this binary is when it starts itself.
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
#[expect(clippy::struct_excessive_bools, reason = "the switches of a command line")]
pub(crate) struct Options {
    /// What to run; may be given several times
    #[arg(long, value_enum, default_value = "burst")]
    scenario: Vec<Name>,
    /// Due events, whatever the scenario says; of `large`, finished ones
    #[arg(long)]
    pub(crate) events: Option<u32>,
    /// Users, those of the due events included; of `large`, all of them
    #[arg(long)]
    pub(crate) users: Option<u32>,
    /// sqs or postgres
    #[arg(long, value_parser = queue_kind)]
    pub(crate) queue: Option<QueueKind>,
    /// How many `bday serve` run side by side
    #[arg(long)]
    pub(crate) daemons: Option<u32>,
    /// `worker.max_in_flight`
    #[arg(long)]
    pub(crate) in_flight: Option<u32>,
    /// How long the receiver takes for each request
    #[arg(long)]
    pub(crate) latency_ms: Option<u64>,
    /// Another bday to measure, say the last release's; by default the one that is built now
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_bday"), hide_default_value = true)]
    pub(crate) program: PathBuf,
    /// A key of bday's configuration, as in `worker.drain_secs=5`; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    config: Vec<String>,
    /// A setting of PostgreSQL, as in `shared_buffers=512MB`; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    postgres: Vec<String>,
    /// Do not wait for the disk: faster, and not what production does
    #[arg(long)]
    pub(crate) no_fsync: bool,
    /// Print the statements that took PostgreSQL longest (`pg_stat_statements`)
    #[arg(long)]
    pub(crate) statements: bool,
    /// Run each scenario this often
    #[arg(long, default_value_t = 1)]
    pub(crate) repeat: u32,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Fail when a limit is missed
    #[arg(long)]
    pub(crate) strict: bool,
}

impl Options {
    pub(crate) fn scenarios(&self) -> Vec<Name> {
        if self.scenario.contains(&Name::All) { Name::EACH.to_vec() } else { self.scenario.clone() }
    }

    /// Whether the load is another than the scenario's: then its limits say nothing.
    pub(crate) fn changes_load(&self) -> bool {
        self.events.is_some() || self.latency_ms.is_some() || self.daemons.is_some()
    }

    /// `--config` as the environment of the daemon.
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
            let (key, value) =
                text.split_once('=').with_context(|| format!("{option} {text:?} is not KEY=VALUE"))?;
            Ok((key.to_owned(), value.to_owned()))
        })
        .collect()
}

fn queue_kind(text: &str) -> Result<QueueKind, String> {
    match text {
        "sqs" => Ok(QueueKind::Sqs),
        "postgres" => Ok(QueueKind::Postgres),
        _ => Err("is neither sqs nor postgres".to_owned()),
    }
}
