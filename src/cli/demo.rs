//! `bday demo`: the daemon itself, with a database, a receiver and people for it, all in this process.
//!
//! ```text
//! inbox <──HTTP── daemon (runtime::start) ──> private PostgreSQL <── sample people (import)
//!   └── arrivals ──> lines on standard output
//! ```
//!
//! Nothing is simulated. Whatever way this process ends, the database ends with it (see [`crate::dev::postgres`]), and
//! everything else is inside it.

mod tell;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chrono::TimeDelta;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::tell::Teller;
use super::inbox::shown_address;
use crate::clock::SharedClock;
use crate::config::parts;
use crate::config::{self, Config};
use crate::dev::demo::{GreetingTracker, MAX_PEOPLE, SamplePeople};
use crate::dev::inbox::{self, Inbox, ReceivedRequest};
use crate::dev::postgres::{EmbeddedPostgres, PostgresOptions};
use crate::people::FileFormat;
use crate::people::import;
use crate::runtime::lifecycle::Lifecycle;
use crate::runtime::{self, Role};
use crate::store::UserFilter;

const EXAMPLES: &str = "\
Examples:
  bday demo                     eight greetings within a minute; Ctrl-C ends it
  bday demo --once              ends by itself; exit code 0 if each has come once
  bday demo --once --minutes 0  the shortest: only people whose send time has just passed

Needs an installed PostgreSQL server (Debian: apt-get install postgresql), running or not: it \
starts one of its own on a free port, and removes it at the end. It reads no configuration file \
and no BDAY__ variable.";

/// How long after the last due instant, or after all was ready, a greeting is waited for.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two changes of the countdown.
const COUNTDOWN_STEP: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// End when everything that was due has arrived; exit code 1 if it does not within a minute
    #[arg(long)]
    once: bool,

    /// How many people to import
    #[arg(long, value_name = "N", default_value_t = 36, value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_PEOPLE)))]
    people: u16,

    /// In how many of the coming minutes somebody is due, after those whose send time has just passed
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=60))]
    minutes: u8,

    /// Address of the inbox [default: 127.0.0.1:8025, or another port if that is taken]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

/// User ids by external id.
type Ids = HashMap<String, Uuid>;

/// How a demo ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Everything arrived as it should.
    Complete,
    /// Something is missing, or came twice.
    Incomplete,
    /// By a signal, or because nobody reads any more.
    Stopped,
}

pub(super) async fn run(args: Args, clock: SharedClock) -> anyhow::Result<ExitCode> {
    // From here on a signal waits until it is asked for: nothing is left half started.
    let lifecycle = Lifecycle::new()?;
    let inbox = open_inbox(args.listen, &clock)?;
    let stop_inbox = CancellationToken::new();
    let demo = Demo {
        teller: Teller::new(format!("http://{}/", shown_address(inbox.local_addr()))),
        arrivals: inbox.subscribe(),
        once: args.once,
        clock,
    };
    // The inbox answers until everything else has ended: the daemon drains into it.
    let serve = async {
        let served = inbox.run(stop_inbox.clone()).await;
        served.context("the inbox failed")
    };
    let perform = async {
        let ending = demo.perform(lifecycle, &args).await;
        stop_inbox.cancel();
        ending
    };
    let ending = match tokio::try_join!(serve, perform) {
        Ok(((), ending)) => ending,
        Err(error) if is_broken_pipe(&error) => Ending::Stopped,
        Err(error) => return Err(error),
    };
    Ok(match ending {
        Ending::Incomplete => anyhow::bail!(
            "not every greeting came exactly once within {} s of its time or of the start: the summary above says which did not, and \
             warnings above, if there are any, say why",
            PATIENCE.as_secs()
        ),
        Ending::Stopped if args.once => ExitCode::FAILURE,
        Ending::Complete | Ending::Stopped => ExitCode::SUCCESS,
    })
}

/// The usual port is worth having, since a page that is open on it comes back to life; but not worth a failure.
fn open_inbox(listen: Option<SocketAddr>, clock: &SharedClock) -> Result<Inbox, inbox::InboxError> {
    let at = |port| inbox::InboxOptions {
        listen: listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port))),
        ..inbox::InboxOptions::default()
    };
    match Inbox::bind(at(8025), Arc::clone(clock)) {
        Err(inbox::InboxError::Listen { .. }) if listen.is_none() => Inbox::bind(at(0), Arc::clone(clock)),
        bound => bound,
    }
}

/// What a demo has from the beginning.
#[derive(Debug)]
struct Demo {
    teller: Teller,
    arrivals: Receiver<Arc<ReceivedRequest>>,
    once: bool,
    clock: SharedClock,
}

impl Demo {
    /// Starts the database, plays, and stops the database, whatever happened.
    async fn perform(mut self, lifecycle: Lifecycle, args: &Args) -> anyhow::Result<Ending> {
        self.teller.page()?;
        self.teller.busy("starting a private PostgreSQL");
        let postgres = EmbeddedPostgres::start(PostgresOptions::throwaway()).await?;
        let played = self.play(lifecycle, args, &postgres.url()).await;
        let stopped = postgres.stop().await;
        let ending = played?;
        stopped?;
        if ending == Ending::Stopped {
            self.teller.stopped()?;
        }
        Ok(ending)
    }

