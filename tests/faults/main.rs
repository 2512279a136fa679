//! The fault suite injects random faults into real daemons and their dependencies while greetings fall due, then checks the result.
//!
//! ```text
//!                    seed ──> plan (which fault, when, for how long)
//!                               │ faults
//!          ┌──────────┬─────────┼───────────┬──────────────┐
//!   3 x bday serve  ticks   PostgreSQL    queue        receivers ──records──┐
//!          └──────────┴─────────┴───────────┴──────────────┘               │
//!                               │ journal: each fault and its time          │
//!                               └───────────────> judge <── the database ───┘
//! ```
//!
//! The actors are three daemons, a tick every second instead of every minute, and a private PostgreSQL server, each in its own
//! process; the receivers (webhook, mail server, Slack) and the SQS endpoint run in this
//! process. One daemon runs bday's library in this binary, with a clock that
//! the plan changes, so that the product needs no such option.
//!
//! The seed determines every fault and its time, but not how the processes interleave. Reproducing a failure may take several
//! runs: use `--seed`, `--same` and `--runs`.
//!
//! `cargo test` runs the short form, `make faults` the long form.

#![expect(clippy::unwrap_used, reason = "tests panic on failure")]

mod course;
mod fleet;
mod journal;
mod judge;
mod mail_sink;
mod options;
mod place;
mod plan;
mod receivers;
mod run;
mod seed;
mod sent;
mod slack_sink;
mod support;
mod turned_clock;

use std::process::ExitCode;

use clap::Parser as _;

use options::{Cli, Role};
use plan::{Queue, Scale};
use run::Totals;

/// The tests that are listed to a test runner: the short form on each queue.
const SHORT: [(&str, Queue); 2] = [
    ("nothing_is_lost_or_repeated_on_sqs", Queue::Sqs),
    ("nothing_is_lost_or_repeated_on_postgres", Queue::Postgres),
];

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let Some(Role::Daemon { offset }) = cli.role {
        return runtime.block_on(turned_clock::serve(offset));
    }
    if cli.list {
        for (name, _) in SHORT.iter().filter(|_| !cli.ignored) {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let held = if let Some(first) = cli.first_seed() {
        let seeds = (0..cli.runs.unwrap_or(1)).map(|n| if cli.same { first } else { first + n });
        let queues: &[Queue] = match &cli.queue {
            Some(queue) => std::slice::from_ref(queue),
            None => &[Queue::Sqs, Queue::Postgres],
        };
        let seeds: Vec<u64> = seeds.collect();
        // Every series runs, also after a broken one.
        let run =
            |held, queue: &Queue| held & runtime.block_on(series(*queue, &seeds, cli.scale(), cli.verbose));
        queues.iter().fold(true, run)
    } else {
        SHORT.iter().filter(|(name, _)| cli.wants(name)).fold(true, |held, (_, queue)| {
            held & runtime.block_on(series(*queue, &[1, 2], Scale::SHORT, false))
        })
    };
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs all seeds on one server. Returns whether every rule held.
async fn series(queue: Queue, seeds: &[u64], scale: Scale, verbose: bool) -> bool {
    let mut server = place::server().await;
    let mut totals = Totals::default();
    for seed in seeds {
        let (back, outcome) = run::run(server, queue, *seed, scale).await;
        server = back;
        println!("{}", outcome.line());
        if verbose || !outcome.holds() {
            println!("{}", outcome.report());
        }
        totals.add(&outcome);
    }
    println!("{}", totals.line(queue));
    server.stop().await.unwrap();
    totals.holds()
}
