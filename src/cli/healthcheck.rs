//! `bday healthcheck`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{ConfigSource, connectable};
use crate::http::LIVE;

const EXAMPLES: &str = "\
Examples:
  bday healthcheck            check that the daemon at http.listen is ready
  bday healthcheck --live     check that it has started and that no stage is stuck

Use --live where an unhealthy daemon is replaced, as by ECS or Swarm: replacing it does not help while the database or
the queue is unavailable, and repeats the greetings whose outcomes it has yet to record.

Exit code 0 on success, else 1, with the reason on standard error.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Check liveness (/livez) instead of readiness (/readyz)
    #[arg(long)]
    live: bool,

    /// Check this URL instead
    #[arg(long, conflicts_with = "live")]
    url: Option<reqwest::Url>,
}

pub(super) async fn run(args: Args, source: &ConfigSource) -> Result<ExitCode> {
    let path = if args.live { "livez" } else { "readyz" };
    let url = match args.url {
        Some(url) => url.to_string(),
        None => format!("http://{}/{path}", connectable(source.load()?.http.listen)),
    };
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build()?;
    let response = client.get(&url).send().await.with_context(|| format!("no daemon answers at {url}"))?;
    let healthy = response.status().is_success();
    let body = response.text().await.unwrap_or_default();
    // A daemon that is still starting is live, but a deployment must wait for it.
    if healthy && (!args.live || body.trim_end() == LIVE) {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("bday: not {}: {}", if args.live { "live" } else { "ready" }, body.trim_end());
    Ok(ExitCode::FAILURE)
}
