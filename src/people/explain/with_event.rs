use chrono::{DateTime, TimeDelta, Utc};

use super::settings::ExplainSettings;
use super::status::Status;
use crate::calendar::{format_count, format_duration, format_instant};
use crate::model::{ChannelName, Event, EventState, EventWithAttempts};
use crate::store::{Pause, UserHistory};

pub(super) fn blurred_status(found: &EventWithAttempts) -> (Status, String) {
    let reason = found.event.reason.as_deref().unwrap_or("unknown");
    let status = match (found.event.state, reason) {
        (EventState::Delivered, _) => return (Status::Delivered, "delivered".to_owned()),
        (EventState::Dead, _) => return (Status::Dead, dead(found)),
        (EventState::Skipped, "late_join") => Status::SkippedLateJoin,
        (EventState::Skipped, "day_over") => Status::SkippedDayOver,
        (EventState::Skipped, "no_contact") => Status::SkippedNoContact,
        (EventState::Skipped, _) => Status::SkippedLate,
        _ => Status::Cancelled,
    };
    (status, format!("{} ({reason}){}", found.event.state, unknown_outcome(found)))
}

pub(super) fn event_status(
    found: &EventWithAttempts,
    history: &UserHistory,
    settings: &ExplainSettings,
    now: DateTime<Utc>,
) -> (Status, String) {
    let event = &found.event;
    let late_max = TimeDelta::from_std(settings.late_max).unwrap_or(TimeDelta::MAX);
    let late_at = event.late_from + late_max;
    let waiting = matches!(event.state, EventState::Pending | EventState::Queued);
    if let Some(pause) = history.pause.as_ref().filter(|_| waiting && event.due_at <= now) {
        return paused(pause, late_at);
    }
    match event.state {
        EventState::Pending => pending(event, now, late_at),
        EventState::Queued => {
            let since = event
                .queued_at
                .map_or_else(String::new, |at| format!(" since {}", format_duration(now - at)));
            (Status::Queued, format!("on the queue{since}; the next worker with capacity leases it"))
        }
        EventState::Delivering => {
            (Status::Delivering, format!("attempt {} is in flight{}", event.attempts, by_channel(event)))
        }
        EventState::Delivered => {
            let (passed, by) = (since_due(event, now), by_channel(event));
            let text = format!("accepted{by} {passed} after it was due, at attempt {}", event.attempts);
            (Status::Delivered, text + unknown_outcome(found) + &reported(found))
        }
        EventState::Dead => (Status::Dead, dead(found)),
        EventState::Cancelled => (Status::Cancelled, cancelled(event, now) + unknown_outcome(found)),
        EventState::Skipped => {
            let (status, text) = skipped(event, settings, now, late_max);
            (status, text + unknown_outcome(found))
        }
    }
}

/// Formats the time from due to the end of the event, or to `now`.
fn since_due(event: &Event, now: DateTime<Utc>) -> String {
    format_duration(event.finished_at.unwrap_or(now) - event.due_at)
}

fn paused(pause: &Pause, late_at: DateTime<Utc>) -> (Status, String) {
    let (since, late_at) = (format_instant(pause.since), format_instant(late_at));
    let text = format!(
        "sending is paused since {since} ({}); it is skipped if it is not sent by {late_at}",
        pause.reason
    );
    (Status::Paused, text)
}

fn pending(event: &Event, now: DateTime<Utc>, late_at: DateTime<Utc>) -> (Status, String) {
    if event.attempts > 0 && event.redriven_at.is_none_or(|at| at != event.late_from) {
        let error = event.last_error.as_deref().unwrap_or("its outcome is unknown");
        let next = event.next_attempt_at.map(format_instant).unwrap_or_default();
        let by = by_channel(event);
        let text = format!("attempt {}{by} failed ({error}); the next one is at {next}", event.attempts);
        return (Status::Retrying, text);
    }
    if event.due_at > now {
        let (left, due) = (format_duration(event.due_at - now), format_instant(event.due_at));
        return (Status::NotDue, format!("due in {left}, at {due}"));
    }
    let (late, late_at) = (format_duration(now - event.due_at), format_instant(late_at));
    let text =
        format!("due since {late}; the next tick claims it, or skips it after {late_at} (late.max_secs)");
    (Status::Due, text)
}

