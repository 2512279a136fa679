//! Counters that start at 0.
//!
//! `increase()` does not count the event that creates a series, so an alarm would miss the first failure. Each counter of
//! an alarm or the dashboard is therefore created at the start, with every value of its label.

use std::collections::BTreeSet;

use metrics::{counter, gauge, histogram};

use crate::model::{ChannelName, FeedbackType, Reason};

const WITHOUT_LABEL: [&str; 12] = [
    "bday_events_planned_total",
    "bday_events_queued_total",
    "bday_events_deferred_total",
    "bday_events_forgotten_total",
    "bday_events_moved_by_zone_data_total",
    "bday_send_failed_total",
    "bday_packs_resent_total",
    "bday_messages_received_total",
    "bday_messages_unreadable_total",
    "bday_leases_extended_total",
    "bday_leases_lost_total",
    "bday_feedback_unreadable_total",
];

const ATTEMPTS_FAILED: &str = "bday_attempts_failed_total";

/// Returns the counters that `reason` labels.
fn labelled_by(reason: Reason) -> &'static [&'static str] {
    match reason {
        Reason::Late | Reason::LateJoin | Reason::DayOver | Reason::NoContact => {
            &["bday_events_skipped_total"]
        }
        Reason::UserDeleted | Reason::Operator => &["bday_events_cancelled_total"],
        Reason::Status
        | Reason::Gone
        | Reason::Connect
        | Reason::Timeout
        | Reason::Broken
        | Reason::BadUrl
        | Reason::AddressRefused
        | Reason::Shutdown
        | Reason::Template
        | Reason::Bounced
        | Reason::OptedOut
        | Reason::Rejected => &[ATTEMPTS_FAILED, "bday_events_dead_total"],
        // Never the last attempt.
        Reason::ChannelDown | Reason::Throttled => &[ATTEMPTS_FAILED],
        Reason::WorkerLost => &["bday_events_dead_total"],
        // Concerns a message without an event: see `bday_messages_unreadable_total`.
        Reason::Unreadable => &[],
    }
}

/// Must be called after the recorder is installed and before anything is counted.
pub(crate) fn counters<'a>(kinds: impl IntoIterator<Item = &'a str>, channels: &BTreeSet<ChannelName>) {
    for name in WITHOUT_LABEL {
        counter!(name).increment(0);
    }
    for outcome in ["ok", "error"] {
        counter!("bday_ticks_total", "outcome" => outcome).increment(0);
    }
    for reason in ["queue_full", "not_exported"] {
        counter!("bday_spans_dropped_total", "reason" => reason).increment(0);
    }
    for outcome in ["dead", "requeued"] {
        counter!("bday_swept_total", "outcome" => outcome).increment(0);
    }
    let channels = || channels.iter().map(|channel| channel.as_str());
    for kind in kinds {
        for channel in channels() {
            counter!("bday_events_delivered_total", "kind" => kind.to_owned(), "channel" => channel)
                .increment(0);
        }
    }
    for reason in Reason::ALL {
        for name in labelled_by(reason) {
            if *name == ATTEMPTS_FAILED {
                for channel in channels() {
                    counter!(*name, "reason" => reason.as_str(), "channel" => channel).increment(0);
                }
            } else {
                counter!(*name, "reason" => reason.as_str()).increment(0);
            }
        }
    }
    for channel in channels() {
        counter!("bday_events_postponed_total", "channel" => channel).increment(0);
        counter!("bday_contacts_refused_total", "channel" => channel).increment(0);
        gauge!("bday_breaker_open", "channel" => channel).set(0.0);
    }
    // No provider reports on the webhook.
    for channel in channels().filter(|channel| *channel != ChannelName::Webhook.as_str()) {
        for report in FeedbackType::ALL {
            counter!("bday_feedback_total", "channel" => channel, "type" => report.as_str()).increment(0);
        }
    }
    // A histogram is a set of counters.
    let _ = histogram!("bday_lateness_seconds");
}
