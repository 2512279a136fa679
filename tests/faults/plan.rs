//! Generates a plan from a seed: the faults, their times and durations.
//!
//! Each component has a track, with one fault at a time. Tracks run concurrently, so that faults of different components
//! overlap.

use std::fmt;
use std::time::Duration;

use bday::model::ChannelName;
use fastrand::Rng;

use super::sent::CHANNELS;

/// The queue that the daemons use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Queue {
    Sqs,
    Postgres,
}

impl Queue {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sqs => "sqs",
            Self::Postgres => "postgres",
        }
    }
}

pub(crate) const DAEMONS: usize = 3;
/// Index of the daemon whose clock the plan turns.
pub(crate) const TURNED: usize = 2;
/// Index of the daemon that has an additional kind.
pub(crate) const ADDS_A_KIND: usize = 1;
/// A daemon accepts a clock skew of up to 5 s; the difference is tolerance for the round trip of the check.
pub(crate) const MOST_SKEW_MS: i64 = 4900;

/// The size of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// Duration of fault injection, during which greetings fall due.
    pub(crate) faults: Duration,
    pub(crate) events: u32,
}

impl Scale {
    pub(crate) const SHORT: Self = Self { faults: Duration::from_secs(8), events: 200 };
    pub(crate) const LONG: Self = Self { faults: Duration::from_secs(15), events: 400 };
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum DaemonFault {
    /// SIGKILL. A new daemon starts after the pause.
    Kill(Duration),
    /// SIGTERM. A new daemon starts after the end of the old one and the pause.
    Terminate(Duration),
    /// SIGSTOP for this duration, which is shorter than a lease.
    Freeze(Duration),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum DatabaseFault {
    /// A clean stop and start.
    Restart,
    /// All processes of the server are killed; it recovers after the pause.
    Crash(Duration),
    /// All processes of the server are stopped for this duration, then resumed.
    Freeze(Duration),
    /// This percentage of connections is terminated.
    Cut(u8),
}

/// Faults of the queue. The last field is the duration, except in `Purged` and `UnknownMessages`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum QueueFault {
    /// Connections are refused (SQS), or the outbox is locked (PostgreSQL).
    Unavailable(Duration),
    /// Every request is answered with 503 (SQS), or the outbox is locked (PostgreSQL).
    Refusing(Duration),
    /// Each call is delayed by the first duration (SQS only).
    Slow(Duration, Duration),
    /// Every n-th batch entry fails in a response with status 200 (SQS only).
    FailingEntries(u64, Duration),
    /// Every n-th response is lost after the call was executed (SQS only).
    LosingAnswers(u64, Duration),
    /// Every n-th message is delivered twice.
    Duplicates(u64, Duration),
    /// Messages are delivered in random order (SQS only).
    Shuffled(Duration),
    /// All messages are lost (SQS only: the outbox in PostgreSQL is the source of truth).
    Purged,
    /// This number of invalid messages, or messages with unknown events, is added.
    UnknownMessages(u32),
}

/// How a receiver responds during a fault. The mail server and Slack translate each to what such a server does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ReceiverFault {
    /// Responds with this status.
    Status(u16),
    /// Responds with 429 and `retry-after: 1`.
    Throttling,
    /// Does not respond.
    Hanging,
    /// Resets the connection without accepting the request.
    Resetting,
    /// Accepts the request, but the response arrives after the timeout of the sender.
    LateResponses,
    /// Responds with 200, then resets the connection before the body.
    BrokenConnections,
    /// Responds with 200 and an endless body.
    Endless,
    /// Responds with bytes that are not HTTP.
    InvalidResponses,
    /// Accepts after this many milliseconds.
    Slow(u64),
    /// Connections are refused.
    Unavailable,
}

