//! Scenarios.

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// 1,000 events due among 100,000 users: measure the lateness of the last event
    Tick1000,
    /// 100,000 events due at once: measure throughput and cost
    Burst,
    /// 1,000 events due, with a receiver latency of 1 s
    Slow,
    /// 100,000 events due, with the queue in PostgreSQL
    BurstPostgres,
    /// 100,000 events due, with three daemons
    Three,
    /// 1,000,000 events due in one minute: compare the throughput at the start and at the end of the backlog
    Million,
    /// 10,000,000 users and 30,000,000 finished events: compare the cost of each step with that in a small database
    Large,
    /// Nothing due: compare a tick with 10,000 users and with 1,000,000 users
    Idle,
    /// 50 concurrent API requests, with 1,000,000 users
    Api,
    /// Kill a worker with 1,000 requests in flight, and a scheduler during 30,000 claims: measure the time until all events are accepted
    Recovery,
    /// 20,000 events due by mail, by Slack and by webhook, each alone and then all together, with `channels = ["mail", "slack", "webhook"]`
    Channels,
    /// 1,000,000 users and 30,000,000 finished events: measure each page of the console
    Console,
    /// All scenarios except `million`, `large`, `recovery` and `console`, which take minutes
    All,
}

impl Name {
    pub(crate) const EACH: [Self; 8] = [
        Self::Tick1000,
        Self::Burst,
        Self::Slow,
        Self::BurstPostgres,
        Self::Three,
        Self::Idle,
        Self::Api,
        Self::Channels,
    ];

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
            Self::Channels => "channels",
            Self::Console => "console",
            Self::All => "all",
        }
    }
}
