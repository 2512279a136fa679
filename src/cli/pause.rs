//! `bday pause` and `bday resume`

use std::process::ExitCode;

use super::{ConfigSource, output};
use crate::clock::SharedClock;
use crate::config::parts;

const PAUSE: &str = "\
Examples:
  bday pause --reason 'the receiver is being moved'
  bday pause --json

Stops sending in all processes at once; what is in flight ends. Planning goes on. What becomes due \
meanwhile is sent after `bday resume`, up to late.max_secs late.";

#[derive(Debug, clap::Args)]
#[command(after_help = PAUSE)]
pub(super) struct Pause {
    /// Why, for those who ask later
    #[arg(long, default_value = "", hide_default_value = true)]
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

pub(super) async fn pause(
    args: Pause,
    source: &ConfigSource,
    clock: SharedClock,
) -> anyhow::Result<ExitCode> {
    let store = parts::store(&source.load()?).await?;
    store.check_schema().await?;
    let changed = store.set_pause(clock.now(), args.reason.trim()).await?;
    let pause = store.pause().await?;
    store.close().await;
    if args.json {
        output::json(&serde_json::json!({ "changed": changed, "pause": pause }))?;
    } else if changed {
        println!("paused: nothing is sent until `bday resume`");
    } else if let Some(pause) = pause {
        let why = match &*pause.reason {
            "" => String::new(),
            reason => format!(" ({})", output::harmless(reason)),
        };
        println!("it was paused already, since {}{why}", pause.since.format("%F %T UTC"),);
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn resume(args: Resume, source: &ConfigSource) -> anyhow::Result<ExitCode> {
    let store = parts::store(&source.load()?).await?;
    store.check_schema().await?;
    let changed = store.end_pause().await?;
    store.close().await;
    if args.json {
        output::json(&serde_json::json!({ "changed": changed }))?;
    } else {
        println!("{}", if changed { "resumed" } else { "it was not paused" });
    }
    Ok(ExitCode::SUCCESS)
}
