//! `bday dlq`

use std::collections::HashSet;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use uuid::Uuid;

use super::ConfigSource;
use super::context::{Context, with_queue};
use super::event::{self, event_id};
use super::output::{self, Table, json_name};
use crate::calendar::text::shortened;
use crate::calendar::{format_count, format_instant};
use crate::clock::SharedClock;
use crate::model::{ChannelName, DeadEvent, EventState, OrNone, Reason, parse_instant};
use crate::operations::dead_letters::{self, DeadLetters, RedriveReport, ScannedMessage};
use crate::pipeline::channel::excerpt;
use crate::store::{DeadFilter, TimeCursor, chain};

/// Messages of the dead-letter queue that `show` searches.
const MAX_MESSAGES: u64 = 1000;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List dead events, the latest due first, and stray messages
    List(List),
    /// Show a dead event with its attempts, or a stray message
    Show(Show),
    /// Redrive dead events, each with the same webhook-id
    Redrive(Redrive),
    /// Delete messages from the dead-letter queue; the events stay on record
    Purge(Purge),
}

// The options that select dead events.
#[derive(Debug, Args)]
struct Filter {
    /// Only events with this reason: status, gone, connect, timeout, broken …; may be repeated
    #[arg(long, value_name = "REASON")]
    reason: Vec<Reason>,
    /// Only events of this kind; may be repeated
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,
    /// Only events with this channel of the last attempt, or none; may be repeated
    #[arg(long, value_name = "CHANNEL")]
    channel: Vec<OrNone<ChannelName>>,
    /// Only events with this status of the last attempt, or none if it had no response; may be repeated
    #[arg(long, value_name = "STATUS")]
    status: Vec<OrNone<i16>>,
    /// Only events that died at or after this instant: RFC 3339, or a date
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    since: Option<DateTime<Utc>>,
    /// Only events that died before this instant
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    until: Option<DateTime<Utc>>,
    /// Only this event; may be repeated
    #[arg(long, value_name = "ID", num_args = 1.., value_parser = event_id)]
    event: Vec<Uuid>,
}

impl From<Filter> for DeadFilter {
    fn from(filter: Filter) -> Self {
        let Filter { reason: reasons, kind: kinds, channel, status, since, until, event: ids } = filter;
        let channels = channel.into_iter().map(|OrNone(channel)| channel).collect();
        let statuses = status.into_iter().map(|OrNone(status)| status).collect();
        Self { reasons, kinds, channels, statuses, since, until, ids, day_over: false }
    }
}

const LIST: &str = "\
Examples:
  bday dlq list
  bday dlq list --reason status --since 2026-03-15T09:00:00Z
  bday dlq list --limit 0 --json | jq -r .id

Lists dead events from the database. Without a filter, also reads messages of the dead-letter queue and lists the \
strays: messages for no dead event. Reading an SQS message hides it for a moment and raises its receive count; neither \
has an effect on bday. With --json, a stray is an object with the key `stray`.";

#[derive(Debug, Args)]
#[command(after_help = LIST)]
pub(super) struct List {
    #[command(flatten)]
    filter: Filter,
    /// List at most this many dead events; 0 is all
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u64,
    /// Read at most this many messages of the dead-letter queue to find strays
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(..=10_000))]
    peek: u64,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

const SHOW: &str = "\
Examples:
  bday dlq show 0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f
  bday dlq show 0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f --json | jq '.attempts[-1].response'

ID is that of a dead event, or of a stray message of `bday dlq list`. Responses of the receiver may contain personal data.";

