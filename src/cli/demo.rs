//! `bday demo`: the daemon, a private database, a receiver and sample users, all in this process.
//!
//! ```text
//! inbox <──SMTP, HTTP── daemon (runtime::start) ──> private PostgreSQL <── sample users (import)
//!   └── arrivals ──> lines on standard output
//! ```
//!
//! Nothing is simulated. The database stops with this process, however it ends (see [`crate::dev::postgres`]).

mod reporter;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use chrono::TimeDelta;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::reporter::Reporter;
use super::connectable;
use super::output::is_broken_pipe;
use crate::clock::SharedClock;
use crate::config::{self, Config, parts};
use crate::dev::demo::{GreetingTracker, MAX_PEOPLE, SamplePeople};
use crate::dev::inbox::{Inbox, InboxError, InboxOptions, ReceivedRequest};
use crate::dev::postgres::{EmbeddedPostgres, PostgresOptions};
use crate::model::ChannelName;
use crate::people::import::{self, ImportFormat, ImportOptions};
use crate::runtime::lifecycle::Lifecycle;
use crate::runtime::{self, Role};
use crate::store::UserFilter;

const EXAMPLES: &str = "\
Examples:
  bday demo                     send eight greetings within a minute; stop with Ctrl-C
  bday demo --once              stop when all have arrived; exit code 0 if each arrived once
  bday demo --once --minutes 0  send only those whose send time has just passed

Requires an installed PostgreSQL server (Debian: apt-get install postgresql). Starts a private server on a free port \
and removes it at the end. Reads neither the configuration nor BDAY__ variables.";

/// How long to wait for a greeting after the last due instant.
const TIMEOUT: Duration = Duration::from_mins(1);

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Stop when all greetings have arrived; exit code 1 if one does not within a minute
    #[arg(long)]
    once: bool,

    /// Import this many users
    #[arg(long, value_name = "N", default_value_t = 36, value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_PEOPLE)))]
    people: u16,

    /// Let users be due in this many of the next minutes, beside those whose send time has just passed
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=60))]
    minutes: u8,

    /// Let the inbox listen on this address [default: 127.0.0.1:8025, or a free port if that is taken]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

/// User ids by external id.
type Ids = HashMap<String, Uuid>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Every greeting arrived once.
    Complete,
    /// A greeting is missing or duplicate.
    Incomplete,
    /// A signal, or a closed pipe.
    Stopped,
}

pub(super) async fn run(args: Args, clock: SharedClock) -> Result<ExitCode> {
    // From here on, a signal never leaves anything half started.
    let lifecycle = Lifecycle::new()?;
    let inbox = bind_inbox(args.listen, &clock)?;
    let stop_inbox = CancellationToken::new();
    let demo = Demo {
        reporter: Reporter::new(format!("http://{}/", connectable(inbox.local_addr()))),
        receivers: Receivers { http: connectable(inbox.local_addr()), smtp: connectable(inbox.smtp_addr()) },
        arrivals: inbox.subscribe(),
        clock,
        once: args.once,
    };
    // The inbox stops last: the daemon finishes its requests in flight.
    let serve = async { inbox.run(stop_inbox.clone()).await.context("the inbox failed") };
    let demo = async {
        let ending = demo.run(lifecycle, &args).await;
        stop_inbox.cancel();
        ending
    };
    let ending = match tokio::try_join!(serve, demo) {
        Ok(((), ending)) => ending,
        Err(error) if is_broken_pipe(&error) => Ending::Stopped,
        Err(error) => return Err(error),
    };
    match ending {
        Ending::Incomplete => anyhow::bail!(
            "not every greeting arrived exactly once within {} s: see the summary and the warnings above",
            TIMEOUT.as_secs()
        ),
        Ending::Stopped if args.once => Ok(ExitCode::FAILURE),
        Ending::Complete | Ending::Stopped => Ok(ExitCode::SUCCESS),
    }
}

