//! `bday user`

mod contact;
mod files;
mod write;

use std::collections::HashSet;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;

use super::context::{Context, with_database};
use super::{ConfigSource, output};
use crate::calendar::{Zone, format_instant};
use crate::clock::SharedClock;
use crate::model::{User, UserWithContacts};
use crate::store::{DeleteOutcome, SearchCursor, UserFilter, UserRef, chain};

/// How far `show` looks ahead: to the next 29 February under any rule.
const YEARS_AHEAD: u32 = 8;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a user, or update the one with the same --external-id
    Add(write::Add),
    /// Show a user and their next occasions
    Show(Show),
    /// List users
    List(List),
    /// Update some fields of a user
    Update(write::Update),
    /// Opt a user in to or out of a channel
    Contact(contact::SetContact),
    /// Delete users and cancel their unsent events
    Delete(Delete),
    /// Import users from a CSV, NDJSON or vCard file; safe to repeat
    Import(files::Import),
    /// Export all users as CSV or NDJSON
    Export(files::Export),
}

const SHOW: &str = "\
Examples:
  bday user show hr-17
  bday user show 0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f --json";

#[derive(Debug, Args)]
#[command(after_help = SHOW)]
pub(super) struct Show {
    /// The id or the external id
    user: String,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

const LIST: &str = "\
Examples:
  bday user list
  bday user list --search love --time-zone Europe/London
  bday user list --limit 0 --json | jq -r .id    all users, one JSON object a line";

#[derive(Debug, Args)]
#[command(after_help = LIST)]
pub(super) struct List {
    /// List at most this many; 0 is all
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u64,
    /// List only users whose name or external id begins with this text
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// List only users in this time zone
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<Zone>,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

const DELETE: &str = "\
Examples:
  bday user delete hr-17
  bday user delete hr-17 hr-18 hr-19 --json

Cancels unsent events; a request in flight may still arrive. Sent events stay on record. Exit code 1 if a user does not \
exist; the others are deleted.";

#[derive(Debug, Args)]
#[command(after_help = DELETE)]
pub(super) struct Delete {
    /// The ids or the external ids
    #[arg(required = true)]
    users: Vec<String>,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: Command, source: &ConfigSource, clock: SharedClock) -> Result<ExitCode> {
    with_database(source, clock, async |context| match command {
        Command::Add(args) => write::add(args, context).await,
        Command::Show(args) => show(args, context).await,
        Command::List(args) => list(args, context).await,
        Command::Update(args) => write::update(args, context).await,
        Command::Contact(args) => contact::set(args, context).await,
        Command::Delete(args) => delete(args, context).await,
        Command::Import(args) => files::import(args, context).await,
        Command::Export(args) => files::export(args, context).await,
    })
    .await
}

async fn show(args: Show, context: &Context) -> Result<ExitCode> {
    let user = context.user(&args.user).await?;
    let contacts = context.store.contacts(user.id).await?;
    let shown = UserWithContacts { user, contacts };
    output::json_or(args.json, &shown, || output::fields(fields(&shown, context)))?;
    Ok(ExitCode::SUCCESS)
}

fn fields(shown: &UserWithContacts, context: &Context) -> Vec<(String, String)> {
    let UserWithContacts { user, contacts } = shown;
    let or_default = |setting: Option<String>| setting.unwrap_or_else(|| "as configured".to_owned());
    let mut fields: Vec<(String, String)> = [
        ("id", user.id.to_string()),
        ("external id", user.external_id.clone().unwrap_or_default()),
        ("first name", user.first_name.clone()),
        ("last name", user.last_name.clone()),
        ("birth date", user.birth_date.to_string()),
        ("time zone", user.time_zone.name().to_owned()),
        ("send at", or_default(user.send_at.map(|at| at.to_string()))),
        ("leap day", or_default(user.leap_day.map(|rule| rule.to_string()))),
        ("locale", or_default(user.locale.clone())),
        ("created", format_instant(user.created_at)),
        ("updated", format_instant(user.updated_at)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    fields.extend(contacts.iter().map(|contact| (contact.channel.to_string(), contact::describe(contact))));
    fields.extend(user.occasions.iter().map(|(kind, date)| (kind.clone(), date.to_string())));
    let mut kinds = HashSet::new();
    for next in context.schedule.upcoming(user, context.clock.now(), YEARS_AHEAD) {
        if kinds.insert(next.kind.clone()) {
            let rule = next.rule.map(|rule| format!(" ({})", rule.as_str())).unwrap_or_default();
            let due = format!("{}, due {}{rule}", next.local_date, format_instant(next.due_at));
            fields.push((format!("next {}", next.kind), due));
        }
    }
    fields
}

async fn list(args: List, context: &Context) -> Result<ExitCode> {
    let (store, time_zone) = (&context.store, args.time_zone);
    let mut list =
        output::List::new(args.json, args.limit, &["ID", "NAME", "BORN", "TIME ZONE", "AT", "EXTERNAL ID"]);
    let mut after = SearchCursor::default();
    while let Some(size) = list.next_page() {
        let (users, next) = if let Some(search) = &args.search {
            let page = store.search_users(search, time_zone, after, size).await?;
            (page.users, page.next)
        } else {
            let page = store.list_users(&UserFilter { time_zone }, after.id, size).await?;
            (page.users, page.next.map(|id| SearchCursor { id, ..SearchCursor::default() }))
        };
        for user in users {
            list.add(&user.with_configured_kinds(&context.schedule), cells)?;
        }
        let Some(next) = next else { break };
        after = next;
    }
    list.print()?;
    Ok(ExitCode::SUCCESS)
}

fn cells(user: &User) -> [String; 6] {
    [
        user.id.to_string(),
        format!("{} {}", user.first_name, user.last_name),
        user.birth_date.to_string(),
        user.time_zone.name().to_owned(),
        user.send_at.map(|at| at.to_string()).unwrap_or_default(),
        user.external_id.clone().unwrap_or_default(),
    ]
}

async fn delete(args: Delete, context: &Context) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for name in &args.users {
        let id = match context.user(name).await {
            Ok(user) => user.id,
            Err(error) => {
                eprintln!("bday: {}", chain(error.as_ref()));
                code = ExitCode::FAILURE;
                continue;
            }
        };
        let deleted = context.store.delete_user(context.clock.now(), UserRef::Id(id), None, None).await?;
        if deleted != DeleteOutcome::Deleted(id) {
            eprintln!("bday: the user {name:?} was deleted concurrently");
            code = ExitCode::FAILURE;
            continue;
        }
        let json = json!({ "id": id, "result": "deleted" });
        output::json_or_text(args.json, &json, format_args!("deleted {id}"))?;
    }
    Ok(code)
}
