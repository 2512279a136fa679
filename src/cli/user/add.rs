//! `bday user add`

use std::convert::Infallible;
use std::process::ExitCode;

use super::Context;
use super::fields::{Fields, complain};
use crate::cli::output;
use crate::model::UserInput;
use crate::store::{SaveOutcome, UserChange, UserRef};

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
    let user = match args.fields.over(UserInput::complete(&context.schedule, context.latest_today())) {
        Ok(user) => user,
        Err(errors) => {
            complain(&errors);
            return Ok(ExitCode::from(2));
        }
    };
    let reference = user.external_id.as_deref().map(UserRef::External);
    let saved = context
        .store
        .save_user(&context.schedule, context.clock.now(), reference, None, |_| {
            Ok::<_, Infallible>(user.clone())
        })
        .await?;
    let SaveOutcome::Saved(change, user) = saved else { anyhow::bail!("the user was not saved: {saved:?}") };
    let result = match change {
        UserChange::Created => "created",
        UserChange::Updated => "updated",
        UserChange::Unchanged => "unchanged",
    };
    if args.json {
        output::json(&serde_json::json!({ "id": user.id, "result": result }))?;
    } else {
        let name = output::harmless(&format!("{} {}", user.first_name, user.last_name));
        println!("{result} {}: {}, {}, {}", user.id, name.trim_end(), user.birth_date, user.time_zone.name());
    }
    Ok(ExitCode::SUCCESS)
}
