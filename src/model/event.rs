//! One occasion of one user in one local year.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Where an event stands. The first three are under way; the others are final, but for a redrive of a dead one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "event_state", rename_all = "lowercase")]
pub enum EventState {
    /// Planned, or waiting for its next attempt.
    Pending,
    /// In a pack on its way to a worker.
    Queued,
    /// Leased by a worker that is sending it.
    Delivering,
    /// The receiver answered 2xx.
    Delivered,
    /// Given up, with a reason.
    Dead,
    /// No longer wanted, for instance because the user was deleted.
    Cancelled,
    /// Never sent, with a reason: too late, or learned of after the send time.
    Skipped,
}

impl EventState {
    /// Every state, in the order of an event's life.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Queued,
        Self::Delivering,
        Self::Delivered,
        Self::Dead,
        Self::Cancelled,
        Self::Skipped,
    ];

    /// Why an event in this state cannot be cancelled, and what to do.
    #[must_use]
    pub fn why_not_cancelled(self) -> String {
        if self == Self::Delivering {
            return "the event is being delivered at this moment: the request may have left, and the receiver may have \
                    accepted it. Look again when the attempt has ended: if it failed, the event is pending, and can be \
                    cancelled"
                .to_owned();
        }
        format!("the event is {self}: only one that is pending or queued can be cancelled")
    }

    /// The name as in the database, the API and the metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Queued => "queued",
            Self::Delivering => "delivering",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }
}

/// A text that names no [`EventState`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown state {0:?}: expected pending, queued, delivering, delivered, dead, cancelled or skipped")]
pub struct UnknownState(String);

impl FromStr for EventState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| UnknownState(super::input::shortened(text).to_owned()))
    }
}

impl fmt::Display for EventState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why an event ended otherwise than delivered, or an attempt failed: a closed list, so that it can label a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Skipped: still unsent `late.max_secs` after it was due.
    Late,
    /// Skipped: the date was learned after the send time, and `plan.late_join` is `skip`.
    LateJoin,
    /// Skipped: it was dead, and its local day was over when it was redriven.
    DayOver,
    /// Cancelled: the user is gone.
    UserDeleted,
    /// Cancelled: somebody said so.
    Operator,
    /// The receiver answered with a status that is neither 2xx nor 410.
    Status,
    /// The receiver answered 410 Gone: it never wants this again.
    Gone,
    /// No connection came about (refused, unreachable, DNS, TLS): nothing was sent.
    Connect,
    /// No answer within `webhook.timeout_secs`: the receiver may have accepted it.
    Timeout,
    /// The connection broke before an answer: the receiver may have accepted it.
    Broken,
    /// The webhook URL is missing or cannot be used.
    BadUrl,
    /// `webhook.addresses` or `webhook.deny_ranges` forbids the receiver's address: nothing was sent.
    AddressRefused,
    /// The worker that held the lease died: the receiver may have accepted it.
    WorkerLost,
    /// The process was stopped before an answer came: the receiver may have accepted it.
    Shutdown,
    /// The message cannot be read.
    Unreadable,
    /// The text cannot be made: the kind is no longer configured, or its template fails for this user.
    Template,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 16] = [
        Self::Late,
        Self::LateJoin,
        Self::DayOver,
        Self::UserDeleted,
        Self::Operator,
        Self::Status,
        Self::Gone,
        Self::Connect,
        Self::Timeout,
        Self::Broken,
        Self::BadUrl,
        Self::AddressRefused,
        Self::WorkerLost,
        Self::Shutdown,
        Self::Unreadable,
        Self::Template,
    ];

    /// The name as in the database, the API and the metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::LateJoin => "late_join",
            Self::DayOver => "day_over",
            Self::UserDeleted => "user_deleted",
            Self::Operator => "operator",
            Self::Status => "status",
            Self::Gone => "gone",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::BadUrl => "bad_url",
            Self::AddressRefused => "address_refused",
            Self::WorkerLost => "worker_lost",
            Self::Shutdown => "shutdown",
            Self::Unreadable => "unreadable",
            Self::Template => "template",
        }
    }
}

/// A text that names no [`Reason`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown reason {given:?}: expected one of {}", Reason::ALL.map(Reason::as_str).join(", "))]
pub struct UnknownReason {
    given: String,
}

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|reason| reason.as_str() == text);
        found.ok_or_else(|| UnknownReason { given: super::input::shortened(text).to_owned() })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An event as it stands in the database. After the deletion of its user, its dates say only the year.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The `webhook-id` of every attempt.
    pub id: Uuid,
    /// Whose occasion it is. The user may be gone.
    pub user_id: Uuid,
    /// Which occasion: `birthday`, or another that the configuration names.
    pub kind: String,
    /// The nominal year of the occasion in the user's zone.
    pub local_year: i16,
    /// The date in the user's zone on which it is sent.
    pub local_date: NaiveDate,
    /// When it is due, UTC.
    pub due_at: DateTime<Utc>,
    /// The instant from which lateness counts (UTC): due, or learned, moved or redriven later.
    pub late_from: DateTime<Utc>,
    /// Where it stands.
    pub state: EventState,
    /// Why it ended as it did.
    pub reason: Option<String>,
    /// The error of the last failed attempt.
    pub last_error: Option<String>,
    /// How many requests were begun.
    #[serde(rename = "attemptCount")]
    pub attempts: i16,
    /// When it may be tried next (UTC), while it is pending.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// When it was claimed last (UTC).
    pub queued_at: Option<DateTime<Utc>>,
    /// When it reached its final state, UTC.
    pub finished_at: Option<DateTime<Utc>>,
    /// When it was redriven last (UTC).
    pub redriven_at: Option<DateTime<Utc>>,
}

impl Event {
    /// Whether its dates say only the year, since its user was deleted: they are 1 January, and it finished with the year. (No
    /// other event takes a year to finish.)
    #[must_use]
    pub fn is_blurred(&self) -> bool {
        let begins = |year| Some(NaiveDate::from_ymd_opt(year, 1, 1)?.and_time(NaiveTime::MIN).and_utc());
        let year = i32::from(self.local_year);
        Some(self.due_at) == begins(year)
            && self.finished_at.is_some()
            && self.finished_at == begins(year + 1)
    }
}

/// A dead event, and what the receiver said last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub struct DeadEvent {
    /// The event.
    #[serde(flatten)]
    #[sqlx(flatten)]
    pub event: Event,
    /// The HTTP status of the last attempt, when there was an answer.
    pub last_status: Option<i16>,
    /// How that answer began, as text. It may hold personal data.
    pub last_response: Option<String>,
}

/// The right to send one event now, and what is needed to do so.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Lease {
    /// The event, and the `webhook-id`.
    pub event_id: Uuid,
    /// The user, for the body.
    pub user_id: Uuid,
    /// The number of this attempt, from 1: half of the fence.
    pub attempt: i16,
    /// The same, counted from the last redrive: what the limit goes by.
    pub tries: i16,
    /// Which occasion.
    pub kind: String,
    /// When it was due (UTC).
    pub due_at: DateTime<Utc>,
    /// The instant from which lateness counts (UTC): due, or learned, moved or redriven later.
    pub late_from: DateTime<Utc>,
    /// The date in the user's zone.
    pub local_date: NaiveDate,
    /// The year of birth, or of whatever the occasion counts from. None as well where the message does not need it.
    pub since_year: Option<i16>,
    /// As it is in the database now, not as it was when the event was planned.
    pub first_name: String,
    /// May be empty.
    pub last_name: String,
}
