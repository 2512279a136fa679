//! `bday dlq redrive`

use std::collections::HashSet;
use std::process::ExitCode;

use uuid::Uuid;

use super::Context;
use super::filter::Filter;
use crate::cli::output;
use crate::operations::dead_letters::{RedriveOptions, RedriveReport};
use crate::store::DeadFilter;
use crate::store::chain;

const EXAMPLES: &str = "\
Examples:
  bday dlq redrive --dry-run
  bday dlq redrive --reason status --since 2026-03-15T09:00:00Z --max-per-second 50
  bday dlq redrive --event 0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f --force

Each is the same event as before, with the same webhook-id, and 5 new attempts. Whose user is gone is cancelled. Whose \
local day is over is skipped, unless --force is given; that also takes those whom an earlier redrive has skipped. Then \
the messages leave the dead-letter queue, so that its alarm ends. It may be broken off at any moment, and run again. \
Exit code 1 when something could not be done, or an --event is not dead.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    filter: Filter,
    /// Only so many, those due first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Also to those whose local day is over
    #[arg(long)]
    force: bool,
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
    /// Events per second at the most; 0 is no limit
    #[arg(long, default_value_t = 0, value_name = "N")]
    max_per_second: u32,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> anyhow::Result<ExitCode> {
    let Args { filter, limit, force, dry_run, max_per_second, json } = args;
    let asked: HashSet<Uuid> = filter.events().iter().copied().collect();
    let options = RedriveOptions {
        filter: filter.build(),
        limit,
        force,
        dry_run,
        max_per_second,
        ..RedriveOptions::default()
    };
    let bar = if json { None } else { output::progress() };
    if let Some(bar) = &bar {
        let filter = DeadFilter { day_over: force, ..options.filter.clone() };
        let all = context.store.count_dead(&filter).await?;
        bar.set_length(limit.map_or(all, |limit| limit.min(all)));
    }
    let shown = bar.clone();
    let (report, result) = context
        .letters
        .redrive(&options, move |n| {
            if let Some(bar) = &shown {
                bar.inc(n);
            }
        })
        .await;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    if json {
        output::json(&report)?;
    } else {
        print(&report);
    }
    let mut code = ExitCode::SUCCESS;
    if let Err(error) = &result {
        eprintln!("bday: {}; what was done stays done: run it again for the rest", chain(error));
        code = ExitCode::FAILURE;
    }
    let left = (asked.len() as u64).saturating_sub(report.handled());
    if left > 0 && !report.more && result.is_ok() {
        eprintln!("bday: of the events given with --event, {left} are not dead: see `bday event show ID`");
        code = ExitCode::FAILURE;
    }
    if !json && report.redriven > 0 && !dry_run && context.store.pause().await?.is_some() {
        println!("sending is paused: they go out after `bday resume`");
    }
    Ok(code)
}

fn print(report: &RedriveReport) {
    let RedriveReport {
        dry_run,
        redriven,
        skipped,
        cancelled,
        more,
        messages_deleted,
        messages_kept,
        messages_complete,
    } = *report;
    let would = if dry_run { "would be " } else { "" };
    println!(
        "{redriven} {would}redriven, {skipped} {would}skipped (their day is over), {cancelled} {would}cancelled (their \
         user is gone)"
    );
    if skipped > 0 {
        println!("--force sends those whose day is over, too");
    }
    if more {
        println!("there are more, beyond --limit");
    }
    if !dry_run {
        println!(
            "{messages_deleted} messages deleted from the dead-letter queue, {messages_kept} left there"
        );
        if !messages_complete {
            println!("the dead-letter queue was not looked at to its end: run it again");
        }
    }
}
