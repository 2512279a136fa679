//! `bday user update`

use std::process::ExitCode;

use super::Context;
use super::fields::{Fields, complain};
use crate::cli::output;
use crate::model::UserInput;
use crate::store::{SaveOutcome, UserChange, UserRef};

const EXAMPLES: &str = "\
Examples:
  bday user update hr-17 --time-zone America/New_York
  bday user update hr-17 --send-at '' --occasion work_anniversary=  an empty text takes a field away";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The id or the external id
    user: String,
    #[command(flatten)]
    fields: Fields,
    /// Print the user as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> anyhow::Result<ExitCode> {
    let found = context.find(&args.user).await?;
    let edited = context
        .store
        .edit_user(&context.schedule, context.clock.now(), UserRef::Id(found.id), |user| {
            args.fields.over(UserInput::from_user(user, &context.schedule, context.latest_today()))
        })
        .await;
    let (change, user) = match edited {
        Ok(SaveOutcome::Saved(change, user)) => (change, user.with_configured_kinds(&context.schedule)),
        Ok(SaveOutcome::Refused(Some(errors))) => {
            complain(&errors);
            return Ok(ExitCode::from(2));
        }
        Ok(_) => anyhow::bail!("the user {} has just been deleted", found.id),
        Err(error) if error.constraint() == Some("external_ids_are_unique") => {
            anyhow::bail!("--external-id belongs to another user: give another")
        }
        Err(error) => return Err(error.into()),
    };
    if args.json {
        output::json(&user)?;
    } else if change == UserChange::Unchanged {
        println!("unchanged {}", user.id);
    } else {
        let name = output::harmless(&format!("{} {}", user.first_name, user.last_name));
        println!("updated {}: {}, {}, {}", user.id, name.trim_end(), user.birth_date, user.time_zone.name());
    }
    Ok(ExitCode::SUCCESS)
}
