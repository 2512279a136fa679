//! The commands, one file each.
//!
//! Exit codes: 0 it worked, 1 it did not, 2 the call or the configuration is wrong.

/// The one of the standard library panics when whoever reads has seen enough, as `head` has.
macro_rules! println {
    () => { $crate::cli::output::line(format_args!("")) };
    ($($text:tt)*) => { $crate::cli::output::line(format_args!($($text)*)) };
}

mod config;
mod demo;
mod dlq;
mod doctor;
mod event;
mod explain;
mod forecast;
mod healthcheck;
pub mod inbox;
mod migrate;
mod output;
mod pause;
mod serve;
mod simulate;
mod tick;
mod token;
mod user;
mod webhook;
pub mod when;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use crate::clock::{SharedClock, SystemClock};
use crate::config::{Config, ConfigError};
use crate::runtime::lifecycle::Signals;
use crate::runtime::telemetry;

const EXAMPLES: &str = "\
Examples:
  bday demo                                     see it work, with nothing set up
  bday serve --config /etc/bday/bday.toml       run the daemon
  bday user import people.csv                   add people, or bring them up to date
  bday when --birth-date 2000-02-29 --time-zone America/New_York
  bday config show                              show the configuration in effect

The configuration is a file (--config) and the environment (BDAY__SECTION__KEY) over built-in defaults.";

/// Sends every person a greeting on their birthday at 09:00 in their own time zone
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, max_term_width = 110)]
pub struct Cli {
    /// A TOML file that goes over the defaults
    #[arg(long, global = true, value_name = "FILE", env = "BDAY_CONFIG")]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon: the ticker, the workers and HTTP, until SIGTERM
    Serve(serve::Args),
    /// Run one scheduler pass (sweep, claim, send, plan) and print its counts
    Tick(tick::Args),
    /// Stop sending, in all processes, until `bday resume`
    Pause(pause::Pause),
    /// Go on sending
    Resume(pause::Resume),
    /// Bring the database's schema up to date, and create the queue where that is ours to do
    Migrate(migrate::Args),
    /// Add, show, change, delete, list, import and export people
    #[command(subcommand)]
    User(user::Command),
    /// What was sent, is to be sent, or was not sent, and why
    #[command(subcommand)]
    Event(event::Command),
    /// What was given up: list it, send it again, or throw the messages away
    #[command(subcommand)]
    Dlq(dlq::Command),
    /// Why somebody was, will be, or was not greeted
    Explain(explain::Args),
    /// How much is due when in the year ahead, day by day, and the busiest minutes
    Forecast(forecast::Args),
    /// When a birthday is due, year by year; needs no database
    When(when::When),
    /// A webhook receiver on this machine, with a page that shows what arrives
    Inbox(inbox::Args),
    /// See it work: a private database, sample people, real greetings, all on this machine
    Demo(demo::Args),
    /// Years of the whole pipeline in minutes: every greeting checked against the rules
    Simulate(simulate::Args),
    /// Try the webhook, make a secret, check a signature
    #[command(subcommand)]
    Webhook(webhook::Command),
    /// Who may use the API, and what was done with it
    #[command(subcommand)]
    Token(token::Command),
    /// Show the configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Look for everything that a wrong deployment gets wrong, and say what to do
    Doctor(doctor::Args),
    /// Ask a running daemon whether it is ready, or should go on living; for containers
    Healthcheck(healthcheck::Args),
}

impl Cli {
    /// Runs the command; errors go to standard error.
    #[must_use]
    pub fn main(self) -> ExitCode {
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                eprintln!("bday: cannot start: {error}");
                return ExitCode::FAILURE;
            }
        };
        let result = runtime.block_on(self.run());
        // A thread that reads a terminal cannot be stopped; do not wait for it.
        runtime.shutdown_background();
        result.unwrap_or_else(|error| {
            eprintln!("bday: {}", output::harmless_lines(&crate::store::chain(error.as_ref())));
            if error.downcast_ref::<ConfigError>().is_some() { ExitCode::from(2) } else { ExitCode::FAILURE }
        })
    }

    async fn run(self) -> anyhow::Result<ExitCode> {
        let clock: SharedClock = Arc::new(SystemClock);
        let source = ConfigSource(self.config);
        match self.command {
            Command::Serve(_) => {}
            // Its receiver fails on purpose, which is no news.
            Command::Simulate(_) => telemetry::log_for_command("error"),
            _ => telemetry::log_for_command("warn"),
        }
        match self.command {
            Command::Serve(args) => serve::run(args, &source, clock).await,
            Command::Tick(args) => tick::run(args, &source, clock).await,
            Command::Pause(args) => pause::pause(args, &source, clock).await,
            Command::Resume(args) => pause::resume(args, &source).await,
            Command::Migrate(args) => migrate::run(&args, &source).await,
            Command::User(command) => user::run(command, &source, clock).await,
            Command::Event(command) => event::run(command, &source, clock).await,
            Command::Dlq(command) => dlq::run(command, &source, clock).await,
            Command::Explain(args) => explain::run(args, &source, clock).await,
            Command::Forecast(args) => forecast::run(args, &source, clock).await,
            Command::When(when) => when.run(&*clock, &mut std::io::stdout().lock(), output::coloured()),
            Command::Inbox(args) => {
                let (mut signals, stop) = (Signals::install()?, CancellationToken::new());
                let second_signal = async {
                    signals.next().await;
                    stop.cancel();
                    signals.next().await;
                };
                tokio::select! {
                    ended = inbox::run(args, clock, stop.clone()) => ended.map(|()| ExitCode::SUCCESS),
                    () = second_signal => Ok(ExitCode::FAILURE),
                }
            }
            Command::Demo(args) => demo::run(args, clock).await,
            Command::Simulate(args) => Box::pin(simulate::run(args, clock)).await,
            Command::Webhook(command) => webhook::run(command, &source, clock).await,
            Command::Token(command) => token::run(command, &source, clock).await,
            Command::Config(command) => config::run(&command, &source),
            Command::Doctor(args) => doctor::run(args, &source, clock).await,
            Command::Healthcheck(args) => healthcheck::run(args, &source).await,
        }
    }
}

/// Where the configuration comes from.
#[derive(Debug)]
struct ConfigSource(Option<PathBuf>);

impl ConfigSource {
    fn load(&self) -> Result<Config, ConfigError> {
        crate::config::load(self.0.as_deref(), variables())
    }
}

/// The environment, without what is not text.
fn variables() -> HashMap<String, String> {
    std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory as _};

    use super::Cli;

    /// Where the width of the terminal is not known, help is wrapped at this column.
    const WIDTH: usize = 100;

    fn leaves(command: &Command) -> Vec<&Command> {
        let below: Vec<&Command> = command.get_subcommands().flat_map(leaves).collect();
        if below.is_empty() { vec![command] } else { below }
    }

    #[test]
    fn every_command_has_examples_and_each_fits_into_a_line() {
        for command in leaves(&Cli::command()) {
            let name = command.get_name();
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(after.contains("Examples:\n  "), "{name}");
            for line in after.lines().filter(|line| line.starts_with("  ")) {
                assert!(line.chars().count() <= WIDTH, "{name}: {line}");
            }
        }
    }
}
