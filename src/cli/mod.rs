//! The commands, one file each.
//!
//! Exit codes: 0 success, 1 failure, 2 invalid call or configuration.

/// Replaces that of the standard library, which panics when the reader has closed the pipe, as `head` does.
macro_rules! println {
    () => { $crate::cli::output::print_line(format_args!("")) };
    ($($text:tt)*) => { $crate::cli::output::print_line(format_args!($($text)*)) };
}

mod config;
mod context;
mod demo;
mod dlq;
mod doctor;
mod event;
mod explain;
mod forecast;
mod healthcheck;
mod inbox;
mod message;
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
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::clock::{SharedClock, SystemClock};
use crate::config::{Config, ConfigError};
use crate::runtime::telemetry;
use crate::store::chain;

const EXAMPLES: &str = "\
Examples:
  bday demo                                     send real greetings, with nothing set up
  bday serve --config /etc/bday/bday.toml       run the daemon
  bday user import users.csv                    create or update users
  bday when --birth-date 2000-02-29 --time-zone America/New_York
  bday config show                              show the configuration in effect

Environment variables (BDAY__SECTION__KEY) override the configuration file (--config), which overrides the defaults.";

/// Sends every user a greeting on their birthday at 09:00 in their own time zone
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, max_term_width = 110)]
pub struct Cli {
    /// Read this TOML file; it overrides the defaults
    #[arg(long, global = true, value_name = "FILE", env = "BDAY_CONFIG")]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon until SIGTERM
    Serve(serve::Args),
    /// Run one scheduler pass (sweep, claim, send, plan) and print its counts
    Tick(tick::Args),
    /// Pause sending in all processes until `bday resume`
    Pause(pause::Pause),
    /// Resume sending
    Resume(pause::Resume),
    /// Migrate the database schema, and create the queue if queue.create is set
    Migrate(migrate::Args),
    /// Add, show, update, delete, list, import and export users
    #[command(subcommand)]
    User(user::Command),
    /// List, show, retry and cancel events
    #[command(subcommand)]
    Event(event::Command),
    /// List, show and redrive dead events, and purge their messages
    #[command(subcommand)]
    Dlq(dlq::Command),
    /// Show why a user was, will be, or was not greeted
    Explain(explain::Args),
    /// Preview the messages that would be sent to a user
    #[command(subcommand)]
    Message(message::Command),
    /// Show how many events are due per day in the year ahead, and the busiest minutes
    Forecast(forecast::Args),
    /// Show when a birthday is due, year by year; needs no database
    When(when::When),
    /// Receive webhooks on this machine and show them in the terminal and on a page
    Inbox(inbox::Args),
    /// Run a demo on this machine: a private database, sample users, real greetings
    Demo(demo::Args),
    /// Simulate years of the whole pipeline and check every greeting
    Simulate(simulate::Args),
    /// Test the webhook, create a secret, verify a signature
    #[command(subcommand)]
    Webhook(webhook::Command),
    /// Manage API tokens, and show the audit log
    #[command(subcommand)]
    Token(token::Command),
    /// Show the configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Check the deployment for misconfiguration
    Doctor(doctor::Args),
    /// Check readiness (`--live`: liveness) of a running daemon, for containers
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
        // Does not wait for a thread that reads a terminal: it cannot be stopped.
        runtime.shutdown_background();
        result.unwrap_or_else(|error| {
            eprintln!("bday: {}", output::escape_lines(&chain(error.as_ref())));
            if error.downcast_ref::<ConfigError>().is_some() { ExitCode::from(2) } else { ExitCode::FAILURE }
        })
    }

    async fn run(self) -> anyhow::Result<ExitCode> {
        let clock: SharedClock = Arc::new(SystemClock);
        let source = ConfigSource(self.config);
        match self.command {
            Command::Serve(_) => {}
            // The simulated receiver fails on purpose.
            Command::Simulate(_) => telemetry::log_for_command("error"),
            _ => telemetry::log_for_command("warn"),
        }
        match self.command {
            Command::Serve(args) => serve::run(args, &source, clock).await,
            Command::Tick(args) => tick::run(args, &source, clock).await,
            Command::Pause(args) => pause::pause(args, &source, clock).await,
            Command::Resume(args) => pause::resume(args, &source, clock).await,
            Command::Migrate(args) => migrate::run(args, &source, clock).await,
            Command::User(command) => user::run(command, &source, clock).await,
            Command::Event(command) => event::run(command, &source, clock).await,
            Command::Dlq(command) => dlq::run(command, &source, clock).await,
            Command::Explain(args) => explain::run(args, &source, clock).await,
            Command::Message(command) => message::run(command, &source, clock).await,
            Command::Forecast(args) => forecast::run(args, &source, clock).await,
            Command::When(when) => when.run(&*clock, &mut io::stdout().lock(), *output::COLOURED),
            Command::Inbox(args) => inbox::run(args, clock).await,
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

/// The configuration file, if one is given; the environment overrides it.
#[derive(Debug)]
struct ConfigSource(Option<PathBuf>);

impl ConfigSource {
    fn load(&self) -> Result<Config, ConfigError> {
        crate::config::load(self.0.as_deref(), variables())
    }
}

/// The environment variables that are valid UTF-8.
fn variables() -> HashMap<String, String> {
    std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Opens a file, or standard input for `-`, and returns its size in bytes, 0 if unknown.
fn open_input(path: &Path) -> anyhow::Result<(Box<dyn Read + Send>, u64)> {
    if path.as_os_str() == "-" {
        return Ok((Box::new(io::stdin()), 0));
    }
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let bytes = file.metadata().map_or(0, |metadata| metadata.len());
    Ok((Box::new(file), bytes))
}

/// The address at which a client on this machine reaches a server that listens at `listen`.
fn connectable(mut listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => listen.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => listen.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    listen
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory as _};

    use super::Cli;

    /// The width of help texts where that of the terminal is unknown.
    const WIDTH: usize = 100;

    fn leaves(command: &Command) -> Vec<&Command> {
        let below: Vec<&Command> = command.get_subcommands().flat_map(leaves).collect();
        if below.is_empty() { vec![command] } else { below }
    }

    #[test]
    fn every_command_has_examples_that_fit_on_a_line() {
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
