//! `bday explain`

use std::process::ExitCode;

use anyhow::Context as _;
use clap::builder::styling::{AnsiColor, Style};
use uuid::Uuid;

use super::ConfigSource;
use super::output::{self, Table};
use crate::clock::SharedClock;
use crate::config::parts;
use crate::model::{Attempt, User};
use crate::people::explain::ExplainSettings;
use crate::people::explain::{Explanation, Next, Status, ThisYear, explain, format_duration};
use crate::store::{Store, UserHistory, UserRef};

const EXAMPLES: &str = "\
Examples:
  bday explain hr-17
  bday explain 0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f
  bday explain hr-17 --json | jq '.thisYear[] | {kind, status, why}'

Finds deleted users too: by id, and for 400 days by external id.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The id or the external id
    user: String,
    /// Print a JSON object, as GET /v1/users/{id}/explain does
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, source: &ConfigSource, clock: SharedClock) -> anyhow::Result<ExitCode> {
    let config = source.load()?;
    let store = parts::store(&config).await?;
    store.check_schema().await?;
    let facts = find(&store, &args.user).await;
    store.close().await;
    let facts = facts?.with_context(|| {
        format!("no user has or had the id or external id {:?}: see `bday user list`", args.user)
    })?;
    let explanation = explain(facts, &ExplainSettings::new(&config), clock.now());
    if args.json {
        output::json(&explanation)?;
    } else {
        print(&explanation, output::coloured())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// By the id, or by the external id: somebody's external id may look like an id.
async fn find(store: &Store, name: &str) -> anyhow::Result<Option<UserHistory>> {
    if let Ok(id) = Uuid::parse_str(name)
        && let Some(facts) = store.user_history(UserRef::Id(id)).await?
    {
        return Ok(Some(facts));
    }
    Ok(store.user_history(UserRef::External(name)).await?)
}

fn print(explanation: &Explanation, colour: bool) -> std::io::Result<()> {
    for line in head(explanation) {
        println!("{line}");
    }
    for one in &explanation.this_year {
        println!();
        for line in this_year(one, colour) {
            println!("{line}");
        }
    }
    if explanation.user.is_some() {
        println!("\nNext");
        let mut table = Table::new(&["DATE", "KIND", "YEARS", "DUE (UTC)", "OFFSET", "PLANNED", "RULE"]);
        for next in &explanation.next {
            table.row(cells(next, explanation));
        }
        table.print()?;
    }
    if !explanation.other_years.is_empty() {
        println!("\nOther years");
        let mut table = Table::new(&["DATE", "KIND", "STATE", "REASON", "ATTEMPTS", "FINISHED", "EVENT"]);
        for event in &explanation.other_years {
            let dated = !event.is_blurred();
            table.row([
                if dated { event.local_date.to_string() } else { event.local_year.to_string() },
                event.kind.clone(),
                event.state.to_string(),
                event.reason.clone().unwrap_or_default(),
                event.attempts.to_string(),
                event.finished_at.filter(|_| dated).map(output::instant).unwrap_or_default(),
                event.id.to_string(),
            ]);
        }
        table.print()?;
    }
    Ok(())
}

fn head(explanation: &Explanation) -> Vec<String> {
    let Some(user) = &explanation.user else {
        let when = explanation
            .deleted_at
            .map_or_else(|| "deleted".to_owned(), |at| format!("deleted at {}", output::instant(at)));
        return vec![
            format!("{}  ({when})", explanation.user_id),
            "Kind, year and outcome of each event stay on record; names, dates and time zone are deleted."
                .to_owned(),
        ];
    };
    let User { first_name, last_name, birth_date, time_zone, .. } = user;
    let name = output::harmless(&format!("{first_name} {last_name}"));
    let external =
        user.external_id.as_deref().map(|id| format!("  {}", output::harmless(id))).unwrap_or_default();
    let own = |setting: Option<String>| setting.unwrap_or_else(|| "as configured".to_owned());
    vec![
        format!("{}{external}  {}", name.trim_end(), user.id),
        format!(
            "{birth_date} in {time_zone}, where it is {}",
            explanation.local_now.as_deref().unwrap_or_default()
        ),
        format!(
            "send time {}; 29 February {}; since {}, last edit {}",
            own(user.send_at.map(|at| at.to_string())),
            own(user.leap_day.map(|rule| rule.to_string())),
            output::instant(user.created_at),
            output::instant(user.updated_at)
        ),
    ]
}

fn this_year(one: &ThisYear, colour: bool) -> Vec<String> {
    let (bold, style) =
        if colour { (Style::new().bold(), style(one.status)) } else { (Style::new(), Style::new()) };
    let title = output::harmless(&format!("{} {}", one.kind, one.local_year));
    let status = output::snake_case(&one.status);
    let mut lines =
        vec![format!("{bold}{title}{bold:#}  {style}{status}{style:#}  {}", output::harmless(&one.why))];
    if let Some(found) = &one.occurrence {
        let rule = one.rule_in_words.as_deref().map(|rule| format!("; {rule}")).unwrap_or_default();
        lines.push(format!(
            "  {}, due {} ({}){rule}",
            found.local_date,
            output::instant(found.due_at),
            found.offset
        ));
    }
    if let Some(found) = &one.event {
        // What was sent keeps the instant that it had; the calendar may have moved since.
        if !found.event.is_blurred()
            && one.occurrence.as_ref().is_none_or(|now| now.due_at != found.event.due_at)
        {
            lines.push(format!(
                "  its event was for {}, due {}",
                found.event.local_date,
                output::instant(found.event.due_at)
            ));
        }
        lines.push(format!("  event {}", found.event.id));
        lines.extend(found.attempts.iter().map(attempt));
    }
    lines
}

fn attempt(attempt: &Attempt) -> String {
    let mut parts = vec![format!("  attempt {}  {}", attempt.number, attempt.outcome)];
    if let Some(status) = attempt.status {
        parts.push(format!("HTTP {status}"));
    }
    if let Some(began) = attempt.started_at {
        let took = attempt
            .finished_at
            .map(|ended| format!(", took {}", format_duration(ended - began)))
            .unwrap_or_default();
        parts.push(format!("began {}{took}", output::instant(began)));
    }
    parts.extend(attempt.error.clone());
    parts.extend(attempt.response.as_deref().map(|response| format!("answer: {response}")));
    output::harmless(&parts.join("  "))
}

fn style(status: Status) -> Style {
    let colour = match status {
        Status::Delivered => AnsiColor::Green,
        status if status.is_loss() => AnsiColor::Red,
        Status::NotDue | Status::NotPlanned | Status::NoOccurrence | Status::BeforeFirstYear => {
            AnsiColor::Cyan
        }
        _ => AnsiColor::Yellow,
    };
    colour.on_default().bold()
}

fn cells(next: &Next, explanation: &Explanation) -> [String; 7] {
    let found = &next.occurrence;
    let planned = match (next.event_id, next.planned_from) {
        (Some(_), _) => "yes".to_owned(),
        (None, Some(from)) if from > explanation.now => format!("from {}", from.date_naive()),
        (None, _) => "not yet".to_owned(),
    };
    [
        found.local_date.to_string(),
        found.kind.clone(),
        found.years.map(|years| years.to_string()).unwrap_or_default(),
        output::instant(found.due_at),
        found.offset.clone(),
        planned,
        next.rule_in_words.clone().unwrap_or_default(),
    ]
}
