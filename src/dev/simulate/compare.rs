//! Compares the rows with the expected deliveries at the end of a simulation.

use std::sync::{Mutex, PoisonError};

use super::checker::DeliveryChecker;
use super::config::KINDS;
use super::expected::{DeliveryState, Violation, ViolationKind};
use crate::calendar::format_count;
use crate::model::{Event, EventState};
use crate::store::{self, EventFilter, EventOrder, Store, TimeCursor};

const PAGE: u32 = 1000;

/// Reports each row that differs from its expected delivery, and deliveries without a row.
pub(super) async fn compare_rows(
    store: &Store,
    checker: &Mutex<DeliveryChecker>,
    last_year: i32,
) -> store::Result<()> {
    let lock = || checker.lock().unwrap_or_else(PoisonError::into_inner);
    let mut after = None;
    let mut finished = 0;
    loop {
        let page = store.list_events(&EventFilter::default(), EventOrder::Ascending, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(TimeCursor::from(last));
        let mut checker = lock();
        finished += page.iter().filter(|event| compare_row(&mut checker, event)).count();
    }
    let mut checker = lock();
    let deliveries = || checker.users.values().flat_map(|user| user.deliveries.values());
    let expected = deliveries().filter(|delivery| delivery.counts()).count();
    let retrying = deliveries().filter(|delivery| delivery.state == DeliveryState::Retrying).count();
    let mut missing = Vec::new();
    if finished != expected {
        missing.push(format!(
            "{} finished, expected {expected}",
            format_count(finished, "event is", "events are")
        ));
    }
    if retrying > 0 {
        missing.push(format!(
            "{} attempted, but never delivered",
            format_count(retrying, "greeting was", "greetings were")
        ));
    }
    let kind = ViolationKind::Missing;
    checker.violations.extend(missing.into_iter().map(|text| Violation { year: last_year, kind, text }));
    Ok(())
}

/// Returns whether the row is a finished delivery.
fn compare_row(checker: &mut DeliveryChecker, event: &Event) -> bool {
    let year = i32::from(event.local_year);
    let kind = KINDS.iter().position(|kind| *kind == event.kind);
    let user = checker.users.get(&event.user_id);
    let delivery = kind.and_then(|kind| user?.deliveries.get(&(kind, year)).copied()).unwrap_or_default();
    let due_at = delivery.due.map(|due| due.at);
    let agrees = match (event.state, event.reason.as_deref(), delivery.state) {
        (EventState::Delivered, _, DeliveryState::Delivered)
        | (EventState::Dead, _, DeliveryState::Dead)
        | (EventState::Skipped, Some("late"), DeliveryState::SkippedLate)
        | (EventState::Skipped, Some("late_join"), DeliveryState::SkippedLateJoin)
        | (EventState::Pending, _, DeliveryState::Due(_)) => {
            due_at == Some(event.due_at) || event.is_blurred()
        }
        (EventState::Cancelled, Some("user_deleted"), DeliveryState::Cancelled | DeliveryState::Due(_)) => {
            true
        }
        _ => false,
    };
    if !agrees {
        let (kind, state, reason) = (&event.kind, event.state, event.reason.as_deref());
        let text = format!(
            "the row of the {kind} of {year} is {state} ({reason:?}), due at {}; expected {:?}, due at {due_at:?}",
            event.due_at, delivery.state
        );
        checker.report(event.user_id, year, ViolationKind::Wrong, &text);
    }
    match event.state {
        EventState::Delivered | EventState::Dead | EventState::Skipped => true,
        EventState::Cancelled => delivery.state == DeliveryState::Cancelled && delivery.counts(),
        _ => false,
    }
}
