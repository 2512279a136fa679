//! The named loads, and what each must keep.

use std::time::Duration;

use bday::config::QueueKind;
use serde::Serialize;

use super::options::Options;
use super::pipeline::Run;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// 1,000 due of 100,000 users: how late is the last one?
    Tick1000,
    /// 100,000 due at once: how fast, and at which cost?
    Burst,
    /// 1,000 due, and a receiver that takes a second for each
    Slow,
    /// 100,000 due, through the queue in PostgreSQL
    BurstPostgres,
    /// 100,000 due, three daemons
    Three,
    /// 1,000,000 due in one minute: is the backlog as fast at its end as at its beginning?
    Million,
    /// Among 10,000,000 users and 30,000,000 finished events, beside an almost empty database: does anything cost more?
    Large,
    /// Nothing due, among 10,000 and among 1,000,000 users
    Idle,
    /// 50 requests at once to the API, among 1,000,000 users
    Api,
    /// A worker is killed with 1,000 requests in flight, and a scheduler amid 30,000 claims: when is everything accepted?
    Recovery,
    /// Each of them but `million`, `large` and `recovery`, which take minutes
    All,
}

/// What a scenario does.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) scenario: &'static str,
    pub(crate) events: u32,
    pub(crate) users: u32,
    pub(crate) queue: QueueKind,
    pub(crate) daemons: u32,
    pub(crate) in_flight: Option<u32>,
    pub(crate) latency: Duration,
    /// Whether to measure the same I/O without bookkeeping as well.
    pub(crate) bare: bool,
    pub(crate) limits: &'static [Limit],
}

/// What is promised on two cores with everything on one machine.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    TickMs(f64),
    P99Ms(f64),
    LastMs(f64),
    PerSecond(f64),
    DaemonMb(f64),
    DaemonCpuSecs(f64),
    FirstMs(f64),
    NinthToSecond(f64),
}

/// A limit, and whether a run kept it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Verdict {
    pub(crate) limit: String,
    pub(crate) met: bool,
}

impl Name {
    pub(crate) const EACH: [Self; 7] =
        [Self::Tick1000, Self::Burst, Self::Slow, Self::BurstPostgres, Self::Three, Self::Idle, Self::Api];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Tick1000 => "tick1000",
            Self::Burst => "burst",
            Self::Slow => "slow",
            Self::BurstPostgres => "burst-postgres",
            Self::Three => "three",
            Self::Million => "million",
            Self::Large => "large",
            Self::Idle => "idle",
            Self::Api => "api",
            Self::Recovery => "recovery",
            Self::All => "all",
        }
    }

    /// The load, with what the command line says instead.
    pub(crate) fn load(self, options: &Options) -> Load {
        let burst = Load {
            scenario: self.as_str(),
            events: 100_000,
            users: 100_000,
            queue: QueueKind::Sqs,
            daemons: 1,
            in_flight: None,
            latency: Duration::ZERO,
            bare: false,
            limits: &[],
        };
        let mut load = match self {
            Self::Tick1000 => {
                Load { events: 1000, limits: &[Limit::TickMs(50.0), Limit::P99Ms(150.0)], ..burst }
            }
            Self::Slow => Load {
                events: 1000,
                in_flight: Some(1000),
                latency: Duration::from_secs(1),
                limits: &[Limit::LastMs(1500.0)],
                ..burst
            },
            Self::BurstPostgres => Load { queue: QueueKind::Postgres, bare: true, ..burst },
            Self::Three => Load { daemons: 3, ..burst },
            Self::Million => Load {
                events: 1_000_000,
                users: 1_000_000,
                limits: &[Limit::FirstMs(5000.0), Limit::NinthToSecond(0.8), Limit::DaemonMb(80.0)],
                ..burst
            },
            Self::Burst | Self::Idle | Self::Api | Self::Large | Self::Recovery | Self::All => Load {
                bare: true,
                limits: &[Limit::PerSecond(15_000.0), Limit::DaemonMb(60.0), Limit::DaemonCpuSecs(8.0)],
                ..burst
            },
        };
        load.events = options.events.unwrap_or(load.events);
        load.users = options.users.unwrap_or(load.users).max(load.events);
        load.queue = options.queue.unwrap_or(load.queue);
        load.daemons = options.daemons.unwrap_or(load.daemons);
        load.in_flight = options.in_flight.or(load.in_flight);
        load.latency = options.latency_ms.map_or(load.latency, Duration::from_millis);
        if options.changes_load() {
            load.limits = &[];
        }
        load
    }
}

impl Limit {
    pub(crate) fn judge(self, run: &Run) -> Verdict {
        let (limit, met) = match self {
            Self::TickMs(most) => (format!("tick <= {most} ms"), run.tick_ms <= most),
            Self::P99Ms(most) => (format!("p99 <= {most} ms"), run.p99_ms <= most),
            Self::LastMs(most) => (format!("last <= {most} ms"), run.last_ms <= most),
            Self::PerSecond(least) => (format!("{least}/s"), run.per_second >= least),
            Self::DaemonMb(most) => (format!("{most} MB"), run.daemon_mb < most),
            Self::DaemonCpuSecs(most) => (format!("{most} s of CPU"), run.cpu.daemon < most),
            Self::FirstMs(most) => (format!("first <= {most} ms"), run.first_ms <= most),
            Self::NinthToSecond(least) => (
                format!("ninth tenth >= {least} of the second"),
                run.ninth_per_second >= run.second_per_second * least,
            ),
        };
        Verdict { limit, met }
    }
}
