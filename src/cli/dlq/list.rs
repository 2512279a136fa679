//! `bday dlq list`

use std::process::ExitCode;

use super::Context;
use super::filter::Filter;
use crate::cli::output::{self, Table};
use crate::model::DeadEvent;
use crate::operations::dead_letters::ScannedMessage;
use crate::pipeline::channel::excerpt;
use crate::store::EventCursor;

const EXAMPLES: &str = "\
Examples:
  bday dlq list
  bday dlq list --reason status --since 2026-03-15T09:00:00Z
  bday dlq list --limit 0 --json | jq -r .id

Dead events come from the database. Then some messages of the dead-letter queue are looked at, for those that stand for \
no dead event: none of ours, or overtaken. In SQS such a look is a receive: it hides the message for a moment and raises \
its receive count, of which nothing follows there. With --json a stray message is an object with `stray`.";
const PAGE: u32 = 1000;
/// In a table.
const SHORT: usize = 60;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    filter: Filter,
    /// How many dead events; 0 is all
    #[arg(long, default_value_t = 50)]
    limit: u64,
    /// How many messages of the dead-letter queue to look at for strays; 0 is none
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u64).range(..=10_000))]
    peek: u64,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> anyhow::Result<ExitCode> {
    let Args { filter, limit, peek, json } = args;
    let filter = filter.build();
    let narrow = !filter.is_empty();
    let mut left = if limit == 0 { u64::MAX } else { limit };
    let mut before = None;
    let head = ["EVENT", "DUE", "DIED", "KIND", "REASON", "ATTEMPTS", "STATUS", "ANSWER OR ERROR"];
    let mut table = (!json && limit != 0).then(|| Table::new(&head));
    let mut listed = 0_u64;
    while left > 0 && !output::reader_is_gone() {
        let wanted = left.min(u64::from(PAGE)) as u32;
        let page = context.store.dead_events(&filter, before, wanted).await?;
        let Some(last) = page.last() else { break };
        before = Some(EventCursor::from(&last.event));
        left -= page.len() as u64;
        listed += page.len() as u64;
        for dead in page {
            match &mut table {
                Some(table) => table.row(cells(&dead)),
                None if json => output::json(&dead)?,
                None => println!("{}", output::tabbed(&cells(&dead))),
            }
        }
    }
    if let Some(table) = table.filter(|_| listed > 0) {
        table.print()?;
    }
    if output::reader_is_gone() {
        return Ok(ExitCode::SUCCESS);
    }
    if !json {
        let all = context.store.count_dead(&filter).await?;
        println!("{listed} of {all} dead events");
    }
    // A filter is about events; strays have none that it could hold for.
    if peek > 0 && !narrow {
        strays(context, peek, json).await?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn strays(context: &Context, peek: u64, json: bool) -> anyhow::Result<()> {
    let all = context.letters.messages().await?;
    if all == 0 {
        return Ok(());
    }
    let (strays, looked_at) = context.letters.strays(peek).await?;
    if json {
        for scanned in &strays {
            output::json(&document(scanned))?;
        }
        return Ok(());
    }
    if !strays.is_empty() {
        println!();
        let mut table = Table::new(&["MESSAGE", "STANDS FOR", "EVENT", "STATE", "REASON", "TEXT"]);
        for scanned in &strays {
            table.row(stray(scanned));
        }
        table.print()?;
    }
    println!(
        "{} of the {looked_at} messages looked at stand for no dead event; the dead-letter queue has {all}",
        strays.len()
    );
    Ok(())
}

fn cells(dead: &DeadEvent) -> [String; 8] {
    let DeadEvent { event, last_status, last_response } = dead;
    let said = last_response.as_deref().or(event.last_error.as_deref());
    [
        event.id.to_string(),
        output::instant(event.due_at),
        event.finished_at.map(output::instant).unwrap_or_default(),
        event.kind.clone(),
        event.reason.clone().unwrap_or_default(),
        event.attempts.to_string(),
        last_status.map(|status| status.to_string()).unwrap_or_default(),
        short(said.unwrap_or_default()),
    ]
}

fn stray(scanned: &ScannedMessage) -> [String; 6] {
    let event = scanned.event.as_ref();
    [
        scanned.message.id.clone(),
        output::snake_case(&scanned.status),
        scanned.event_id.map(|id| id.to_string()).unwrap_or_default(),
        event.map(|event| event.state.to_string()).unwrap_or_default(),
        short(scanned.message.reason.as_deref().unwrap_or_default()),
        short(&excerpt(scanned.message.body.as_bytes())),
    ]
}

/// A stray message as JSON.
pub(super) fn document(scanned: &ScannedMessage) -> serde_json::Value {
    serde_json::json!({
        "stray": scanned.status,
        "messageId": scanned.message.id,
        "eventId": scanned.event_id,
        "eventState": scanned.event.as_ref().map(|event| event.state),
        "reason": scanned.message.reason,
        "text": excerpt(scanned.message.body.as_bytes()),
    })
}

fn short(text: &str) -> String {
    let mut shown: String = text.chars().take(SHORT).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