/// Prefers the usual port, so that a page that is still open there works again.
fn bind_inbox(listen: Option<SocketAddr>, clock: &SharedClock) -> Result<Inbox, InboxError> {
    let bind = |listen: SocketAddr| {
        // Mail to another address than loopback requires encryption.
        let smtp = (!listen.ip().is_loopback()).then_some(SocketAddr::from(([127, 0, 0, 1], 0)));
        Inbox::bind(InboxOptions { listen, smtp, ..InboxOptions::default() }, Arc::clone(clock))
    };
    match listen {
        Some(listen) => bind(listen),
        None => bind(([127, 0, 0, 1], 8025).into()).or_else(|_| bind(([127, 0, 0, 1], 0).into())),
    }
}

#[derive(Debug)]
struct Demo {
    reporter: Reporter,
    receivers: Receivers,
    arrivals: Receiver<Arc<ReceivedRequest>>,
    clock: SharedClock,
    once: bool,
}

impl Demo {
    /// Starts the database, runs the daemon on it, and stops the database in any case.
    async fn run(mut self, lifecycle: Lifecycle, args: &Args) -> Result<Ending> {
        self.reporter.starting(self.receivers.smtp)?;
        let postgres = EmbeddedPostgres::start(PostgresOptions::throwaway()).await?;
        let ended = self.run_daemon(lifecycle, args, &postgres.url()).await;
        let stopped = postgres.stop().await;
        let ending = ended?;
        stopped?;
        if ending == Ending::Stopped {
            self.reporter.stopped()?;
        }
        Ok(ending)
    }

    async fn run_daemon(&mut self, mut lifecycle: Lifecycle, args: &Args, database: &str) -> Result<Ending> {
        let config = config::load(None, self.receivers.variables(database))?;
        let import = Box::pin(import_users(&config, args, self.receivers.channels(), &self.clock));
        let Some(imported) = lifecycle.before_stop(import).await? else {
            return Ok(Ending::Stopped);
        };
        let (people, ids) = imported?;
        let mut tracker = GreetingTracker::new(&people, &ids, self.clock.now());
        let started = runtime::start(&config, Role::All, Arc::clone(&self.clock), &mut lifecycle).await?;
        self.reporter.started(&people, started.http, self.clock.now())?;

        let mut followed = None;
        if !lifecycle.soft.is_cancelled() {
            followed = lifecycle.before_stop(self.follow(&mut tracker)).await?;
        }
        lifecycle.soft.cancel();
        started.run(lifecycle).await?;
        self.drain(&mut tracker)?;
        if followed.is_some() || self.once {
            self.reporter.summary(&tracker)?;
        }
        match followed {
            None => Ok(Ending::Stopped),
            Some(result) => result.map(|()| {
                if tracker.summary().is_complete() { Ending::Complete } else { Ending::Incomplete }
            }),
        }
    }

    /// Reports arrivals: with `once` until all have arrived or the deadline, else until this is dropped.
    async fn follow(&mut self, tracker: &mut GreetingTracker) -> Result<()> {
        let ahead = tracker.last_due_at().map_or(TimeDelta::zero(), |at| at - self.clock.now());
        let deadline = tokio::time::sleep(TIMEOUT + ahead.to_std().unwrap_or_default());
        tokio::pin!(deadline);
        let (mut waiting, mut overdue) = (true, false);
        loop {
            tokio::select! {
                arrival = self.arrivals.recv() => match arrival {
                    Ok(arrival) => self.report(&arrival, tracker)?,
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Ok(()),
                },
                () = &mut deadline, if waiting => overdue = true,
            }
            if waiting && (overdue || tracker.missing().is_empty()) {
                if self.once {
                    return Ok(());
                }
                waiting = false;
                self.reporter.summary(tracker)?;
                self.reporter.still_running()?;
            }
        }
    }

    /// Reports the arrivals that are left once the daemon has stopped.
    fn drain(&mut self, tracker: &mut GreetingTracker) -> Result<()> {
        loop {
            match self.arrivals.try_recv() {
                Ok(arrival) => self.report(&arrival, tracker)?,
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return Ok(()),
            }
        }
    }

    fn report(&mut self, arrival: &ReceivedRequest, tracker: &mut GreetingTracker) -> io::Result<()> {
        tracker.record(arrival);
        self.reporter.arrival(arrival, tracker)
    }
}

