//! `bday user show`

use std::process::ExitCode;

use super::Context;
use crate::cli::output::{self, Table};
use crate::model::User;

const EXAMPLES: &str = "\
Examples:
  bday user show hr-17
  bday user show 0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f --json";
/// How far `show` looks ahead: to the next 29 February, whatever the rule.
const YEARS: u32 = 8;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The id or the external id
    user: String,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> anyhow::Result<ExitCode> {
    let user = context.find(&args.user).await?;
    if args.json {
        output::json(&user)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["FIELD", "VALUE"]);
    for (name, value) in rows(&user) {
        table.row([name, value]);
    }
    let ahead = context.schedule.upcoming(&user, context.clock.now(), YEARS);
    let mut kinds: Vec<&str> = Vec::new();
    for next in &ahead {
        if !kinds.contains(&next.kind.as_str()) {
            kinds.push(&next.kind);
            let rule = next.rule.map(|rule| format!(" ({})", rule.as_str())).unwrap_or_default();
            table.row([
                format!("next {}", next.kind),
                format!("{}, due {}{rule}", next.local_date, output::instant(next.due_at)),
            ]);
        }
    }
    table.print()?;
    Ok(ExitCode::SUCCESS)
}

fn rows(user: &User) -> Vec<(String, String)> {
    let default = || "as the configuration says".to_owned();
    let mut rows = vec![
        ("id", user.id.to_string()),
        ("external id", user.external_id.clone().unwrap_or_default()),
        ("first name", user.first_name.clone()),
        ("last name", user.last_name.clone()),
        ("birth date", user.birth_date.to_string()),
        ("time zone", user.time_zone.name().to_owned()),
        ("send at", user.send_at.map_or_else(default, |at| at.to_string())),
        ("leap day", user.leap_day.map_or_else(default, |rule| rule.to_string())),
    ];
    let dates = user.occasions.iter();
    rows.extend(dates.map(|(kind, date)| (kind.as_str(), date.to_string())));
    rows.push(("created", output::instant(user.created_at)));
    rows.push(("updated", output::instant(user.updated_at)));
    rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
