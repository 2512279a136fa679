//! `bday event cancel`

use std::process::ExitCode;

use uuid::Uuid;

use crate::cli::output;
use crate::operations::dead_letters::DeadLetters;
use crate::store::{CancelOutcome, Store};

const EXAMPLES: &str = "\
Examples:
  bday event cancel 0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f

Only an event that is pending or queued. It is never sent then, and its user gets no other greeting of that kind in that \
year. One that is being delivered at this moment is refused: the request may have left.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The event's id
    #[arg(value_parser = super::id)]
    id: Uuid,
    /// Print the event as a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, store: &Store, letters: &DeadLetters) -> anyhow::Result<ExitCode> {
    let Args { id, json } = args;
    match letters.cancel(id).await? {
        CancelOutcome::Cancelled if json => output::json(&store.event(id).await?)?,
        CancelOutcome::Cancelled => println!("cancelled {id}"),
        CancelOutcome::Refused(state) => anyhow::bail!("{}", state.cancel_error()),
        CancelOutcome::NotFound => anyhow::bail!("no event has the id {id}"),
    }
    Ok(ExitCode::SUCCESS)
}
