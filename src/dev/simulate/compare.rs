//! The rows against the ledger, at the end.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::cast::KINDS;
use super::ledger::{Fate, Ledger, Violation};
use crate::model::{Event, EventState};
use crate::store::{self, EventCursor, EventFilter, EventOrder, Store};

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Compares every row with the ledger, which must be right about each, and must know of no more.
pub(super) async fn compare(store: &Store, ledger: &Mutex<Ledger>, last_year: i32) -> store::Result<()> {
    let mut after = None;
    let mut seen = 0;
    loop {
        let page = store.list_events(&EventFilter::default(), EventOrder::Ascending, after, 1000).await?;
        let Some(last) = page.last() else { break };
        after = Some(EventCursor::from(last));
        for event in &page {
            seen += u64::from(compare_event(&mut lock(ledger), event));
        }
    }
    let mut ledger = lock(ledger);
    let finished =
        |fate: &Fate| !matches!(fate, Fate::Nothing | Fate::Owed(_) | Fate::Cancelled { tried: false });
    let entries = || ledger.people.values().flat_map(|person| person.entries.values());
    let expected = entries().filter(|entry| finished(&entry.fate)).count() as u64;
    let trying = entries().filter(|entry| matches!(entry.fate, Fate::Trying(_))).count();
    if seen != expected {
        ledger.complain(
            last_year,
            Violation::Missing,
            format!("{expected} events must be finished, and {seen} are"),
        );
    }
    if trying > 0 {
        ledger.complain(
            last_year,
            Violation::Missing,
            format!("{trying} greetings were tried, and never came"),
        );
    }
    Ok(())
}

/// Gives whether the event is finished in a way that the ledger counts.
fn compare_event(ledger: &mut Ledger, event: &Event) -> bool {
    let year = i32::from(event.local_year);
    let kind = KINDS.iter().position(|kind| *kind == event.kind);
    let person = ledger.people.get(&event.user_id);
    let entry = kind.and_then(|kind| person?.entries.get(&(kind, year)).copied());
    let fate = entry.map(|entry| entry.fate);
    let due_at = entry.and_then(|entry| entry.due).map(|due| due.at);
    let agrees = match (event.state, event.reason.as_deref(), fate) {
        (EventState::Delivered, _, Some(Fate::Sent))
        | (EventState::Dead, _, Some(Fate::Dead))
        | (EventState::Skipped, Some("late"), Some(Fate::Late { .. }))
        | (EventState::Skipped, Some("late_join"), Some(Fate::LateJoin))
        | (EventState::Pending, _, Some(Fate::Owed(_))) => due_at == Some(event.due_at) || event.is_blurred(),
        (EventState::Cancelled, Some("user_deleted"), Some(Fate::Cancelled { .. } | Fate::Owed(_))) => true,
        _ => false,
    };
    if !agrees {
        let (kind, state, reason) = (&event.kind, event.state, event.reason.as_deref());
        let what = format!(
            "the {kind} of {year}, due at {}, is {state} ({reason:?}); it should be due at {due_at:?}, and is {fate:?}",
            event.due_at
        );
        ledger.complain_of(event.user_id, year, Violation::Wrong, &what);
    }
    match event.state {
        EventState::Delivered | EventState::Dead | EventState::Skipped => true,
        EventState::Cancelled => matches!(fate, Some(Fate::Cancelled { tried: true })),
        _ => false,
    }
}
