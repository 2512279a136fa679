//! `bday user list`

use std::process::ExitCode;

use super::Context;
use crate::calendar::Zone;
use crate::cli::output::{self, Table};
use crate::model::User;
use crate::store::{SearchCursor, UserFilter};

const EXAMPLES: &str = "\
Examples:
  bday user list
  bday user list --search love --time-zone Europe/London
  bday user list --limit 0 --json | jq -r .id    all of them, one JSON object a line";
const PAGE: u32 = 1000;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// How many; 0 is all
    #[arg(long, default_value_t = 50)]
    limit: u64,
    /// The beginning of a name or of an external id
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Only people in this zone
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<Zone>,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> anyhow::Result<ExitCode> {
    let Args { limit, json, .. } = args;
    let zone = args.time_zone;
    let filter = UserFilter { time_zone: zone };
    let mut left = if limit == 0 { u64::MAX } else { limit };
    let mut after = SearchCursor::default();
    // All of them may be a million: those go out a page at a time, without a table that would have to know the widest.
    let mut table =
        (!json && limit != 0).then(|| Table::new(&["ID", "NAME", "BORN", "TIME ZONE", "AT", "EXTERNAL ID"]));
    while left > 0 && !output::reader_is_gone() {
        let wanted = left.min(u64::from(PAGE)) as u32;
        let (users, next) = if let Some(search) = &args.search {
            let page = context.store.search_users(search, zone, after, wanted).await?;
            (page.users, page.next)
        } else {
            let page = context.store.list_users(&filter, after.id, wanted).await?;
            let key = String::new();
            (page.users, page.next.map(|id| SearchCursor { key, id }))
        };
        left -= users.len() as u64;
        for user in users {
            let user = user.with_configured_kinds(&context.schedule);
            match &mut table {
                Some(table) => table.row(cells(&user)),
                None if json => output::json(&user)?,
                None => println!("{}", output::tabbed(&cells(&user))),
            }
        }
        let Some(next) = next else { break };
        after = next;
    }
    if let Some(table) = table {
        table.print()?;
    }
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
