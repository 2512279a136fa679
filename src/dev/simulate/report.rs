//! The report of a simulation: a row for each year.

use std::collections::BTreeMap;

use serde::Serialize;

use super::checker::DeliveryChecker;
use super::expected::{DeliveryState, ExpectedDelivery, Violation, ViolationKind};
use crate::calendar::Rule;

const MAX_VIOLATIONS: usize = 20;

macro_rules! year_counts {
    ($($(#[$doc:meta])* $count:ident,)*) => {
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
        pub struct YearCounts {
            /// Users at the end of the year.
            pub users: u64,
            $($(#[$doc])* pub $count: u64,)*
        }

        impl YearCounts {
            fn add(&mut self, later: Self) {
                self.users = later.users;
                $(self.$count += later.$count;)*
            }
        }
    };
}

year_counts! {
    /// Occasions that were due, whatever their outcome.
    due,
    sent,
    retried,
    /// Sent though the date was written after the send time of its day.
    late_joins,
    /// Sent for 29 February in a common year.
    leap,
    /// Sent for a send time inside a DST gap.
    gap,
    /// Sent for a send time inside an overlap.
    overlap,
    /// Sent for a local date that does not exist.
    missing_date,
    skipped_late,
    skipped_late_join,
    dead,
    /// Cancelled after an attempt.
    cancelled,
    moves,
    /// Edits of a date, a send time or a rule.
    edits,
    /// Due occasions that an edit moved to another instant.
    moved,
    deleted,
    returned,
    /// Greetings at a wrong time, with a wrong text or to a wrong user, and rows that differ.
    wrong,
    twice,
    missing,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SimulationReport {
    pub seed: u64,
    /// By local year.
    pub years: BTreeMap<i32, YearCounts>,
    pub ticks: u64,
    pub elapsed_secs: f64,
    pub violations: Vec<String>,
}

impl SimulationReport {
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.violations.is_empty()
    }

    /// Returns the sum of all years, with the users of the last.
    #[must_use]
    pub fn total(&self) -> YearCounts {
        let mut total = YearCounts::default();
        for year in self.years.values() {
            total.add(*year);
        }
        total
    }
}

impl YearCounts {
    fn count(&mut self, delivery: &ExpectedDelivery) {
        self.due += u64::from(delivery.counts());
        match delivery.state {
            DeliveryState::NotExpected | DeliveryState::Due(_) | DeliveryState::Retrying => {}
            DeliveryState::Delivered => self.count_sent(delivery),
            DeliveryState::Dead => self.dead += 1,
            DeliveryState::SkippedLate => self.skipped_late += 1,
            DeliveryState::SkippedLateJoin => self.skipped_late_join += 1,
            DeliveryState::Cancelled => self.cancelled += u64::from(delivery.counts()),
        }
    }

    fn count_sent(&mut self, delivery: &ExpectedDelivery) {
        self.sent += 1;
        self.retried += u64::from(delivery.failed_attempts > 0);
        self.late_joins += u64::from(delivery.late_join);
        match delivery.due.and_then(|due| due.rule) {
            None => {}
            Some(Rule::LeapDay) => self.leap += 1,
            Some(Rule::Gap) => self.gap += 1,
            Some(Rule::Overlap) => self.overlap += 1,
            Some(Rule::MissingDate) => self.missing_date += 1,
        }
    }
}

/// Adds the deliveries and violations to `years`, and returns the texts of the first violations.
pub(super) fn finish(years: &mut BTreeMap<i32, YearCounts>, checker: &DeliveryChecker) -> Vec<String> {
    for ((_, year), delivery) in checker.users.values().flat_map(|user| &user.deliveries) {
        if let Some(row) = years.get_mut(year) {
            row.count(delivery);
        }
    }
    let first = years.keys().next().copied().unwrap_or_default();
    let last = years.keys().next_back().copied().unwrap_or_default();
    for violation in &checker.violations {
        let row = years.entry(violation.year.clamp(first, last)).or_default();
        match violation.kind {
            ViolationKind::Wrong => row.wrong += 1,
            ViolationKind::Twice => row.twice += 1,
            ViolationKind::Missing => row.missing += 1,
        }
    }
    let text = |Violation { kind, text, .. }: &Violation| format!("{kind}: {text}");
    checker.violations.iter().take(MAX_VIOLATIONS).map(text).collect()
}
