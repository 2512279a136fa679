//! `bday pause` and `bday resume`

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::context::with_database;
use super::{ConfigSource, output};
use crate::calendar::format_instant;
use crate::clock::SharedClock;
use crate::store::parse_pause_reason;

const PAUSE: &str = "\
Examples:
  bday pause --reason 'the receiver is being moved'
  bday pause --json

Stops sending in all processes at once; requests in flight finish. Planning continues. Events that become due \
during the pause are sent after `bday resume`, unless they are more than late.max_secs late.";

#[derive(Debug, clap::Args)]
#[command(after_help = PAUSE)]
pub(super) struct Pause {
    /// Record why
    #[arg(long, default_value = "", hide_default_value = true, value_parser = parse_pause_reason)]
    reason: String,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  bday resume")]
pub(super) struct Resume {
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn pause(args: Pause, source: &ConfigSource, clock: SharedClock) -> Result<ExitCode> {
    let (changed, pause) = with_database(source, clock, async |context| {
        let changed = context.store.set_pause(context.clock.now(), &args.reason).await?;
        Ok((changed, context.store.pause().await?))
    })
    .await?;
    if args.json {
        output::json(&json!({ "changed": changed, "pause": pause }))?;
    } else if changed {
        println!("paused; send again with `bday resume`");
    } else if let Some(pause) = pause {
        let reason = match &*pause.reason {
            "" => String::new(),
            reason => format!(" ({})", output::escape(reason)),
        };
        println!("already paused since {}{reason}", format_instant(pause.since));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn resume(args: Resume, source: &ConfigSource, clock: SharedClock) -> Result<ExitCode> {
    let changed = with_database(source, clock, async |context| Ok(context.store.end_pause().await?)).await?;
    let text = if changed { "resumed" } else { "not paused" };
    output::json_or_text(args.json, &json!({ "changed": changed }), text)?;
    Ok(ExitCode::SUCCESS)
}
