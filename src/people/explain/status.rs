use serde::Serialize;
use utoipa::ToSchema;

/// The status of an occasion in a year: a closed list, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Delivered,
    /// Planned for a later time.
    NotDue,
    /// It will be planned when the horizon reaches it.
    NotPlanned,
    /// Due: the next tick claims it.
    Due,
    Queued,
    Delivering,
    /// An attempt failed, and the next one is scheduled.
    Retrying,
    Paused,
    Dead,
    /// Cancelled before it was sent: the user was deleted, or an operator cancelled it.
    Cancelled,
    /// Not sent within `late.max_secs` after it was due.
    SkippedLate,
    /// The date was learned on the day, after the send time, and `plan.late_join` is `skip`.
    SkippedLateJoin,
    /// Redriven when its local day was over.
    SkippedDayOver,
    /// No channel of its kind reached the user.
    SkippedNoContact,
    /// The date does not occur that year: 29 February under `leap_years_only`.
    NoOccurrence,
    BeforeFirstYear,
    /// The date was learned after its local day.
    LearnedTooLate,
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