    async fn play(
        &mut self,
        mut lifecycle: Lifecycle,
        args: &Args,
        database: &str,
    ) -> anyhow::Result<Ending> {
        let config = config::load(None, variables(database, self.teller.page_url()))?;
        let prepare = Box::pin(prepare(&config, args, &self.clock));
        let Some(prepared) = lifecycle.before_stop(prepare).await? else {
            return Ok(Ending::Stopped);
        };
        let (people, ids) = prepared?;
        let mut tracker = GreetingTracker::new(&people, &ids, self.clock.now());
        let started = runtime::start(&config, Role::All, Arc::clone(&self.clock), &mut lifecycle).await?;
        self.teller.explain(&people, started.http, self.clock.now())?;

        let told = if lifecycle.soft.is_cancelled() {
            None
        } else {
            lifecycle.before_stop(self.follow(&mut tracker)).await?
        };
        lifecycle.soft.cancel();
        started.run(lifecycle).await?;
        // With everything at rest nothing can come twice any more.
        loop {
            match self.arrivals.try_recv() {
                Ok(arrival) => self.arrived(&arrival, &mut tracker)?,
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        let holds = tracker.summary().is_complete();
        match told {
            None => {
                if self.once {
                    self.teller.summary(&tracker)?;
                }
                Ok(Ending::Stopped)
            }
            Some(told) => {
                told?;
                self.teller.summary(&tracker)?;
                Ok(if holds { Ending::Complete } else { Ending::Incomplete })
            }
        }
    }

    /// Shows what arrives: with `once` until all of it has, or has not in time; else until this is dropped.
    async fn follow(&mut self, tracker: &mut GreetingTracker) -> io::Result<()> {
        // Who was due before all was ready has as much time as the others.
        let ahead = tracker.last_due_at().map_or(TimeDelta::zero(), |at| at - self.clock.now());
        let deadline = tokio::time::sleep(PATIENCE + ahead.to_std().unwrap_or_default());
        tokio::pin!(deadline);
        let mut step = tokio::time::interval(COUNTDOWN_STEP);
        let (mut waiting, mut overdue) = (true, false);
        loop {
            tokio::select! {
                arrival = self.arrivals.recv() => match arrival {
                    Ok(arrival) => self.arrived(&arrival, tracker)?,
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Ok(()),
                },
                _ = step.tick(), if waiting && self.teller.counts_down() => {
                    self.teller.countdown(tracker, self.clock.now());
                }
                () = &mut deadline, if waiting => overdue = true,
            }
            if waiting && (overdue || tracker.missing().is_empty()) {
                waiting = false;
                if self.once {
                    return Ok(());
                }
                self.teller.summary(tracker)?;
                self.teller.stays_up()?;
            }
        }
    }

    fn arrived(&mut self, arrival: &ReceivedRequest, tracker: &mut GreetingTracker) -> io::Result<()> {
        tracker.record(arrival);
        self.teller.arrival(arrival, tracker)
    }
}

/// The settings of the demo, in the form in which everybody gives them, so that they are checked in the same way.
fn variables(database: &str, page: &str) -> HashMap<String, String> {
    [
        ("BDAY__DATABASE__URL", database),
        ("BDAY__QUEUE__KIND", "postgres"),
        ("BDAY__WEBHOOK__URL", &format!("{page}webhook")),
        // By --listen the inbox can have another address than loopback; it is in this process all the same.
        ("BDAY__WEBHOOK__ALLOW_HTTP", "true"),
        ("BDAY__HTTP__LISTEN", "127.0.0.1:0"),
        // A private daemon with sample people, for the user who started it.
        ("BDAY__HTTP__AUTH", "off"),
        // Those whose send time has just passed are learned of after it.
        ("BDAY__PLAN__LATE_JOIN", "send"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// Sets up the schema and the queue, and imports the people, as `bday migrate` and `bday user import` do.
async fn prepare(config: &Config, args: &Args, clock: &SharedClock) -> anyhow::Result<(SamplePeople, Ids)> {
    let store = parts::store(config).await?;
    let queue = parts::queue(config, &store, clock).await?;
    parts::set_up(config, &store, &*queue).await?;
    // Now, and not before: the first minute must not begin while the database is still being made.
    let now = clock.now();
    let schedule = config.schedule();
    let people = SamplePeople::new(now, args.people, args.minutes, &schedule);
    let report =
        import::run(&store, &schedule, clock, FileFormat::Csv, io::Cursor::new(people.csv()), |_| {}).await?;
    if let Some(bad) = report.errors.first() {
        anyhow::bail!("the sample people were refused in line {}: {}", bad.line, bad.reason);
    }
    let users = store.list_users(&UserFilter::default(), Uuid::nil(), u32::from(args.people)).await?;
    store.close().await;
    let ids = users.users.into_iter().filter_map(|user| Some((user.external_id?, user.id)));
    Ok((people, ids.collect()))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inbox_may_listen_at_any_address() {
        for page in ["http://127.0.0.1:8025/", "http://192.0.2.7:8025/", "http://[2001:db8::7]:8025/"] {
            let config = config::load(None, variables("postgres://127.0.0.1:5432/postgres", page));
            config.expect("it is right").require_all(true).expect("it is complete");
        }
    }
}
