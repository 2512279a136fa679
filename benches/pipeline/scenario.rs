//! The names of the scenarios.

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
}
