//! `bday user delete`

use std::process::ExitCode;

use super::Context;
use crate::cli::output;
use crate::store::{DeleteOutcome, UserRef};

const EXAMPLES: &str = "\
Examples:
  bday user delete hr-17
  bday user delete hr-17 hr-18 hr-19 --json

What was not sent yet is cancelled; a request that is in flight at this moment may still arrive. What was sent stays on \
record. Exit code 1 when one of them does not exist; the others are deleted.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The ids or the external ids
    #[arg(required = true)]
    users: Vec<String>,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for name in &args.users {
        let id = match context.find(name).await {
            Ok(user) => user.id,
            Err(error) => {
                eprintln!("bday: {}", crate::store::chain(error.as_ref()));
                code = ExitCode::FAILURE;
                continue;
            }
        };
        let deleted = context.store.delete_user(context.clock.now(), UserRef::Id(id), None, None).await?;
        if deleted != DeleteOutcome::Deleted(id) {
            eprintln!("bday: somebody else has just deleted {name:?}");
            code = ExitCode::FAILURE;
        } else if args.json {
            output::json(&serde_json::json!({ "id": id, "result": "deleted" }))?;
        } else {
            println!("deleted {id}");
        }
    }
    Ok(code)
}
