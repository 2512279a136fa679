//! Events (one occasion of one user in one local year), and their attempts.

use std::str::FromStr;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{ChannelName, Feedback, TraceId};
use crate::calendar::InvalidText;
use crate::calendar::text::named_enum;

named_enum! {
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
        /// The receiver accepted it: a webhook by 2xx, another channel when its provider accepted the message.
        Delivered = "delivered",
        /// Failed for good, with a reason.
        Dead = "dead",
        /// Cancelled by the deletion of the user, or by an operator.
        Cancelled = "cancelled",
        /// Not sent: too late, or the date was learned after the send time.
        Skipped = "skipped",
    }
}

impl EventState {
    #[must_use]
    pub fn cancel_error(self) -> String {
        if self == Self::Delivering {
            return "the event is being delivered, and the receiver may have accepted it: try again when the attempt has \
                    ended"
                .to_owned();
        }
        format!("the event is {self}: only pending and queued events can be cancelled")
    }
}

named_enum! {
    /// Why an event was not delivered, or an attempt failed: a closed list, so that it can label a metric.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "snake_case")]
    pub enum Reason ("reason") {
        /// Skipped: still unsent `late.max_secs` after it was due.
        Late = "late",
        /// Skipped: the date was learned after the send time, and `plan.late_join` is `skip`.
        LateJoin = "late_join",
        /// Skipped: it was dead, and its local day was over when it was redriven.
        DayOver = "day_over",
        /// Skipped: no channel of its kind reaches the user.
        NoContact = "no_contact",
        /// Cancelled: the user was deleted.
        UserDeleted = "user_deleted",
        /// Cancelled by an operator.
        Operator = "operator",
        /// The receiver answered with a status that is neither 2xx nor 410.
        Status = "status",
        /// The receiver answered 410 Gone.
        Gone = "gone",
        /// Connecting failed (refused, unreachable, DNS, TLS): nothing was sent.
        Connect = "connect",
        /// No response within `webhook.timeout_secs`: the receiver may have accepted it.
        Timeout = "timeout",
        /// The connection broke before the response: the receiver may have accepted it.
        Broken = "broken",
        /// The webhook URL is missing or invalid.
        BadUrl = "bad_url",
        /// `webhook.addresses` or `webhook.deny_ranges` forbids the receiver's address: nothing was sent.
        AddressRefused = "address_refused",
        /// The worker that held the lease died: the receiver may have accepted it.
        WorkerLost = "worker_lost",
        /// The process stopped before the response: the receiver may have accepted it.
        Shutdown = "shutdown",
        /// The message cannot be read.
        Unreadable = "unreadable",
        /// The message could not be rendered: the kind is not configured, or its template fails for this user.
        Template = "template",
        /// The address does not exist or cannot receive: the contact is marked `bounced`.
        Bounced = "bounced",
        /// The person opted out at the provider: the contact is marked `opted_out`.
        OptedOut = "opted_out",
        /// The provider rejected this message.
        Rejected = "rejected",
        /// The provider rejects every message: wrong credentials, an unverified sender, a suspended account.
        ChannelDown = "channel_down",
        /// The provider's rate limit or quota is used up: nothing was sent.
        Throttled = "throttled",
    }
}

named_enum! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum AttemptOutcome ("outcome") {
        /// The receiver answered 2xx.
        Delivered = "delivered",
        /// The receiver answered with another status, or nothing was sent.
        Failed = "failed",
        /// The request may have been sent, and no response arrived: the receiver may have accepted it.
        Unknown = "unknown",
    }
}

/// A value of the last attempt in a filter, or `none` for events without that value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrNone<T>(pub Option<T>);

const NONE: &str = "none";

impl FromStr for OrNone<ChannelName> {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        if text == NONE { Ok(Self(None)) } else { text.parse().map(Some).map(Self) }
    }
}

impl FromStr for OrNone<i16> {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(status) if digits => Ok(Self(Some(status))),
            _ if text == NONE => Ok(Self(None)),
            _ => Err(InvalidText::new("invalid status", text, "expected a status such as 503, or none")),
        }
    }
}

