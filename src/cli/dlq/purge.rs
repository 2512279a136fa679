//! `bday dlq purge`

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

use super::Context;
use super::filter::Filter;
use crate::cli::output;
use crate::operations::dead_letters::PurgeOptions;

const EXAMPLES: &str = "\
Examples:
  bday dlq purge --dry-run
  bday dlq purge --strays --yes
  bday dlq purge --reason gone --until 2026-01-01

Deletes messages only. The events stay dead on record, are listed by `bday dlq list`, and can still be redriven. Without \
a filter every message goes, those that are none of ours included. Asks on a terminal; elsewhere --yes is needed.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "they are switches, each by itself")]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    filter: Filter,
    /// Only messages that stand for no dead event
    #[arg(long, conflicts_with_all = ["reason", "kind", "since", "until", "event"])]
    strays: bool,
    /// Only count them
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> anyhow::Result<ExitCode> {
    let options = PurgeOptions { filter: args.filter.build(), strays: args.strays, dry_run: args.dry_run };
    let all = context.letters.messages().await?;
    if !args.yes && !args.dry_run && !confirmed(&options, all)? {
        return Ok(ExitCode::from(2));
    }
    let bar = if args.json { None } else { output::progress() };
    if let Some(bar) = &bar {
        bar.set_length(all);
    }
    let shown = bar.clone();
    let report = context
        .letters
        .purge(&options, move |n| {
            if let Some(bar) = &shown {
                bar.inc(n);
            }
        })
        .await;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let report = report?;
    if args.json {
        output::json(&report)?;
    } else {
        let would = if report.dry_run { "would be " } else { "" };
        println!("{} {would}purged, {} {would}kept", report.purged, report.kept);
        if !report.complete {
            println!("the dead-letter queue was not looked at to its end: run it again");
        }
    }
    Ok(if report.complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether somebody at a terminal says yes.
fn confirmed(options: &PurgeOptions, all: u64) -> io::Result<bool> {
    if !io::stdin().is_terminal() {
        eprintln!("bday: --yes is needed where nobody can be asked; --dry-run says what would go");
        return Ok(false);
    }
    let which = if options.strays {
        format!("those of the {all} messages in the dead-letter queue that stand for no dead event")
    } else if options.filter.is_empty() {
        format!("all {all} messages of the dead-letter queue")
    } else {
        format!("those of the {all} messages in the dead-letter queue that the filter holds for")
    };
    eprint!("Delete {which}? The events stay dead on record. [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    let yes = matches!(answer.trim(), "y" | "Y" | "yes");
    if !yes {
        eprintln!("nothing was deleted");
    }
    Ok(yes)
}