/// An operation that a user or operator runs during the faults.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    /// `bday user import` of this many users whose birthday is today. If the second field is set, the first import is killed after this
    /// many milliseconds. The import is repeated until it succeeds.
    Import(u32, Option<u64>),
    /// Adds this many users whose birthday is today, as if they existed before, and removes the plan of the day.
    Plan(u32),
    /// `bday user update` moves the event of the user with this number to a past minute.
    Edit(u32),
    /// Removes the contacts of the users whose external id ends in the first digit, and gives those of the second an email address.
    Contacts(u8, u8),
    /// Pauses sending for this duration.
    Pause(Duration),
    /// Runs `bday dlq redrive`.
    Redrive,
    /// Deletes this many users.
    Delete(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tick {
    Whole,
    /// The process is killed after this many milliseconds.
    KilledAfter(u64),
}

/// Faults with their times since the start of the plan.
pub(crate) type Timed<F> = Vec<(Duration, F)>;

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) daemons: [Timed<DaemonFault>; DAEMONS],
    pub(crate) database: Timed<DatabaseFault>,
    pub(crate) queue: Timed<QueueFault>,
    pub(crate) receiver: Timed<(ChannelName, ReceiverFault, Duration)>,
    /// New offsets of the turned clock, in milliseconds.
    pub(crate) clock: Timed<i64>,
    pub(crate) work: Timed<Work>,
    pub(crate) ticks: Vec<Tick>,
}

impl Plan {
    pub(crate) fn new(seed: u64, queue: Queue, scale: Scale) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut generator = FaultGenerator { rng: &mut rng, end: scale.faults };
        Self {
            daemons: std::array::from_fn(|_| generator.track(1.5, 9.0, daemon)),
            database: generator.track(1.5, 8.0, database),
            queue: generator.track(0.5, 3.5, |rng| self::queue(rng, queue)),
            receiver: generator.track(0.0, 2.5, receiver),
            clock: generator.track(0.0, 4.0, clock),
            work: generator.track(0.2, 1.6, |rng| work(rng, scale.events)),
            ticks: (0..scale.faults.as_secs()).map(|_| tick(&mut rng)).collect(),
        }
    }
}

struct FaultGenerator<'a> {
    rng: &'a mut Rng,
    end: Duration,
}

impl FaultGenerator<'_> {
    /// Generates faults from `from` on, about one per `every` seconds (both in seconds).
    fn track<F>(&mut self, from: f64, every: f64, mut fault: impl FnMut(&mut Rng) -> F) -> Timed<F> {
        let mut timed = Vec::new();
        let mut at = from + self.rng.f64() * every;
        while at < self.end.as_secs_f64() {
            timed.push((Duration::from_secs_f64(at), fault(self.rng)));
            at += 0.2 + self.rng.f64() * every * 1.6;
        }
        timed
    }
}

fn ms(rng: &mut Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.u64(range))
}

fn daemon(rng: &mut Rng) -> DaemonFault {
    match rng.u8(0..8) {
        0..4 => DaemonFault::Kill(ms(rng, 0..2000)),
        4..6 => DaemonFault::Terminate(ms(rng, 0..1500)),
        _ => DaemonFault::Freeze(ms(rng, 100..3000)),
    }
}

fn database(rng: &mut Rng) -> DatabaseFault {
    match rng.u8(0..10) {
        0 | 1 => DatabaseFault::Restart,
        2 | 3 => DatabaseFault::Crash(ms(rng, 0..2000)),
        4..7 => DatabaseFault::Freeze(ms(rng, 200..4000)),
        // Longer than the remaining time of a lease.
        7 => DatabaseFault::Freeze(ms(rng, 13_000..16_000)),
        _ => DatabaseFault::Cut(rng.u8(20..=100)),
    }
}