/// After the deletion of its user, the dates of an event are reduced to the year.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The `webhook-id` of every attempt.
    pub id: Uuid,
    pub user_id: Uuid,
    /// `birthday`, or another kind of the configuration.
    pub kind: String,
    /// The year of the occasion in the user's zone.
    pub local_year: i16,
    /// The date in the user's zone on which it is sent.
    pub local_date: NaiveDate,
    /// When it is due (UTC).
    pub due_at: DateTime<Utc>,
    /// The instant from which lateness counts (UTC): due, or learned, moved or redriven later.
    pub late_from: DateTime<Utc>,
    pub state: EventState,
    /// Why it was not delivered.
    pub reason: Option<String>,
    /// The error of the last failed attempt.
    pub last_error: Option<String>,
    /// The channel of its attempts; null before the first one.
    pub channel: Option<String>,
    /// The number of requests that were begun.
    #[serde(rename = "attemptCount")]
    pub attempts: i16,
    /// The earliest time of the next attempt (UTC), while it is pending.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// When it was last claimed (UTC).
    pub queued_at: Option<DateTime<Utc>>,
    /// When it reached its final state (UTC).
    pub finished_at: Option<DateTime<Utc>>,
    /// When it was last redriven (UTC).
    pub redriven_at: Option<DateTime<Utc>>,
}

impl Event {
    /// Whether the dates are reduced to the year, since the user was deleted: due on 1 January, and finished at the end of the year.
    /// No other event takes a year to finish.
    #[must_use]
    pub fn is_blurred(&self) -> bool {
        let begins = |year| Some(NaiveDate::from_ymd_opt(year, 1, 1)?.and_time(NaiveTime::MIN).and_utc());
        let year = i32::from(self.local_year);
        Some(self.due_at) == begins(year)
            && self.finished_at.is_some()
            && self.finished_at == begins(year + 1)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    pub event_id: Uuid,
    /// From 1.
    pub number: i16,
    /// `delivered`, `failed` or `unknown`.
    pub outcome: String,
    /// Null if its worker died.
    pub channel: Option<String>,
    /// The status of the response: of HTTP, or of SMTP.
    pub status: Option<i16>,
    /// The provider's id of the message.
    pub provider_id: Option<String>,
    pub reason: Option<String>,
    pub error: Option<String>,
    /// The first bytes of a response other than 2xx, as text. May contain personal data.
    pub response: Option<String>,
    /// When the request began (UTC); null if its worker died.
    pub started_at: Option<DateTime<Utc>>,
    /// When the attempt ended (UTC); null if unknown.
    pub finished_at: Option<DateTime<Utc>>,
    /// Its trace, as 32 hexadecimal digits; null if it was not traced.
    #[schema(value_type = Option<String>)]
    pub trace_id: Option<TraceId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct EventWithAttempts {
    #[serde(flatten)]
    pub event: Event,
    pub attempts: Vec<Attempt>,
    /// What the provider reported after it had accepted the greeting.
    pub feedback: Vec<Feedback>,
}

/// A dead event, and the last response of the receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub struct DeadEvent {
    #[serde(flatten)]
    #[sqlx(flatten)]
    pub event: Event,
    /// The status of the last attempt.
    pub last_status: Option<i16>,
    /// The first bytes of that response, as text. May contain personal data.
    pub last_response: Option<String>,
}

/// The right to send one event, and the current data for its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub event_id: Uuid,
    pub user_id: Uuid,
    pub attempt: i16,
    /// The number of this attempt since the last redrive, from 1: the limit applies to it.
    pub attempts_since_redrive: i16,
    pub kind: String,
    pub due_at: DateTime<Utc>,
    pub late_from: DateTime<Utc>,
    pub local_date: NaiveDate,
    /// The year of the date; also none if the message does not need it.
    pub since_year: Option<i16>,
    pub first_name: String,
    pub last_name: String,
    /// The user's language: a BCP 47 tag.
    pub locale: Option<String>,
    pub channel: ChannelName,
    /// None for the webhook.
    pub address: Option<String>,
    /// The keyed hash of the address, by which it can be suppressed.
    pub address_hash: Option<Vec<u8>>,
}
