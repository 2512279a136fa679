//! `bday healthcheck`

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use super::ConfigSource;

const EXAMPLES: &str = "\
Examples:
  bday healthcheck            is the daemon at http.listen ready?
  bday healthcheck --live     does it answer at all?

Exit code 0 when it is, else 1, with the reason on standard error.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Ask only whether it answers (/livez), not whether it does its work (/readyz)
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
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(5))
        .no_proxy()
        .build()?;
    let answer = client
        .get(&url)
        .send()
        .await
        .with_context(|| format!("no daemon answers at {url}"))?;
    if answer.status().is_success() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("bday: not ready: {}", answer.text().await.unwrap_or_default());
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
