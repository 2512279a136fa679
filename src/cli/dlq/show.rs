//! `bday dlq show`

use std::process::ExitCode;

use super::{Context, list};
use crate::cli::event::show;
use crate::cli::output::{self, Table};
use crate::model::{EventState, EventWithAttempts};
use crate::operations::dead_letters::ScannedMessage;
use crate::pipeline::channel::excerpt;

const EXAMPLES: &str = "\
Examples:
  bday dlq show 0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f
  bday dlq show 0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f --json | jq '.attempts[-1].response'

ID is that of a dead event, or of a message that `bday dlq list` shows as a stray. How the receiver answered may hold \
personal data.";
/// Messages that are looked at for the one that is asked for.
const MOST: u64 = 1000;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The event's id, or the message's
    id: String,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> anyhow::Result<ExitCode> {
    let Args { id, json } = args;
    let event = match id.parse() {
        Ok(id) => context.store.event(id).await?,
        Err(_) => None,
    };
    if let Some(event) = event {
        let state = event.state;
        let attempts = context.store.attempts(event.id).await?;
        show::print(&EventWithAttempts { event, attempts }, json)?;
        if state == EventState::Dead {
            return Ok(ExitCode::SUCCESS);
        }
        eprintln!("bday: the event is {state}, not dead");
        return Ok(ExitCode::FAILURE);
    }
    let Some(scanned) = context.letters.message(&id, MOST).await? else {
        anyhow::bail!(
            "no event has the id {id}, and none of the first {MOST} messages of the dead-letter queue: see `bday dlq list`"
        );
    };
    if json {
        output::json(&list::document(&scanned))?;
    } else {
        message(&scanned)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn message(scanned: &ScannedMessage) -> std::io::Result<()> {
    let event = scanned.event.as_ref();
    let mut table = Table::new(&["FIELD", "VALUE"]);
    let rows = [
        ("message", scanned.message.id.clone()),
        ("stands for", output::snake_case(&scanned.status)),
        ("event", scanned.event_id.map(|id| id.to_string()).unwrap_or_default()),
        ("state", event.map(|event| event.state.to_string()).unwrap_or_default()),
        ("reason", scanned.message.reason.clone().unwrap_or_default()),
        ("text", excerpt(scanned.message.body.as_bytes())),
    ];
    for (name, value) in rows {
        table.row([name.to_owned(), value]);
    }
    table.print()
}
