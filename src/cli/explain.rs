//! `bday explain`

use std::io;
use std::process::ExitCode;

use anyhow::Result;
use clap::builder::styling::Style;

use super::ConfigSource;
use super::context::with_database;
use super::output::{self, BOLD, CYAN, GREEN, RED, Table, YELLOW, escape, json_name, paint};
use crate::calendar::{format_duration, format_instant};
use crate::clock::SharedClock;
use crate::model::{Attempt, Event, User};
use crate::people::explain::{ExplainSettings, Explanation, Next, Status, ThisYear, explain};

const EXAMPLES: &str = "\
Examples:
  bday explain hr-17
  bday explain 0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f
  bday explain hr-17 --json | jq '.thisYear[] | {kind, status, why}'

Finds deleted users, too: by id, and for 400 days by external id.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The id or the external id
    user: String,
    /// Print a JSON object, as GET /v1/users/{id}/explain does
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, source: &ConfigSource, clock: SharedClock) -> Result<ExitCode> {
    let explanation = with_database(source, clock, async |context| {
        let history = context.history(&args.user).await?;
        Ok(explain(history, &ExplainSettings::new(&context.config), context.clock.now()))
    })
    .await?;
    output::json_or(args.json, &explanation, || print(&explanation))?;
    Ok(ExitCode::SUCCESS)
}

fn print(explanation: &Explanation) -> io::Result<()> {
    if let Some(user) = &explanation.user {
        print_user(user, explanation.local_now.as_deref().unwrap_or_default());
    } else {
        let at = explanation.deleted_at.map(|at| format!(" at {}", format_instant(at))).unwrap_or_default();
        println!("{}  (deleted{at})", explanation.user_id);
        println!("Kind, year and outcome of each event are kept; names, dates and time zone are deleted.");
    }
    for occasion in &explanation.this_year {
        println!();
        print_this_year(occasion);
    }
    if explanation.user.is_some() {
        println!("\nNext");
        let mut table = Table::new(&["DATE", "KIND", "YEARS", "DUE (UTC)", "OFFSET", "PLANNED", "RULE"]);
        for next in &explanation.next {
            table.row(next_cells(next, explanation));
        }
        table.print()?;
    }
    if !explanation.other_years.is_empty() {
        println!("\nOther years");
        let mut table = Table::new(&["DATE", "KIND", "STATE", "REASON", "ATTEMPTS", "FINISHED", "EVENT"]);
        for event in &explanation.other_years {
            table.row(event_cells(event));
        }
        table.print()?;
    }
    Ok(())
}

fn print_user(user: &User, local_now: &str) {
    let name = escape(&format!("{} {}", user.first_name, user.last_name));
    let external_id = user.external_id.as_deref().map(|id| format!("  {}", escape(id))).unwrap_or_default();
    println!("{}{external_id}  {}", name.trim_end(), user.id);
    println!("{} in {}, where it is {local_now}", user.birth_date, user.time_zone);
    let or_default = |setting: Option<String>| setting.unwrap_or_else(|| "as configured".to_owned());
    println!(
        "send time {}; 29 February {}; created {}, updated {}",
        or_default(user.send_at.map(|at| at.to_string())),
        or_default(user.leap_day.map(|rule| rule.to_string())),
        format_instant(user.created_at),
        format_instant(user.updated_at)
    );
}

fn print_this_year(occasion: &ThisYear) {
    let title = paint(BOLD, &escape(&format!("{} {}", occasion.kind, occasion.local_year)));
    let status = paint(style(occasion.status).bold(), &json_name(&occasion.status));
    println!("{title}  {status}  {}", escape(&occasion.why));
    let due = occasion.occurrence.as_ref();
    if let Some(due) = due {
        let rule = occasion.rule_in_words.as_deref().map(|rule| format!("; {rule}")).unwrap_or_default();
        println!("  {}, due {} ({}){rule}", due.local_date, format_instant(due.due_at), due.offset);
    }
    if let Some(found) = &occasion.event {
        let event = &found.event;
        // The calendar may have moved since the event was sent.
        if !event.is_blurred() && due.is_none_or(|due| due.due_at != event.due_at) {
            println!("  its event was for {}, due {}", event.local_date, format_instant(event.due_at));
        }
        println!("  event {}", event.id);
        for attempt in &found.attempts {
            println!("  {}", escape(&describe(attempt)));
        }
    }
}

fn describe(attempt: &Attempt) -> String {
    let mut parts = vec![format!("attempt {}", attempt.number), attempt.outcome.clone()];
    parts.extend(attempt.status.map(|status| format!("HTTP {status}")));
    if let Some(started) = attempt.started_at {
        let took =
            attempt.finished_at.map(|finished| format!(", took {}", format_duration(finished - started)));
        parts.push(format!("started {}{}", format_instant(started), took.unwrap_or_default()));
    }
    parts.extend(attempt.error.clone());
    parts.extend(attempt.response.as_deref().map(|response| format!("response: {response}")));
    parts.join("  ")
}

fn style(status: Status) -> Style {
    match status {
        Status::Delivered => GREEN,
        status if status.is_loss() => RED,
        Status::NotDue | Status::NotPlanned | Status::NoOccurrence | Status::BeforeFirstYear => CYAN,
        _ => YELLOW,
    }
}

fn next_cells(next: &Next, explanation: &Explanation) -> [String; 7] {
    let due = &next.occurrence;
    let planned = match (next.event_id, next.planned_from) {
        (Some(_), _) => "yes".to_owned(),
        (None, Some(from)) if from > explanation.now => format!("from {}", from.date_naive()),
        (None, _) => "not yet".to_owned(),
    };
    [
        due.local_date.to_string(),
        due.kind.clone(),
        due.years.map(|years| years.to_string()).unwrap_or_default(),
        format_instant(due.due_at),
        due.offset.clone(),
        planned,
        next.rule_in_words.clone().unwrap_or_default(),
    ]
}

fn event_cells(event: &Event) -> [String; 7] {
    let (date, finished_at) = if event.is_blurred() {
        (event.local_year.to_string(), None)
    } else {
        (event.local_date.to_string(), event.finished_at)
    };
    [
        date,
        event.kind.clone(),
        event.state.to_string(),
        event.reason.clone().unwrap_or_default(),
        event.attempts.to_string(),
        finished_at.map(format_instant).unwrap_or_default(),
        event.id.to_string(),
    ]
}
