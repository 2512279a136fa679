//! `bday inbox`: the webhook receiver for one's own machine, with a line on the terminal for each arrival.

mod print;

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use axum::http::StatusCode;
use tokio_util::sync::CancellationToken;

use self::print::{Style, print};
use super::output::duration;
use crate::clock::SharedClock;
use crate::dev::inbox::{Inbox, InboxOptions, ResponseRules, Totals};

/// Receive webhooks on this machine and show them live, in the terminal and on a page
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bday inbox                                       accept everything; open http://127.0.0.1:8025/
  bday inbox --latency-ms 1000 --jitter-ms 200     take 1.0 to 1.2 s for each answer
  bday inbox --failure-rate 0.1                    answer one in ten with 500
  bday inbox --fail-first 2                        accept each event at its third attempt
  bday inbox --json | jq .latenessMs               one JSON object a line
  curl -s http://127.0.0.1:8025/arrivals           what arrived, as JSON
  curl -X DELETE http://127.0.0.1:8025/arrivals    start afresh")]
pub struct Args {
    /// Address and port to listen on; port 0 takes any free one
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8025",
        value_parser = address,
        env = "BDAY_INBOX_LISTEN"
    )]
    listen: SocketAddr,

    /// Milliseconds that each answer takes
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency_ms: u64,

    /// Up to so many milliseconds more, at random
    #[arg(long, value_name = "MS", default_value_t = 0)]
    jitter_ms: u64,

    /// Status of an ordinary answer
    #[arg(long, value_name = "CODE", default_value = "200", value_parser = status)]
    status: StatusCode,

    /// Share of requests that fail, from 0.0 to 1.0
    #[arg(long, value_name = "SHARE", default_value = "0.0", value_parser = share)]
    failure_rate: f64,

    /// Fail the first N attempts of each event
    #[arg(long, value_name = "N", default_value_t = 0)]
    fail_first: u32,

    /// Status of a failure
    #[arg(long, value_name = "CODE", default_value = "500", value_parser = status)]
    failure_status: StatusCode,

    /// How many arrivals are kept for the page; older ones are only counted
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    keep: u32,

    /// Print each arrival as one JSON object a line
    #[arg(long, conflicts_with = "quiet")]
    json: bool,

    /// Print no arrivals, only the totals at the end
    #[arg(long)]
    quiet: bool,
}

/// Runs the inbox until `stop`. Arrivals go to standard output, everything else to standard error.
///
/// # Errors
///
/// The address cannot be listened on, or standard output cannot be written. A reader that closed the pipe is no error.
pub async fn run(args: Args, clock: SharedClock, stop: CancellationToken) -> anyhow::Result<()> {
    let style = (!args.quiet).then(|| Style::for_stdout(args.json));
    let inbox = Inbox::bind(args.options(), clock)?;
    let log = inbox.log();
    let arrivals = inbox.subscribe();
    let address = shown_address(inbox.local_addr());
    eprintln!(
        "Inbox at http://{address}/ : POST webhooks to any path, open it in a browser to watch. Ctrl-C ends it."
    );

    // The printer goes on until the last request has been answered, so that its line is not lost.
    let served = CancellationToken::new();
    let serve = async {
        let result = inbox.run(stop.clone()).await;
        served.cancel();
        result.context("the inbox failed")
    };
    let print = async {
        let Some(style) = style else { return Ok(()) };
        match print(arrivals, style, &served).await {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                stop.cancel();
                Ok(())
            }
            result => result.context("cannot write arrivals to standard output"),
        }
    };
    tokio::try_join!(serve, print)?;
    eprintln!("{}", summary(&log.totals()));
    Ok(())
}

impl Args {
    fn options(self) -> InboxOptions {
        InboxOptions {
            listen: self.listen,
            keep: self.keep as usize,
            responses: ResponseRules {
                status: self.status,
                latency: Duration::from_millis(self.latency_ms),
                jitter: Duration::from_millis(self.jitter_ms),
                failure_rate: self.failure_rate,
                fail_first: self.fail_first,
                failure_status: self.failure_status,
            },
        }
    }
}

/// An address that a browser on this machine can open.
pub(super) fn shown_address(mut address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => address.set_ip([127, 0, 0, 1].into()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            address.set_ip(std::net::Ipv6Addr::LOCALHOST.into());
        }
        _ => {}
    }
    address
}

/// What came in the end, in one line.
fn summary(totals: &Totals) -> String {
    let mut line = format!(
        "{} received, {} distinct events, {} accepted, {} duplicates, {} failures answered",
        totals.received, totals.events, totals.accepted, totals.duplicates, totals.failed
    );
    for (count, what) in [
        (totals.unanswered, "given up by the sender"),
        (totals.unreadable, "unreadable"),
        (totals.early, "early"),
    ] {
        if count > 0 {
            let _ = write!(line, ", {count} {what}");
        }
    }
    if let Some(lateness) = totals.lateness_ms {
        let [p50, p99] =
            [lateness.p50, lateness.p99].map(|ms| duration(i64::try_from(ms).unwrap_or(i64::MAX)));
        let _ = write!(line, "; lateness p50 {p50}, p99 {p99}");
    }
    line
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "give an address and a port, such as 127.0.0.1:8025 or [::1]:8025".to_owned())
}

fn status(text: &str) -> Result<StatusCode, String> {
    match text.parse::<u16>().map(StatusCode::from_u16) {
        Ok(Ok(code)) if (200..600).contains(&code.as_u16()) => Ok(code),
        _ => Err("give an HTTP status from 200 to 599".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("give a share from 0.0 (none) to 1.0 (all)".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_statuses_and_shares_that_make_no_sense_are_refused() {
        assert!(
            ["8025", "localhost", "127.0.0.1", "1.2.3.4:99999"].iter().all(|text| address(text).is_err())
        );
        assert!(["100", "600", "0", "ok", ""].iter().all(|text| status(text).is_err()));
        assert!(["-0.1", "1.01", "NaN", "x"].iter().all(|text| share(text).is_err()));
        assert_eq!(status("410"), Ok(StatusCode::GONE));
        assert_eq!(share("0.25"), Ok(0.25));
    }
}
