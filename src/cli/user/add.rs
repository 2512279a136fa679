//! `bday user add`

use std::process::ExitCode;

use uuid::Uuid;

use super::Context;
use super::fields::{Fields, complain};
use crate::cli::output;
use crate::model::UserInput;
use crate::store::{SaveOutcome, UserKey};

const EXAMPLES: &str = "\
Examples:
  bday user add --first-name Ada --last-name Lovelace --birth-date 1815-12-10 \\
    --time-zone Europe/London
  bday user add --first-name Ken --birth-date=--02-29 --time-zone Asia/Tokyo \\
    --send-at 07:30 --external-id hr-17
  bday user add --first-name Eve --birth-date 1990-04-01 --time-zone UTC \\
    --occasion work_anniversary=2019-05-02";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    fields: Fields,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> anyhow::Result<ExitCode> {
    let user = match args.fields.over(UserInput::whole(&context.schedule, context.latest_today())) {
        Ok(user) => user,
        Err(errors) => {
            complain(&errors);
            return Ok(ExitCode::from(2));
        }
    };
    let key = if user.external_id.is_some() { UserKey::External } else { UserKey::Id(Uuid::now_v7()) };
    let written =
        context.store.write_users(&context.schedule, context.clock.now(), &[(key, user.clone())]).await?;
    for (id, outcome) in written {
        let outcome = match outcome {
            SaveOutcome::Created => "created",
            SaveOutcome::Updated => "updated",
            // The last two are for ids that come from elsewhere.
            SaveOutcome::Unchanged | SaveOutcome::Clash | SaveOutcome::Later => "unchanged",
        };
        if args.json {
            output::json(&serde_json::json!({ "id": id, "result": outcome }))?;
        } else {
            let name = output::harmless(&format!("{} {}", user.first_name, user.last_name));
            println!("{outcome} {id}: {}, {}, {}", name.trim_end(), user.birth_date, user.time_zone.name());
        }
    }
    Ok(ExitCode::SUCCESS)
}
