//! The types that [`rules`](super::rules) and [`checker`](super::checker) share: users and their expected deliveries.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::config::KINDS;
use super::reference_calendar::Due;
use super::users::UserSettings;

/// An index of [`KINDS`] and a local year.
pub(super) type KindAndYear = (usize, i32);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum DeliveryState {
    #[default]
    NotExpected,
    /// The first attempt must be made at that instant.
    Due(DateTime<Utc>),
    Retrying,
    Delivered,
    Dead,
    SkippedLate,
    SkippedLateJoin,
    /// The user or the date was deleted.
    Cancelled,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ExpectedDelivery {
    pub(super) due: Option<Due>,
    pub(super) state: DeliveryState,
    /// Whether the date was written after its due instant.
    pub(super) late_join: bool,
    pub(super) failed_attempts: u32,
}

impl ExpectedDelivery {
    /// Returns whether it is counted as due: all but those that were cancelled before an attempt.
    pub(super) fn counts(&self) -> bool {
        match self.state {
            DeliveryState::NotExpected | DeliveryState::Due(_) => false,
            DeliveryState::Cancelled => self.failed_attempts > 0,
            _ => true,
        }
    }
}

#[derive(Debug)]
pub(super) struct SimulatedUser {
    pub(super) number: u32,
    pub(super) settings: UserSettings,
    /// By kind: when its date was last written or changed.
    pub(super) known_at: [DateTime<Utc>; KINDS.len()],
    pub(super) deliveries: BTreeMap<KindAndYear, ExpectedDelivery>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ViolationKind {
    /// A greeting that is not expected, at that time or with that text; or a row that differs.
    Wrong,
    Twice,
    Missing,
}

impl std::fmt::Display for ViolationKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Wrong => "wrong",
            Self::Twice => "twice",
            Self::Missing => "missing",
        })
    }
}

#[derive(Debug)]
pub(super) struct Violation {
    pub(super) year: i32,
    pub(super) kind: ViolationKind,
    pub(super) text: String,
}
