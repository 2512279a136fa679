//! The fault suite: real daemons among real things, broken at random while greetings fall due, and judged afterwards.
//!
//! ```text
//!                    seed ──> plan (which fault, when, for how long)
//!                               │ breaks
//!          ┌──────────┬─────────┼───────────┬──────────────┐
//!   3 x bday serve  ticks   PostgreSQL    queue         receiver ──records──┐
//!          └──────────┴─────────┴───────────┴──────────────┘               │
//!                               │ journal: what was done, and when          │
//!                               └───────────────> judge <── the database ───┘
//! ```
//!
//! Actors, all of them processes but the receiver and the SQS endpoint: three daemons; a tick every second, as if the
//! minute were shorter; a PostgreSQL server of our own. One of the daemons is the same library inside this binary, with
//! a clock that the plan turns: so nothing of the kind need be in the product.
//!
//! The seed decides every fault and its time. It does not decide how the processes interleave, so a failure that is
//! replayed may need a few runs to show again; `--runs` with the same `--seed` and `--same` does that.
//!
//! `cargo test` runs a short form, `make faults` the long one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics, and says where")]

mod course;
mod fleet;
mod journal;
mod judge;
mod options;
mod place;
mod plan;
mod run;
mod seed;
mod support;
mod turned_clock;

use std::process::ExitCode;

use clap::Parser as _;

use options::{Cli, Role};
use plan::{Queue, Scale};
use run::Totals;

/// The tests that a test runner sees, each a short form on one queue.
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
        queues.iter().all(|queue| runtime.block_on(series(*queue, &seeds, cli.scale(), cli.verbose)))
    } else {
        SHORT
            .iter()
            .filter(|(name, _)| cli.wants(name))
            .all(|(_, queue)| runtime.block_on(series(*queue, &[1, 2], Scale::SHORT, false)))
    };
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs each seed on one server, and tells whether every rule held.
async fn series(queue: Queue, seeds: &[u64], scale: Scale, verbose: bool) -> bool {
    let mut server = place::server().await;
    let mut totals = Totals::default();
    for seed in seeds {
        let (back, outcome) = run::run(server, queue, *seed, scale).await;
        server = back;
        println!("{}", outcome.line());
        if verbose || !outcome.holds() {
            println!("{}", outcome.story());
        }
        totals.add(&outcome);
    }
    println!("{}", totals.line(queue));
    server.stop().await.unwrap();
    totals.holds()
}
