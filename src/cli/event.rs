//! `bday event`

use std::io;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use chrono::{DateTime, NaiveDate, Utc};
use clap::{Args, Subcommand};
use uuid::Uuid;

use super::ConfigSource;
use super::context::{Context, with_database, with_queue};
use super::output::{self, Table};
use crate::calendar::{format_duration, format_instant};
use crate::clock::SharedClock;
use crate::config::TracesConfig;
use crate::model::{Attempt, Event, EventState, EventWithAttempts, Feedback, parse_date, parse_instant};
use crate::operations::dead_letters::RetryOutcome;
use crate::store::{CancelOutcome, EventFilter, EventOrder, RedriveOutcome, TimeCursor};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List events, the latest due first
    List(List),
    /// Show an event with its attempts, and what the provider reported later
    Show(Show),
    /// Redrive a dead event
    Retry(Retry),
    /// Cancel a pending or queued event
    Cancel(Cancel),
}

const LIST: &str = "\
Examples:
  bday event list
  bday event list --state dead --state skipped --from 2026-01-01
  bday event list --user hr-17 --limit 0 --json";

#[derive(Debug, Args)]
#[command(after_help = LIST)]
pub(super) struct List {
    /// List only events in this state; may be repeated
    #[arg(long, value_name = "STATE")]
    state: Vec<EventState>,
    /// List only events of this user, by id or external id; the user may be deleted
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// List only events of this date in the zone of the user
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    date: Option<NaiveDate>,
    /// List only events due at or after this instant: RFC 3339, or a date
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    from: Option<DateTime<Utc>>,
    /// List only events due before this instant
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    to: Option<DateTime<Utc>>,
    /// List the earliest due first
    #[arg(long)]
    ascending: bool,
    /// List at most this many; 0 is all
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u64,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

const SHOW: &str = "\
Examples:
  bday event show 0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f
  bday event show 0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f --json | jq '.attempts[-1]'";

#[derive(Debug, Args)]
#[command(after_help = SHOW)]
pub(super) struct Show {
    /// The event's id: the webhook-id of its requests
    #[arg(value_parser = event_id)]
    id: Uuid,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

const RETRY: &str = "\
Examples:
  bday event retry 0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f
  bday event retry 0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f --force

Redrives a dead event with the same webhook-id and 5 new attempts. After its local day it is skipped, unless --force is \
given. Exit code 1 if it is not redriven.";

#[derive(Debug, Args)]
#[command(after_help = RETRY)]
pub(super) struct Retry {
    /// The event's id
    #[arg(value_parser = event_id)]
    id: Uuid,
    /// Redrive also after the event's local day
    #[arg(long)]
    force: bool,
    /// Print the event as a JSON object
    #[arg(long)]
    json: bool,
}

const CANCEL: &str = "\
Examples:
  bday event cancel 0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f

Cancels a pending or queued event. It is never sent, and the user gets no other greeting of this kind in this year. \
An event that is being delivered is refused: the request may have left.";

#[derive(Debug, Args)]
#[command(after_help = CANCEL)]
pub(super) struct Cancel {
    /// The event's id
    #[arg(value_parser = event_id)]
    id: Uuid,
    /// Print the event as a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn event_id(text: &str) -> Result<Uuid, &'static str> {
    Uuid::parse_str(text)
        .map_err(|_| "expected the id of an event, such as 0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f")
}

pub(super) async fn run(command: Command, source: &ConfigSource, clock: SharedClock) -> Result<ExitCode> {
    match command {
        Command::List(args) => with_database(source, clock, async |context| list(args, context).await).await,
        Command::Show(args) => with_database(source, clock, async |context| show(args, context).await).await,
        Command::Retry(args) => with_queue(source, clock, async |context| retry(args, context).await).await,
        Command::Cancel(args) => with_queue(source, clock, async |context| cancel(args, context).await).await,
    }
}

async fn list(args: List, context: &Context) -> Result<ExitCode> {
    let user_id = match &args.user {
        Some(name) => Some(context.history(name).await?.user_id),
        None => None,
    };
    let filter =
        EventFilter { states: args.state, from: args.from, to: args.to, user_id, local_date: args.date };
    let order = if args.ascending { EventOrder::Ascending } else { EventOrder::Descending };
    let head = ["ID", "DUE", "LOCAL DATE", "KIND", "STATE", "REASON", "ATTEMPTS", "USER"];
    let mut list = output::List::new(args.json, args.limit, &head);
    let mut after = None;
    while let Some(size) = list.next_page() {
        let page = context.store.list_events(&filter, order, after, size).await?;
        let Some(end) = page.last() else { break };
        after = Some(TimeCursor::from(end));
        for event in &page {
            list.add(event, event_cells)?;
        }
    }
    list.print()?;
    Ok(ExitCode::SUCCESS)
}

fn event_cells(event: &Event) -> [String; 8] {
    [
        event.id.to_string(),
        format_instant(event.due_at),
        event.local_date.to_string(),
        event.kind.clone(),
        event.state.to_string(),
        event.reason.clone().unwrap_or_default(),
        event.attempts.to_string(),
        event.user_id.to_string(),
    ]
}

async fn show(args: Show, context: &Context) -> Result<ExitCode> {
    let Show { id, json } = args;
    let found = context.store.event_with_attempts(id).await?;
    let event = found.with_context(|| format!("no event has the id {id}"))?;
    output::json_or(json, &event, || print(&event, &context.config.traces))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn print(found: &EventWithAttempts, traces: &TracesConfig) -> io::Result<()> {
    let EventWithAttempts { event, attempts, feedback } = found;
    output::fields(event_fields(event))?;
    if attempts.is_empty() {
        return Ok(());
    }
    println!();
    let mut table =
        Table::new(&["ATTEMPT", "CHANNEL", "STARTED", "TOOK", "OUTCOME", "STATUS", "REASON", "ERROR"]);
    for attempt in attempts {
        table.row(attempt_cells(attempt));
    }
    table.print()?;
    let details: Vec<String> = attempts.iter().flat_map(|attempt| details(attempt, traces)).collect();
    if !details.is_empty() {
        println!();
    }
    for line in details {
        println!("{line}");
    }
    print_feedback(feedback)
}

/// Returns the lines about an attempt that do not fit into the table.
fn details(attempt: &Attempt, traces: &TracesConfig) -> Vec<String> {
    let Attempt { number, provider_id, response, trace_id, .. } = attempt;
    let id = provider_id.as_ref().map(|id| format!("message id of attempt {number}: {}", output::escape(id)));
    let response = response
        .as_ref()
        .map(|response| format!("response to attempt {number}: {}", output::escape(response)));
    let trace = trace_id.map(|id| {
        let shown = traces.link_to(id).map_or_else(|| id.to_string(), String::from);
        format!("trace of attempt {number}: {shown}")
    });
    [id, response, trace].into_iter().flatten().collect()
}

fn print_feedback(feedback: &[Feedback]) -> io::Result<()> {
    if feedback.is_empty() {
        return Ok(());
    }
    println!();
    let mut table = Table::new(&["FEEDBACK", "CHANNEL", "AT", "DETAIL"]);
    for report in feedback {
        table.row([
            report.feedback_type.to_string(),
            report.channel.to_string(),
            format_instant(report.at),
            report.detail.clone().unwrap_or_default(),
        ]);
    }
    table.print()
}

fn event_fields(event: &Event) -> [(&'static str, String); 11] {
    let instant = |at: Option<_>| at.map(format_instant).unwrap_or_default();
    [
        ("id", event.id.to_string()),
        ("user", event.user_id.to_string()),
        ("kind", event.kind.clone()),
        ("local date", event.local_date.to_string()),
        ("due", format_instant(event.due_at)),
        ("state", event.state.to_string()),
        ("reason", event.reason.clone().unwrap_or_default()),
        ("last error", event.last_error.clone().unwrap_or_default()),
        ("queued", instant(event.queued_at)),
        ("finished", instant(event.finished_at)),
        ("redriven", instant(event.redriven_at)),
    ]
}

fn attempt_cells(attempt: &Attempt) -> [String; 8] {
    let took = attempt.started_at.zip(attempt.finished_at).map(|(started, finished)| finished - started);
    [
        attempt.number.to_string(),
        attempt.channel.clone().unwrap_or_default(),
        attempt.started_at.map(format_instant).unwrap_or_default(),
        took.map(format_duration).unwrap_or_default(),
        attempt.outcome.clone(),
        attempt.status.map(|status| status.to_string()).unwrap_or_default(),
        attempt.reason.clone().unwrap_or_default(),
        attempt.error.clone().unwrap_or_default(),
    ]
}

async fn retry(args: Retry, context: &Context) -> Result<ExitCode> {
    let Retry { id, force, json } = args;
    let outcome = match context.dead_letters().await?.retry(id, force).await? {
        RetryOutcome::Done(outcome) => outcome,
        RetryOutcome::NotDead(EventState::Skipped) => bail!(
            "the event {id} is skipped, not dead: --force also redrives an event that was skipped because its day was over"
        ),
        RetryOutcome::NotDead(state) => bail!("the event {id} is {state}, not dead"),
        RetryOutcome::Unknown => bail!("no event has the id {id}"),
    };
    let text = match outcome {
        RedriveOutcome::Redriven => format!("redriven {id}"),
        RedriveOutcome::Skipped(_) => format!("skipped {id}: its local day is over; --force sends it anyway"),
        RedriveOutcome::Cancelled(_) => format!("cancelled {id}: its user is deleted"),
    };
    output::json_or_text(json, &context.store.event(id).await?, text)?;
    Ok(if outcome == RedriveOutcome::Redriven { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn cancel(args: Cancel, context: &Context) -> Result<ExitCode> {
    let Cancel { id, json } = args;
    match context.dead_letters().await?.cancel(id).await? {
        CancelOutcome::Cancelled => {}
        CancelOutcome::Refused(state) => bail!("{}", state.cancel_error()),
        CancelOutcome::NotFound => bail!("no event has the id {id}"),
    }
    output::json_or_text(json, &context.store.event(id).await?, format_args!("cancelled {id}"))?;
    Ok(ExitCode::SUCCESS)
}
