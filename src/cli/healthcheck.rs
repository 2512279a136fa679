//! `bday healthcheck`

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use super::ConfigSource;
use crate::http::LIVE;

const EXAMPLES: &str = "\
Examples:
  bday healthcheck            is the daemon at http.listen ready, with all that it needs?
  bday healthcheck --live     was it ready once, and is none of its stages stuck?

--live is for what replaces an unhealthy daemon, such as ECS or Swarm: with a database or a queue that is away, a new
one would not help, and what the old one has yet to record would be sent again.

Exit code 0 when it is, else 1, with the reason on standard error.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Ask only whether it has started and is not stuck (/livez), not whether it does its work (/readyz)
    #[arg(long)]
    live: bool,

    /// Ask this URL instead, whatever it belongs to
    #[arg(long, conflicts_with = "live")]
    url: Option<reqwest::Url>,
}

pub(super) async fn run(args: Args, source: &ConfigSource) -> anyhow::Result<ExitCode> {
    let path = if args.live { "livez" } else { "readyz" };
    let url = match args.url {
        Some(url) => url.to_string(),
        None => format!("http://{}/{path}", reachable(source.load()?.http.listen)),
    };
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build()?;
    let answer = client.get(&url).send().await.with_context(|| format!("no daemon answers at {url}"))?;
    let (well, said) = (answer.status().is_success(), answer.text().await);
    let said = said.unwrap_or_default();
    // One that still starts lives, but a deployment must not go on with it.
    if well && (!args.live || said.trim_end() == LIVE) {
        return Ok(ExitCode::SUCCESS);
    }
    let lacks = if args.live { "live" } else { "ready" };
    eprintln!("bday: not {lacks}: {}", said.trim_end());
    Ok(ExitCode::FAILURE)
}

/// An address to connect to, for one to listen on.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
