//! `bday event retry`

use std::process::ExitCode;

use uuid::Uuid;

use crate::cli::output;
use crate::model::EventState;
use crate::operations::dead_letters::{DeadLetters, RetryOutcome};
use crate::store::{RedriveOutcome, Store};

const EXAMPLES: &str = "\
Examples:
  bday event retry 0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f
  bday event retry 0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f --force

A redrive of one dead event: the same webhook-id, and 5 new attempts. If its local day is over it is skipped, and --force \
sends it nevertheless. Exit code 1 when it does not go on its way.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The event's id
    #[arg(value_parser = super::id)]
    id: Uuid,
    /// Also if its local day is over
    #[arg(long)]
    force: bool,
    /// Print the event as a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, store: &Store, letters: &DeadLetters) -> anyhow::Result<ExitCode> {
    let Args { id, force, json } = args;
    let (text, code) = match letters.retry(id, force).await? {
        RetryOutcome::Done(RedriveOutcome::Redriven) => {
            (format!("{id} is on its way again"), ExitCode::SUCCESS)
        }
        RetryOutcome::Done(RedriveOutcome::Skipped(_)) => (
            format!("{id} is skipped: its local day is over; --force sends it nevertheless"),
            ExitCode::FAILURE,
        ),
        RetryOutcome::Done(RedriveOutcome::Cancelled(_)) => {
            (format!("{id} is cancelled: its user is gone"), ExitCode::FAILURE)
        }
        RetryOutcome::NotDead(EventState::Skipped) => anyhow::bail!(
            "the event {id} is skipped, and only a dead one can be sent again; with --force also one that was skipped \
             because its day was over"
        ),
        RetryOutcome::NotDead(state) => {
            anyhow::bail!("the event {id} is {state}, and only a dead one can be sent again")
        }
        RetryOutcome::Unknown => anyhow::bail!("no event has the id {id}"),
    };
    if json {
        output::json(&store.event(id).await?)?;
    } else {
        println!("{text}");
    }
    Ok(code)
}
