//! `bday event list`

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::cli::output::{self, Table};
use crate::model::{Event, EventState, parse_instant};
use crate::store::{EventCursor, EventFilter, EventOrder, Store, UserRef};

const EXAMPLES: &str = "\
Examples:
  bday event list
  bday event list --state dead --state skipped --from 2026-01-01
  bday event list --user hr-17 --limit 0 --json";
const PAGE: u32 = 1000;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// Only in this state; may come more than once
    #[arg(long, value_name = "STATE")]
    state: Vec<EventState>,
    /// Only of this user, by id or external id; may be gone
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only due at this instant or later: RFC 3339, or a date
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    from: Option<DateTime<Utc>>,
    /// Only due before this instant
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    to: Option<DateTime<Utc>>,
    /// Those due first come first
    #[arg(long)]
    ascending: bool,
    /// How many; 0 is all
    #[arg(long, default_value_t = 50)]
    limit: u64,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, store: &Store) -> anyhow::Result<ExitCode> {
    let user_id = match &args.user {
        Some(name) => Some(user(store, name).await?),
        None => None,
    };
    let filter = EventFilter { states: args.state, from: args.from, to: args.to, user_id };
    let order = if args.ascending { EventOrder::Ascending } else { EventOrder::Descending };
    let mut left = if args.limit == 0 { u64::MAX } else { args.limit };
    let mut after = None;
    let head = ["ID", "DUE", "LOCAL DATE", "KIND", "STATE", "REASON", "ATTEMPTS", "USER"];
    let mut table = (!args.json && args.limit != 0).then(|| Table::new(&head));
    while left > 0 && !output::reader_is_gone() {
        let wanted = left.min(u64::from(PAGE)) as u32;
        let page = store.list_events(&filter, order, after, wanted).await?;
        let Some(last) = page.last() else { break };
        after = Some(EventCursor::from(last));
        left -= page.len() as u64;
        for event in page {
            match &mut table {
                Some(table) => table.row(cells(&event)),
                None if args.json => output::json(&event)?,
                None => println!("{}", output::tabbed(&cells(&event))),
            }
        }
    }
    if let Some(table) = table {
        table.print()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The id of somebody who goes by this id or external id, or did.
async fn user(store: &Store, name: &str) -> anyhow::Result<Uuid> {
    let facts = store.user_history(UserRef::External(name)).await?;
    match (facts, Uuid::parse_str(name)) {
        (Some(facts), _) => Ok(facts.user_id),
        (None, Ok(id)) => Ok(id),
        (None, Err(_)) => {
            anyhow::bail!("no user has or had the id or external id {name:?}: see `bday user list`")
        }
    }
}

fn cells(event: &Event) -> [String; 8] {
    [
        event.id.to_string(),
        output::instant(event.due_at),
        event.local_date.to_string(),
        event.kind.clone(),
        event.state.to_string(),
        event.reason.clone().unwrap_or_default(),
        event.attempts.to_string(),
        event.user_id.to_string(),
    ]
}
