//! `bday inbox`

mod print;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::http::StatusCode;
use clap::builder::TypedValueParser;
use tokio_util::sync::CancellationToken;

use self::print::{Printer, print};
use super::connectable;
use super::output::{is_broken_pipe, lateness};
use crate::calendar::format_count;
use crate::clock::SharedClock;
use crate::dev::inbox::{Inbox, InboxOptions, ResponseRules, SmtpLimits, Totals};
use crate::runtime::lifecycle::Signals;

const EXAMPLES: &str = "\
Examples:
  bday inbox                                       accept everything; open http://127.0.0.1:8025/
  bday inbox --smtp 127.0.0.1:1025                 accept mails there instead of at port 8026
  bday inbox --latency-ms 1000 --jitter-ms 200     answer after 1.0 to 1.2 s
  bday inbox --failure-rate 0.1                    answer one request in ten with 500
  bday inbox --fail-first 2                        accept each event at its third attempt
  bday inbox --json | jq .latenessMs               print one JSON object a line
  curl -s http://127.0.0.1:8025/arrivals           list arrivals as JSON
  curl -X DELETE http://127.0.0.1:8025/arrivals    delete all arrivals";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Listen on this address; port 0 takes any free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8025", env = "BDAY_INBOX_LISTEN")]
    listen: SocketAddr,

    /// Accept mails (SMTP) on this address [default: the port after that of --listen, or a free one if that is taken]
    #[arg(long, value_name = "ADDRESS", env = "BDAY_INBOX_SMTP")]
    smtp: Option<SocketAddr>,

    /// Delay each answer by this many milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency_ms: u64,

    /// Add a random delay of up to this many milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    jitter_ms: u64,

    /// Answer with this status
    #[arg(long, value_name = "CODE", default_value = "200", value_parser = status())]
    status: StatusCode,

    /// Fail this share of requests, from 0.0 to 1.0
    #[arg(long, value_name = "SHARE", default_value = "0.0", value_parser = share)]
    failure_rate: f64,

    /// Fail the first N attempts of each event
    #[arg(long, value_name = "N", default_value_t = 0)]
    fail_first: u32,

    /// Answer failed requests with this status
    #[arg(long, value_name = "CODE", default_value = "500", value_parser = status())]
    failure_status: StatusCode,

    /// Keep this many arrivals for the page; older ones are only counted
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    keep: u32,

    /// Print each arrival as one JSON object a line
    #[arg(long, conflicts_with = "quiet")]
    json: bool,

    /// Print only the totals at the end
    #[arg(long)]
    quiet: bool,
}

/// Runs the inbox until a signal; a second signal ends it immediately.
pub(super) async fn run(args: Args, clock: SharedClock) -> Result<ExitCode> {
    let (mut signals, stop) = (Signals::install()?, CancellationToken::new());
    let second_signal = async {
        signals.next().await;
        stop.cancel();
        signals.next().await;
    };
    tokio::select! {
        served = serve(args, clock, stop.clone()) => served.map(|()| ExitCode::SUCCESS),
        () = second_signal => Ok(ExitCode::FAILURE),
    }
}

/// Runs the inbox until `stop`. Arrivals go to standard output, all else to standard error.
async fn serve(args: Args, clock: SharedClock, stop: CancellationToken) -> Result<()> {
    let printer = (!args.quiet).then_some(Printer { json: args.json });
    let inbox = Inbox::bind(args.options(), clock)?;
    let log = inbox.log();
    let arrivals = inbox.subscribe();
    let address = connectable(inbox.local_addr());
    eprintln!(
        "Inbox at http://{address}/ : POST webhooks to any path, watch them in a browser. Stop with Ctrl-C.\n\
         Mail  at smtp://{} , Slack at slack+http://TOKEN@{address} , Twilio at twilio+http://SID:TOKEN@{address}",
        connectable(inbox.smtp_addr())
    );

    // Printing continues until the last request is answered.
    let served = CancellationToken::new();
    let serve = async {
        let result = inbox.run(stop.clone()).await;
        served.cancel();
        result.context("the inbox failed")
    };
    let print = async {
        let Some(printer) = printer else { return Ok(()) };
        match print(arrivals, printer, &served).await.context("cannot write to standard output") {
            Err(error) if is_broken_pipe(&error) => {
                stop.cancel();
                Ok(())
            }
            result => result,
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
            smtp: self.smtp,
            smtp_limits: SmtpLimits::default(),
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

/// The totals on one line.
fn summary(totals: &Totals) -> String {
    let mut line = format!(
        "{} received{}, {}, {} accepted, {}, {} failed",
        totals.received,
        by_channel(totals),
        format_count(totals.events, "distinct event", "distinct events"),
        totals.accepted,
        format_count(totals.duplicates, "duplicate", "duplicates"),
        totals.failed
    );
    for (count, name) in [
        (totals.unanswered, "closed by the sender"),
        (totals.unreadable, "unreadable"),
        (totals.early, "early"),
    ] {
        if count > 0 {
            let _ = write!(line, ", {count} {name}");
        }
    }
    if let Some(quantiles) = totals.lateness_ms {
        let [p50, p99] =
            [quantiles.p50, quantiles.p99].map(|ms| lateness(i64::try_from(ms).unwrap_or(i64::MAX)));
        let _ = write!(line, "; lateness p50 {p50}, p99 {p99}");
    }
    line
}

/// How many arrived by each channel, if there are several: ` (4 webhook, 4 mail)`.
fn by_channel(totals: &Totals) -> String {
    if totals.channels.len() < 2 {
        return String::new();
    }
    let counts = totals.channels.iter().map(|(channel, count)| format!("{count} {channel}"));
    format!(" ({})", counts.collect::<Vec<_>>().join(", "))
}

fn status() -> impl TypedValueParser<Value = StatusCode> {
    clap::value_parser!(u16).range(200..600).try_map(StatusCode::from_u16)
}

fn share(text: &str) -> Result<f64, &'static str> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or("expected a share from 0.0 to 1.0")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn parse(option: &str, value: &str) -> Result<Args, clap::Error> {
        Command::try_parse_from(["inbox", option, value]).map(|command| command.args)
    }

    #[test]
    fn invalid_addresses_statuses_and_shares_are_refused() {
        for (option, values) in [
            ("--listen", &["8025", "localhost", "127.0.0.1", "1.2.3.4:99999"][..]),
            ("--smtp", &["1025", "localhost"]),
            ("--status", &["100", "600", "0", "ok", ""]),
            ("--failure-rate", &["-0.1", "1.01", "NaN", "x"]),
        ] {
            for value in values {
                assert!(parse(option, value).is_err(), "{option} {value}");
            }
        }
        assert_eq!(parse("--status", "410").expect("valid").status, StatusCode::GONE);
        assert!((parse("--failure-rate", "0.25").expect("valid").failure_rate - 0.25).abs() < f64::EPSILON);
    }
}
