//! The load of each scenario, and the limits that it checks.

use std::time::Duration;

use bday::config::QueueKind;
use bday::model::ChannelName;
use serde::Serialize;

use super::options::Options;
use super::scenario::Name;

#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) scenario: &'static str,
    pub(crate) events: u32,
    pub(crate) users: u32,
    pub(crate) queue: QueueKind,
    pub(crate) daemons: u32,
    pub(crate) in_flight: Option<u32>,
    pub(crate) latency: Duration,
    /// The channels of the due users, by turns; empty: every kind uses the webhook alone.
    pub(crate) channels: &'static [ChannelName],
    /// Whether to measure the baseline as well: the same I/O without bookkeeping.
    pub(crate) bare: bool,
    pub(crate) limits: &'static [Limit],
}

/// A limit for two cores, with all processes on one machine.
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

/// A limit, and whether a run met it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Verdict {
    pub(crate) limit: String,
    pub(crate) met: bool,
}

impl Load {
    /// Returns the load of `scenario`, overridden by the command line.
    pub(crate) fn new(scenario: Name, options: &Options) -> Self {
        let burst = Load {
            scenario: scenario.as_str(),
            events: 100_000,
            users: 100_000,
            queue: QueueKind::Sqs,
            daemons: 1,
            in_flight: None,
            latency: Duration::ZERO,
            channels: &[],
            bare: false,
            limits: &[],
        };
        let mut load = match scenario {
            Name::Tick1000 => {
                Load { events: 1000, limits: &[Limit::TickMs(50.0), Limit::P99Ms(150.0)], ..burst }
            }
            Name::Slow => Load {
                events: 1000,
                in_flight: Some(1000),
                latency: Duration::from_secs(1),
                limits: &[Limit::LastMs(1500.0)],
                ..burst
            },
            Name::BurstPostgres => Load { queue: QueueKind::Postgres, bare: true, ..burst },
            Name::Three => Load { daemons: 3, ..burst },
            Name::Million => Load {
                events: 1_000_000,
                users: 1_000_000,
                limits: &[Limit::FirstMs(5000.0), Limit::NinthToSecond(0.8), Limit::DaemonMb(80.0)],
                ..burst
            },
            // See channels.rs.
            Name::Channels => Load { events: 20_000, users: 20_000, ..burst },
            Name::Burst
            | Name::Idle
            | Name::Api
            | Name::Large
            | Name::Recovery
            | Name::Console
            | Name::All => Load {
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