fn cancelled(event: &Event, now: DateTime<Utc>) -> String {
    let passed = since_due(event, now);
    let when = if event.finished_at.unwrap_or(now) < event.due_at {
        format!("{passed} before it was due")
    } else {
        format!("{passed} after it was due, before it was accepted")
    };
    if event.reason.as_deref() == Some("operator") {
        format!("an operator cancelled it {when}")
    } else {
        format!("cancelled {when}: the user or the date was deleted")
    }
}

/// Names the channel, unless it is the webhook.
fn by_channel(event: &Event) -> String {
    let channel = event.channel.as_deref().filter(|channel| *channel != ChannelName::Webhook.as_str());
    channel.map(|channel| format!(" by {channel}")).unwrap_or_default()
}

fn skipped(
    event: &Event,
    settings: &ExplainSettings,
    now: DateTime<Utc>,
    late_max: TimeDelta,
) -> (Status, String) {
    let passed = since_due(event, now);
    match event.reason.as_deref() {
        Some("late_join") => {
            let text = format!("the date was learned {passed} after it was due, and plan.late_join is skip");
            (Status::SkippedLateJoin, text)
        }
        Some("day_over") => {
            let text = format!("redriven {passed} after it was due, when its local day was over");
            (Status::SkippedDayOver, text)
        }
        Some("no_contact") => (Status::SkippedNoContact, no_contact(event, settings)),
        _ => {
            let max = format_duration(late_max);
            (Status::SkippedLate, format!("not sent {passed} after it was due; late.max_secs is {max}"))
        }
    }
}

fn no_contact(event: &Event, settings: &ExplainSettings) -> String {
    if let Some(channel) = &event.channel {
        return format!(
            "its channel, {channel}, no longer reached the user after attempt {}",
            event.attempts
        );
    }
    let channels = settings.routes.as_ref().and_then(|routes| routes.get(&event.kind));
    let names: Vec<&str> = channels.into_iter().flatten().map(|channel| channel.as_str()).collect();
    let names = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
    format!("no channel of kinds.{}{names} reached the user: add a contact, or check its status", event.kind)
}

fn dead(found: &EventWithAttempts) -> String {
    let event = &found.event;
    let why = match event.reason.as_deref() {
        Some("gone") => "the receiver answered 410 Gone",
        Some("template") => "the message could not be rendered",
        Some("worker_lost") => "the worker died during the last attempt",
        Some("bounced") => "the provider refused the address, and no other channel reaches the user",
        Some("opted_out") => "the person opted out, and no other channel reaches the user",
        Some("rejected") => "the provider rejected the message",
        _ => "the last attempt failed",
    };
    let error = event.last_error.as_deref().filter(|error| *error != why);
    let error = error.map(|error| format!(": {error}")).unwrap_or_default();
    let reason = event.reason.as_deref().unwrap_or("unknown");
    let attempts = format_count(event.attempts, "attempt", "attempts");
    format!("dead after {attempts} (reason {reason}): {why}{error}{}", unknown_outcome(found))
}

/// Says that a delivered greeting did not arrive, or was not wanted.
fn reported(found: &EventWithAttempts) -> String {
    let report = found.feedback.iter().rfind(|report| report.feedback_type.is_negative());
    report.map_or_else(String::new, |report| {
        format!("; the provider reported {} at {}", report.feedback_type, format_instant(report.at))
    })
}

fn unknown_outcome(found: &EventWithAttempts) -> &'static str {
    if found.attempts.iter().any(|attempt| attempt.outcome == "unknown") {
        "; the receiver may have accepted an attempt whose outcome is unknown"
    } else {
        ""
    }
}
