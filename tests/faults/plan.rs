//! From a seed to a list of faults: what breaks, when, and for how long.
//!
//! Each track is a thing that can break, and is broken by one fault at a time; the tracks run side by side, so that
//! faults of different things meet.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

/// Which queue the daemons use.
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

/// How many daemons there are.
pub(crate) const DAEMONS: usize = 3;
/// The one whose clock can be turned.
pub(crate) const TURNED: usize = 2;
/// The one that knows a kind more than the others.
pub(crate) const ADDS_A_KIND: usize = 1;
/// A daemon accepts a clock that is off by up to 5 s; the rest is for the check's own round trip.
pub(crate) const MOST_SKEW_MS: i64 = 4900;

/// The size of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// For how long faults are injected; greetings fall due all that time.
    pub(crate) faults: Duration,
    pub(crate) events: u32,
}

impl Scale {
    pub(crate) const SHORT: Self = Self { faults: Duration::from_secs(8), events: 200 };
    pub(crate) const LONG: Self = Self { faults: Duration::from_secs(15), events: 400 };
}

/// How a daemon is treated.
#[derive(Debug, Clone, Copy)]
pub(crate) enum DaemonFault {
    /// SIGKILL, and another in its place after the pause.
    Kill(Duration),
    /// SIGTERM, and another in its place after its end and the pause.
    Terminate(Duration),
    /// SIGSTOP for a while, shorter than a lease.
    Freeze(Duration),
}

/// How the database is treated.
#[derive(Debug, Clone, Copy)]
pub(crate) enum DatabaseFault {
    /// A clean stop and start.
    Restart,
    /// Every process of it killed, and recovery after the pause.
    Crash(Duration),
    /// Nothing answers for a while, and then everything goes on.
    Freeze(Duration),
    /// So many of a hundred connections are cut.
    Cut(u8),
}

/// How the queue is treated. All but the last two are over after a while.
#[derive(Debug, Clone, Copy)]
pub(crate) enum QueueFault {
    /// Connections are refused (SQS); the outbox is locked (Postgres).
    Away(Duration),
    /// 503 to every request (SQS); the outbox is locked (Postgres).
    Refusing(Duration),
    /// Each call takes so long (SQS only).
    Slow(Duration, Duration),
    /// Each n-th entry of a batch fails inside a 200 (SQS only).
    FailingEntries(u64, Duration),
    /// Each n-th answer is lost after the call was carried out (SQS only).
    LosingAnswers(u64, Duration),
    /// Each n-th message comes twice.
    Duplicates(u64, Duration),
    /// Messages come in any order (SQS only).
    Shuffled(Duration),
    /// All messages are gone (SQS only: in Postgres they are the truth).
    Purged,
    /// So many messages that are none of ours.
    Strangers(u32),
}

/// How the receiver answers for a while.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ReceiverFault {
    /// With this status.
    Status(u16),
    /// 429, and to come again in a second.
    Throttling,
    /// Not at all.
    Hanging,
    /// With a reset, before anything was accepted.
    Resetting,
    /// It accepts, and its answer comes too late: nobody but the receiver knows.
    Swallowing,
    /// With a 200 that breaks off in its body.
    BreakingOff,
    /// With a 200 whose body does not end.
    Endless,
    /// With what is no HTTP.
    Babbling,
    /// It accepts after so many milliseconds.
    Slow(u64),
    /// Connections are refused.
    Away,
}

/// What people do meanwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    /// `bday user import` of so many people whose day it is; killed after so many milliseconds, if any, and then run again until it
    /// succeeds.
    Import(u32, Option<u64>),
    /// People who were there before fall into a day that is planned only now.
    Plan(u32),
    /// `bday user update` moves the event of the user with this number to a minute that is over.
    Edit(u32),
    /// `bday pause` for a while.
    Pause(Duration),
    /// `bday dlq redrive`
    Redrive,
    /// So many users are deleted.
    Delete(u32),
}

/// What the ticker does at each of its beats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tick {
    Whole,
    /// Killed after so many milliseconds.
    KilledAfter(u64),
}

/// A fault at its time, counted from the start of the run.
pub(crate) type Timed<F> = Vec<(Duration, F)>;

/// All faults of a run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) daemons: [Timed<DaemonFault>; DAEMONS],
    pub(crate) database: Timed<DatabaseFault>,
    pub(crate) queue: Timed<QueueFault>,
    pub(crate) receiver: Timed<(ReceiverFault, Duration)>,
    /// Milliseconds by which the turned clock differs from then on.
    pub(crate) clock: Timed<i64>,
    pub(crate) work: Timed<Work>,
    pub(crate) ticks: Vec<Tick>,
}

