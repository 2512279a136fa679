//! One occasion of one user in one local year, and the requests that were made for it.

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::calendar::text::named_enum;

named_enum! {
    /// Where an event stands. The first three are under way; the others are final, but for a redrive of a dead one.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema, sqlx::Type)]
    #[serde(rename_all = "lowercase")]
    #[sqlx(type_name = "event_state", rename_all = "lowercase")]
    pub enum EventState ("state") {
        /// Planned, or waiting for its next attempt.
        Pending = "pending",
        /// In a pack on its way to a worker.
        Queued = "queued",
        /// Leased by a worker that is sending it.
        Delivering = "delivering",
        /// The receiver answered 2xx.
        Delivered = "delivered",
        /// Given up, with a reason.
        Dead = "dead",
        /// No longer wanted, for instance because the user was deleted.
        Cancelled = "cancelled",
        /// Never sent, with a reason: too late, or learned of after the send time.
        Skipped = "skipped",
    }
}

impl EventState {
    /// The error for an event in this state that cannot be cancelled.
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
}

named_enum! {
    /// Why an event ended otherwise than delivered, or an attempt failed: a closed list, so that it can label a metric.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "snake_case")]
    pub enum Reason ("reason") {
        /// Skipped: still unsent `late.max_secs` after it was due.
        Late = "late",
        /// Skipped: the date was learned after the send time, and `plan.late_join` is `skip`.
        LateJoin = "late_join",
        /// Skipped: it was dead, and its local day was over when it was redriven.
        DayOver = "day_over",
        /// Cancelled: the user was deleted.
        UserDeleted = "user_deleted",
        /// Cancelled by an operator.
        Operator = "operator",
        /// The receiver answered with a status that is neither 2xx nor 410.
        Status = "status",
        /// The receiver answered 410 Gone: it never wants this again.
        Gone = "gone",
        /// No connection came about (refused, unreachable, DNS, TLS): nothing was sent.
        Connect = "connect",
        /// No answer within `webhook.timeout_secs`: the receiver may have accepted it.
        Timeout = "timeout",
        /// The connection broke before an answer: the receiver may have accepted it.
        Broken = "broken",
        /// The webhook URL is missing or cannot be used.
        BadUrl = "bad_url",
        /// `webhook.addresses` or `webhook.deny_ranges` forbids the receiver's address: nothing was sent.
        AddressRefused = "address_refused",
        /// The worker that held the lease died: the receiver may have accepted it.
        WorkerLost = "worker_lost",
        /// The process was stopped before an answer came: the receiver may have accepted it.
        Shutdown = "shutdown",
        /// The message cannot be read.
        Unreadable = "unreadable",
        /// The text cannot be made: the kind is no longer configured, or its template fails for this user.
        Template = "template",
    }
}

named_enum! {
    /// How a request ended.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum AttemptOutcome ("outcome") {
        /// The receiver answered 2xx.
        Delivered = "delivered",
        /// It answered otherwise, or nothing was sent.
        Failed = "failed",
        /// Bytes may have left and no answer came back: the receiver may have accepted it.
        Unknown = "unknown",
    }
}

/// An event as it stands in the database. After the deletion of its user, its dates say only the year.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The `webhook-id` of every attempt.
    pub id: Uuid,
    /// Whose occasion it is. The user may be deleted.
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
    /// Whether its dates say only the year, since its user was deleted: they are 1 January, and it finished with the
    /// year. (No other event takes a year to finish.)
    #[must_use]
    pub fn is_blurred(&self) -> bool {
        let begins = |year| Some(NaiveDate::from_ymd_opt(year, 1, 1)?.and_time(NaiveTime::MIN).and_utc());
        let year = i32::from(self.local_year);
        Some(self.due_at) == begins(year)
            && self.finished_at.is_some()
            && self.finished_at == begins(year + 1)
    }
}

/// An attempt as it stands in the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// The event that was sent.
    pub event_id: Uuid,
    /// From 1.
    pub number: i16,
    /// `delivered`, `failed` or `unknown`.
    pub outcome: String,
    /// The HTTP status, when there was an answer.
    pub status: Option<i16>,
    /// Why it failed.
    pub reason: Option<String>,
    /// The same in words.
    pub error: Option<String>,
    /// The first bytes of an answer that was no 2xx, as text. It may hold personal data.
    pub response: Option<String>,
    /// When the request began, UTC; none if its worker died.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended, UTC; none if its end is unknown.
    pub finished_at: Option<DateTime<Utc>>,
}

/// An event with its attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct EventWithAttempts {
    /// The event.
    #[serde(flatten)]
    pub event: Event,
    /// Its attempts, first to last.
    pub attempts: Vec<Attempt>,
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

/// The right to send one event now, and the data for its message, as it is now and not as it was when the event was planned.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Lease {
    pub event_id: Uuid,
    pub user_id: Uuid,
    /// The number of this attempt, from 1: half of the fence.
    pub attempt: i16,
    /// The number of this attempt since the last redrive, from 1: the limit applies to it.
    pub tries: i16,
    pub kind: String,
    pub due_at: DateTime<Utc>,
    pub late_from: DateTime<Utc>,
    pub local_date: NaiveDate,
    /// The year from which the occasion counts. None as well if the message does not need it.
    pub since_year: Option<i16>,
    pub first_name: String,
    pub last_name: String,
}