fn queue(rng: &mut Rng, queue: Queue) -> QueueFault {
    let long = ms(rng, 500..4000);
    let kinds = if queue == Queue::Sqs { 16 } else { 8 };
    match rng.u8(0..kinds) {
        0 | 1 => QueueFault::Unavailable(long),
        2..5 => QueueFault::Duplicates(rng.u64(2..10), long),
        5 => QueueFault::Purged,
        6 => QueueFault::UnknownMessages(rng.u32(1..12)),
        7 | 8 => QueueFault::Refusing(long),
        9 => QueueFault::Slow(ms(rng, 50..1500), long),
        10 | 11 => QueueFault::FailingEntries(rng.u64(2..6), long),
        12 | 13 => QueueFault::LosingAnswers(rng.u64(2..6), long),
        _ => QueueFault::Shuffled(long),
    }
}

fn receiver(rng: &mut Rng) -> (ChannelName, ReceiverFault, Duration) {
    let channel = CHANNELS[rng.usize(0..CHANNELS.len())];
    let fault = match rng.u8(0..16) {
        // 410 makes an event dead at once, so that redrives have events to redrive.
        0 | 1 => ReceiverFault::Status([500, 503, 404, 302, 204, 410, 410][rng.usize(0..7)]),
        2 => ReceiverFault::Throttling,
        3 => ReceiverFault::Hanging,
        4 => ReceiverFault::Resetting,
        5 => ReceiverFault::LateResponses,
        6 => ReceiverFault::BrokenConnections,
        7 => ReceiverFault::Endless,
        8 => ReceiverFault::InvalidResponses,
        9 => ReceiverFault::Unavailable,
        // The most likely fault: slow responses keep requests in flight, so that other faults hit them.
        _ => ReceiverFault::Slow(rng.u64(1..1500)),
    };
    (channel, fault, ms(rng, 300..3000))
}

/// Returns an offset that is usually within the accepted skew, and otherwise so large that the daemon must stop working.
fn clock(rng: &mut Rng) -> i64 {
    match rng.u8(0..6) {
        0 => rng.i64(6000..90_000) * if rng.bool() { 1 } else { -1 },
        _ => rng.i64(-MOST_SKEW_MS..=MOST_SKEW_MS),
    }
}

fn work(rng: &mut Rng, events: u32) -> Work {
    match rng.u8(0..14) {
        0 | 1 => Work::Import(rng.u32(1..30), rng.bool().then(|| rng.u64(20..400))),
        2 | 3 => Work::Plan(rng.u32(1..30)),
        4..7 => Work::Edit(rng.u32(1..=events)),
        7 => Work::Pause(ms(rng, 200..2500)),
        8 | 9 => Work::Redrive,
        10 | 11 => Work::Contacts(rng.u8(0..10), rng.u8(0..10)),
        _ => Work::Delete(rng.u32(1..6)),
    }
}

fn tick(rng: &mut Rng) -> Tick {
    match rng.u8(0..4) {
        0 => Tick::KilledAfter(rng.u64(20..400)),
        _ => Tick::Whole,
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<(Duration, String)> = Vec::new();
        for (number, track) in self.daemons.iter().enumerate() {
            lines.extend(track.iter().map(|(at, fault)| (*at, format!("daemon {number}: {fault:?}"))));
        }
        lines.extend(self.database.iter().map(|(at, fault)| (*at, format!("database: {fault:?}"))));
        lines.extend(self.queue.iter().map(|(at, fault)| (*at, format!("queue: {fault:?}"))));
        lines.extend(self.receiver.iter().map(|(at, (channel, fault, long))| {
            (*at, format!("receiver of {channel}: {fault:?} for {long:?}"))
        }));
        lines.extend(
            self.clock.iter().map(|(at, by)| (*at, format!("clock of daemon {TURNED}: offset {by} ms"))),
        );
        lines.extend(self.work.iter().map(|(at, work)| (*at, format!("{work:?}"))));
        lines.sort();
        for (at, line) in lines {
            writeln!(f, "  {:6.2} s  {line}", at.as_secs_f64())?;
        }
        write!(f, "  ticks: {:?}", self.ticks)
    }
}