#[derive(Debug, Args)]
#[command(after_help = SHOW)]
pub(super) struct Show {
    /// The id of the event or of the message
    id: String,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

const REDRIVE: &str = "\
Examples:
  bday dlq redrive --dry-run
  bday dlq redrive --reason status --since 2026-03-15T09:00:00Z --max-per-second 50
  bday dlq redrive --reason status --channel webhook --status 503
  bday dlq redrive --event 0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f --force

Each event keeps its webhook-id and gets 5 new attempts. Events of deleted users are cancelled. Events whose local day is \
over are skipped, unless --force is given; --force also redrives events that an earlier redrive skipped. Then the \
messages are deleted from the dead-letter queue, which ends its alarm. The command may be interrupted and run again. \
Exit code 1 on an error, or if an --event is not dead.";

#[derive(Debug, Args)]
#[command(after_help = REDRIVE)]
pub(super) struct Redrive {
    #[command(flatten)]
    filter: Filter,
    /// Redrive at most this many, the earliest due first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Redrive also events whose local day is over
    #[arg(long)]
    force: bool,
    /// Only count the events
    #[arg(long)]
    dry_run: bool,
    /// Redrive at most this many events per second; 0 is no limit
    #[arg(long, default_value_t = 0, value_name = "N")]
    max_per_second: u32,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

const PURGE: &str = "\
Examples:
  bday dlq purge --dry-run
  bday dlq purge --strays --yes
  bday dlq purge --reason gone --until 2026-01-01

Deletes messages only: dead events stay on record, are listed by `bday dlq list`, and can be redriven. Without a filter \
all messages are deleted, including those of other programs. Asks for confirmation on a terminal, else requires --yes.";

#[derive(Debug, Args)]
#[command(after_help = PURGE)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command")]
pub(super) struct Purge {
    #[command(flatten)]
    filter: Filter,
    /// Delete only messages for no dead event
    #[arg(long, conflicts_with_all = ["reason", "kind", "channel", "status", "since", "until", "event"])]
    strays: bool,
    /// Only count the messages
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: Command, source: &ConfigSource, clock: SharedClock) -> Result<ExitCode> {
    with_queue(source, clock, async |context| {
        let dead_letters = context.dead_letters().await?;
        match command {
            Command::List(args) => list(args, context, &dead_letters).await,
            Command::Show(args) => show(args, context, &dead_letters).await,
            Command::Redrive(args) => redrive(args, context, &dead_letters).await,
            Command::Purge(args) => purge(args, &dead_letters).await,
        }
    })
    .await
}

async fn list(args: List, context: &Context, dead_letters: &DeadLetters) -> Result<ExitCode> {
    let List { filter, limit, peek, json } = args;
    let filter = DeadFilter::from(filter);
    let head = ["EVENT", "DUE", "DIED", "KIND", "REASON", "ATTEMPTS", "STATUS", "RESPONSE OR ERROR"];
    let mut list = output::List::new(json, limit, &head);
    let mut before = None;
    while let Some(size) = list.next_page() {
        let page = context.store.dead_events(&filter, before, size).await?;
        let Some(end) = page.last() else { break };
        before = Some(TimeCursor::from(&end.event));
        for dead in &page {
            list.add(dead, event_cells)?;
        }
    }
    if list.count > 0 {
        list.print()?;
    }
    if output::reader_closed() {
        return Ok(ExitCode::SUCCESS);
    }
    if !json {
        let dead = context.store.count_dead(&filter).await?;
        println!("{} of {}", list.count, format_count(dead, "dead event", "dead events"));
    }
    if peek > 0 && filter.is_empty() {
        print_strays(dead_letters, peek, json).await?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn print_strays(dead_letters: &DeadLetters, peek: u64, json: bool) -> Result<()> {
    let messages = dead_letters.messages().await?;
    if messages == 0 {
        return Ok(());
    }
    let (strays, read) = dead_letters.strays(peek).await?;
    if json {
        for stray in &strays {
            output::json(&as_json(stray))?;
        }
        return Ok(());
    }
    if !strays.is_empty() {
        println!();
        let mut table = Table::new(&fields(&strays[0]).map(|(name, _)| name));
        for stray in &strays {
            table.row(fields(stray).map(|(_, value)| shortened(&value)));
        }
        table.print()?;
    }
    let (strays, read) =
        (format_count(strays.len(), "stray", "strays"), format_count(read, "message", "messages"));
    println!("{strays} in {read} read; the dead-letter queue has {messages}");
    Ok(())
}

fn event_cells(dead: &DeadEvent) -> [String; 8] {
    let DeadEvent { event, last_status, last_response } = dead;
    let text = last_response.as_deref().or(event.last_error.as_deref());
    [
        event.id.to_string(),
        format_instant(event.due_at),
        event.finished_at.map(format_instant).unwrap_or_default(),
        event.kind.clone(),
        event.reason.clone().unwrap_or_default(),
        event.attempts.to_string(),
        last_status.map(|status| status.to_string()).unwrap_or_default(),
        shortened(text.unwrap_or_default()),
    ]
}

fn fields(stray: &ScannedMessage) -> [(&'static str, String); 6] {
    let state = stray.event.as_ref().map(|event| event.state.to_string());
    [
        ("MESSAGE", stray.message.id.clone()),
        ("STANDS FOR", json_name(&stray.status)),
        ("EVENT", stray.event_id.map(|id| id.to_string()).unwrap_or_default()),
        ("STATE", state.unwrap_or_default()),
        ("REASON", stray.message.reason.clone().unwrap_or_default()),
        ("TEXT", excerpt(stray.message.body.as_bytes())),
    ]
}

fn as_json(stray: &ScannedMessage) -> serde_json::Value {
    serde_json::json!({
        "stray": stray.status,
        "messageId": stray.message.id,
        "eventId": stray.event_id,
        "eventState": stray.event.as_ref().map(|event| event.state),
        "reason": stray.message.reason,
        "text": excerpt(stray.message.body.as_bytes()),
    })
}

async fn show(args: Show, context: &Context, dead_letters: &DeadLetters) -> Result<ExitCode> {
    let Show { id, json } = args;
    let found = match id.parse() {
        Ok(id) => context.store.event_with_attempts(id).await?,
        Err(_) => None,
    };
    if let Some(found) = found {
        let state = found.event.state;
        output::json_or(json, &found, || event::print(&found, &context.config.traces))?;
        if state == EventState::Dead {
            return Ok(ExitCode::SUCCESS);
        }
        eprintln!("bday: the event is {state}, not dead");
        return Ok(ExitCode::FAILURE);
    }
    let message = dead_letters.message(&id, MAX_MESSAGES).await?.with_context(|| {
        format!(
            "no event and none of the first {MAX_MESSAGES} messages of the dead-letter queue has the id {id}: see `bday dlq list`"
        )
    })?;
    output::json_or(json, &as_json(&message), || output::fields(fields(&message)))?;
    Ok(ExitCode::SUCCESS)
}

async fn redrive(args: Redrive, context: &Context, dead_letters: &DeadLetters) -> Result<ExitCode> {
    let Redrive { filter, limit, force, dry_run, max_per_second, json } = args;
    let filter = DeadFilter::from(filter);
    let requested = filter.ids.iter().collect::<HashSet<_>>().len() as u64;
    let order =
        dead_letters::RedriveOptions { filter, limit, force, dry_run, max_per_second, ..Default::default() };
    let bar = output::progress(output::COUNT_BAR, 0);
    if !bar.is_hidden() {
        let dead = DeadFilter { day_over: force, ..order.filter.clone() };
        let dead = context.store.count_dead(&dead).await?;
        bar.set_length(limit.map_or(dead, |limit| limit.min(dead)));
    }
    let (report, result) = dead_letters.redrive(&order, |n| bar.inc(n)).await;
    bar.finish_and_clear();
    if json {
        output::json(&report)?;
    } else {
        print_redrive(&report);
    }
    let mut code = ExitCode::SUCCESS;
    if let Err(error) = &result {
        eprintln!("bday: {}; run the command again for the rest", chain(error));
        code = ExitCode::FAILURE;
    }
    let not_dead = requested.saturating_sub(report.handled());
    if not_dead > 0 && !report.more && result.is_ok() {
        let not_dead = format_count(not_dead, "is", "are");
        eprintln!("bday: of the events given with --event, {not_dead} not dead: see `bday event show ID`");
        code = ExitCode::FAILURE;
    }
    if !json && report.redriven > 0 && !dry_run && context.store.pause().await?.is_some() {
        println!("sending is paused: they are sent after `bday resume`");
    }
    Ok(code)
}

fn print_redrive(report: &RedriveReport) {
    let RedriveReport { redriven, skipped, cancelled, .. } = report;
    let would = if report.dry_run { "would be " } else { "" };
    println!(
        "{redriven} {would}redriven, {skipped} {would}skipped (day over), {cancelled} {would}cancelled (user deleted)"
    );
    if *skipped > 0 {
        println!("--force also redrives events whose day is over");
    }
    if report.more {
        println!("there are more, beyond --limit");
    }
    if !report.dry_run {
        let (deleted, kept) = (report.messages_deleted, report.messages_kept);
        let deleted = format_count(deleted, "message", "messages");
        println!("{deleted} deleted from the dead-letter queue, {kept} kept");
        if !report.messages_complete {
            println!("the end of the dead-letter queue was not reached: run the command again");
        }
    }
}

async fn purge(args: Purge, dead_letters: &DeadLetters) -> Result<ExitCode> {
    let purge =
        dead_letters::PurgeOptions { filter: args.filter.into(), strays: args.strays, dry_run: args.dry_run };
    let messages = dead_letters.messages().await?;
    if !args.yes && !args.dry_run && !confirm(&purge, messages)? {
        return Ok(ExitCode::from(2));
    }
    let bar = output::progress(output::COUNT_BAR, messages);
    let report = dead_letters.purge(&purge, |n| bar.inc(n)).await;
    bar.finish_and_clear();
    let report = report?;
    output::json_or(args.json, &report, || {
        let would = if report.dry_run { "would be " } else { "" };
        println!("{} {would}purged, {} {would}kept", report.purged, report.kept);
        if !report.complete {
            println!("the end of the dead-letter queue was not reached: run the command again");
        }
        Ok(())
    })?;
    Ok(if report.complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Asks for confirmation on a terminal.
fn confirm(purge: &dead_letters::PurgeOptions, messages: u64) -> io::Result<bool> {
    if !io::stdin().is_terminal() {
        eprintln!("bday: --yes is needed without a terminal; --dry-run counts the messages");
        return Ok(false);
    }
    let messages = format_count(messages, "message", "messages");
    let which = if purge.strays {
        "all strays"
    } else if purge.filter.is_empty() {
        "all"
    } else {
        "all that match the filter"
    };
    eprint!("The dead-letter queue has {messages}. Delete {which}? The events stay on record. [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    let yes = matches!(answer.trim(), "y" | "Y" | "yes");
    if !yes {
        eprintln!("nothing was deleted");
    }
    Ok(yes)
}
