use serde::Serialize;
use utoipa::ToSchema;

/// The status of an occasion in a year: a closed list, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The receiver has accepted it.
    Delivered,
    /// Planned for a later time.
    NotDue,
    /// It will be planned when the horizon reaches it.
    NotPlanned,
    /// Due: the next tick claims it.
    Due,
    /// On the queue.
    Queued,
    /// A request is in flight.
    Delivering,
    /// An attempt failed, and the next one is scheduled.
    Retrying,
    /// Due, while sending is paused.
    Paused,
    /// Failed for good.
    Dead,
    /// Cancelled before it was sent: the user was deleted, or an operator cancelled it.
    Cancelled,
    /// Not sent within `late.max_secs` after it was due.
    SkippedLate,
    /// The date was learned on the day, after the send time, and `plan.late_join` is `skip`.
    SkippedLateJoin,
    /// Redriven when its local day was over.
    SkippedDayOver,
    /// The date does not occur that year: 29 February under `leap_years_only`.
    NoOccurrence,
    /// The first greeting is in a later year.
    BeforeFirstYear,
    /// The date was learned after its local day.
    LearnedTooLate,
    /// The configuration does not have the kind.
    KindNotConfigured,
    /// Its day was planned without it, or was never planned.
    NeverPlanned,
    /// The user is deleted, and no event of that year is on record.
    NoRecord,
}

impl Status {
    /// Whether a greeting that was due was not sent, and will not be sent.
    #[must_use]
    pub fn is_loss(self) -> bool {
        matches!(self, Self::Dead | Self::SkippedLate | Self::SkippedDayOver | Self::NeverPlanned)
    }
}
