//! `bday event show`

use std::process::ExitCode;

use anyhow::Context as _;
use uuid::Uuid;

use crate::cli::output::{self, Table};
use crate::model::{Attempt, Event, EventWithAttempts};
use crate::store::Store;

const EXAMPLES: &str = "\
Examples:
  bday event show 0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f
  bday event show 0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f --json | jq '.attempts[-1]'";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The event's id: the webhook-id of its requests
    #[arg(value_parser = super::id)]
    id: Uuid,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, store: &Store) -> anyhow::Result<ExitCode> {
    let event = store.event(args.id).await?.with_context(|| format!("no event has the id {}", args.id))?;
    let attempts = store.attempts(event.id).await?;
    print(&EventWithAttempts { event, attempts }, args.json)?;
    Ok(ExitCode::SUCCESS)
}

/// The whole story, for people or as JSON.
pub(in crate::cli) fn print(found: &EventWithAttempts, json: bool) -> std::io::Result<()> {
    let EventWithAttempts { event, attempts } = found;
    if json {
        return output::json(found);
    }
    let mut table = Table::new(&["FIELD", "VALUE"]);
    for (name, value) in rows(event) {
        table.row([name.to_owned(), value]);
    }
    table.print()?;
    if !attempts.is_empty() {
        println!();
        let mut table = Table::new(&["ATTEMPT", "BEGAN", "TOOK", "OUTCOME", "STATUS", "REASON", "ERROR"]);
        for attempt in attempts {
            table.row(cells(attempt));
        }
        table.print()?;
    }
    let answers = attempts.iter().filter_map(|attempt| Some((attempt.number, attempt.response.as_ref()?)));
    for (at, (number, response)) in answers.enumerate() {
        if at == 0 {
            println!();
        }
        println!("answer to attempt {number}: {}", output::harmless(response));
    }
    Ok(())
}

fn rows(event: &Event) -> Vec<(&'static str, String)> {
    let instant = |at: Option<_>| at.map(output::instant).unwrap_or_default();
    vec![
        ("id", event.id.to_string()),
        ("user", event.user_id.to_string()),
        ("kind", event.kind.clone()),
        ("local date", event.local_date.to_string()),
        ("due", output::instant(event.due_at)),
        ("state", event.state.to_string()),
        ("reason", event.reason.clone().unwrap_or_default()),
        ("last error", event.last_error.clone().unwrap_or_default()),
        ("queued", instant(event.queued_at)),
        ("finished", instant(event.finished_at)),
        ("redriven", instant(event.redriven_at)),
    ]
}

fn cells(attempt: &Attempt) -> [String; 7] {
    let took = match (attempt.started_at, attempt.finished_at) {
        (Some(started), Some(finished)) => format!("{} ms", (finished - started).num_milliseconds()),
        _ => String::new(),
    };
    [
        attempt.number.to_string(),
        attempt.started_at.map(output::instant).unwrap_or_default(),
        took,
        attempt.outcome.clone(),
        attempt.status.map(|status| status.to_string()).unwrap_or_default(),
        attempt.reason.clone().unwrap_or_default(),
        attempt.error.clone().unwrap_or_default(),
    ]
}