impl Plan {
    pub(crate) fn new(seed: u64, queue: Queue, scale: Scale) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut dice = Dice { rng: &mut rng, end: scale.faults };
        Self {
            daemons: std::array::from_fn(|_| dice.track(1.5, 9.0, daemon)),
            database: dice.track(1.5, 8.0, database),
            queue: dice.track(0.5, 3.5, |rng| self::queue(rng, queue)),
            receiver: dice.track(0.0, 2.5, receiver),
            clock: dice.track(0.0, 4.0, clock),
            work: dice.track(0.2, 1.6, |rng| work(rng, scale.events)),
            ticks: (0..scale.faults.as_secs()).map(|_| tick(&mut rng)).collect(),
        }
    }
}

struct Dice<'a> {
    rng: &'a mut Rng,
    end: Duration,
}

impl Dice<'_> {
    /// Faults from `from` on, `every` so many seconds on average.
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
        // Longer than a lease has left.
        7 => DatabaseFault::Freeze(ms(rng, 13_000..16_000)),
        _ => DatabaseFault::Cut(rng.u8(20..=100)),
    }
}

fn queue(rng: &mut Rng, queue: Queue) -> QueueFault {
    let long = ms(rng, 500..4000);
    let kinds = if queue == Queue::Sqs { 16 } else { 8 };
    match rng.u8(0..kinds) {
        0 | 1 => QueueFault::Away(long),
        2..5 => QueueFault::Duplicates(rng.u64(2..10), long),
        5 => QueueFault::Purged,
        6 => QueueFault::Strangers(rng.u32(1..12)),
        7 | 8 => QueueFault::Refusing(long),
        9 => QueueFault::Slow(ms(rng, 50..1500), long),
        10 | 11 => QueueFault::FailingEntries(rng.u64(2..6), long),
        12 | 13 => QueueFault::LosingAnswers(rng.u64(2..6), long),
        _ => QueueFault::Shuffled(long),
    }
}

fn receiver(rng: &mut Rng) -> (ReceiverFault, Duration) {
    let fault = match rng.u8(0..16) {
        // 410 is dead at once, and gives a redrive something to do.
        0 | 1 => ReceiverFault::Status([500, 503, 404, 302, 204, 410, 410][rng.usize(0..7)]),
        2 => ReceiverFault::Throttling,
        3 => ReceiverFault::Hanging,
        4 => ReceiverFault::Resetting,
        5 => ReceiverFault::Swallowing,
        6 => ReceiverFault::BreakingOff,
        7 => ReceiverFault::Endless,
        8 => ReceiverFault::Babbling,
        9 => ReceiverFault::Away,
        // Most of the time requests are in flight for a while, so that the other faults meet them.
        _ => ReceiverFault::Slow(rng.u64(1..1500)),
    };
    (fault, ms(rng, 300..3000))
}

/// Most of the time within what is accepted; now and then so far off that the daemon must stand still.
fn clock(rng: &mut Rng) -> i64 {
    match rng.u8(0..6) {
        0 => rng.i64(6000..90_000) * if rng.bool() { 1 } else { -1 },
        _ => rng.i64(-MOST_SKEW_MS..=MOST_SKEW_MS),
    }
}

fn work(rng: &mut Rng, events: u32) -> Work {
    match rng.u8(0..12) {
        0 | 1 => Work::Import(rng.u32(1..30), rng.bool().then(|| rng.u64(20..400))),
        2 | 3 => Work::Plan(rng.u32(1..30)),
        4..7 => Work::Edit(rng.u32(1..=events)),
        7 => Work::Pause(ms(rng, 200..2500)),
        8 | 9 => Work::Redrive,
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
        lines.extend(
            self.receiver
                .iter()
                .map(|(at, (fault, long))| (*at, format!("receiver: {fault:?} for {long:?}"))),
        );
        lines.extend(
            self.clock.iter().map(|(at, by)| (*at, format!("clock of daemon {TURNED}: {by} ms off"))),
        );
        lines.extend(self.work.iter().map(|(at, work)| (*at, format!("{work:?}"))));
        lines.sort();
        for (at, line) in lines {
            writeln!(f, "  {:6.2} s  {line}", at.as_secs_f64())?;
        }
        write!(f, "  ticks: {:?}", self.ticks)
    }
}