/// Where the inbox receives.
#[derive(Debug, Clone, Copy)]
struct Receivers {
    http: SocketAddr,
    smtp: SocketAddr,
}

impl Receivers {
    /// Returns the channels in use. Slack is reached at this machine's loopback only, since its token would be sent unencrypted.
    fn channels(self) -> &'static [ChannelName] {
        const ALL: [ChannelName; 3] = [ChannelName::Mail, ChannelName::Slack, ChannelName::Webhook];
        if self.http.ip().is_loopback() { &ALL } else { &[ChannelName::Mail, ChannelName::Webhook] }
    }

    /// Returns the settings of the demo, as environment variables, so that they are validated like any others.
    fn variables(self, database: &str) -> HashMap<String, String> {
        let Self { http, smtp } = self;
        let channels: Vec<_> = self.channels().iter().map(|channel| channel.as_str()).collect();
        let channels = channels.join(",");
        [
            ("DATABASE__URL", database),
            ("QUEUE__KIND", "postgres"),
            ("KINDS__BIRTHDAY__CHANNELS", &channels),
            ("KINDS__BIRTHDAY__MAIL__SUBJECT", "Happy birthday, {{ first_name }}!"),
            ("KINDS__BIRTHDAY__MAIL__HTML", include_str!("demo/mail.html")),
            ("CHANNELS__MAIL__URL", &format!("smtp://{smtp}")),
            ("CHANNELS__MAIL__FROM", "bday <bday@example.org>"),
            ("CHANNELS__SLACK__URL", &format!("slack+http://demo@{http}")),
            // Slack allows one message a second, the inbox any number.
            ("CHANNELS__SLACK__MAX_PER_SECOND", "0"),
            ("WEBHOOK__URL", &format!("http://{http}/webhook")),
            // With --listen, the inbox may have another address than loopback, but it is in this process.
            ("WEBHOOK__ALLOW_HTTP", "true"),
            ("HTTP__LISTEN", "127.0.0.1:0"),
            ("HTTP__AUTH", "off"),
            // Users whose send time has just passed are added after it.
            ("PLAN__LATE_JOIN", "send"),
        ]
        .into_iter()
        .filter(|(key, _)| !key.starts_with("CHANNELS__SLACK") || http.ip().is_loopback())
        .map(|(key, value)| (format!("BDAY__{key}"), value.to_owned()))
        .collect()
    }
}

/// Sets up the schema and the queue, and imports the users, as `bday migrate` and `bday user import` do.
async fn import_users(
    config: &Config,
    args: &Args,
    channels: &[ChannelName],
    clock: &SharedClock,
) -> Result<(SamplePeople, Ids)> {
    let store = parts::store(config).await?;
    let queue = parts::queue(config, &store, clock).await?;
    parts::set_up(config, &store, &*queue).await?;
    // Read only now: setting up the database takes seconds.
    let now = clock.now();
    let schedule = config.schedule();
    let people = SamplePeople::new(now, args.people, args.minutes, &schedule, channels);
    let csv = io::Cursor::new(people.csv());
    let options = ImportOptions::new(ImportFormat::Csv);
    let report = import::run(&store, &schedule, clock, options, csv, |_| {}).await?;
    if let Some(error) = report.errors.first() {
        anyhow::bail!("invalid sample user in line {}: {}", error.line, error.reason);
    }
    let users = store.list_users(&UserFilter::default(), Uuid::nil(), u32::from(args.people)).await?;
    store.close().await;
    let ids = users.users.into_iter().filter_map(|user| Some((user.external_id?, user.id)));
    Ok((people, ids.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inbox_may_listen_at_any_address() {
        for http in ["127.0.0.1:8025", "[::1]:8025", "192.0.2.7:8025", "[2001:db8::7]:8025"] {
            let address = |text: &str| text.parse().expect("an address");
            let receivers = Receivers { http: address(http), smtp: address("127.0.0.1:8026") };
            let config = config::load(None, receivers.variables("postgres://127.0.0.1:5432/postgres"));
            config.expect("a valid configuration").require_all(true).expect("a complete configuration");
        }
    }
}
