//! Checks every rule against the requests that the receiver recorded, and the database.

use bday::model::BIRTHDAY;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::journal::{Cause, Entry};
use super::place::Place;
use super::plan::{ADDS_A_KIND, MOST_SKEW_MS, TURNED};
use super::seed::ADDED_KIND;
use super::support::receiver::Record;

/// The longest time from an acceptance to its record in the database: usually milliseconds, but a debug build on a busy machine may
/// have to reconnect.
const TO_RECORD: Duration = Duration::from_secs(2);
/// A greeting is late if it is accepted later than this after it could be sent. A tick runs every one or two seconds; the rest is
/// tolerance for a busy machine.
const LATE_AFTER: Duration = Duration::from_secs(6);
/// The longest time that a scheduler and then a worker pause before they retry, after an outage of the queue or the database.
const PAUSES: Duration = Duration::from_secs(13);
/// A fault explains lateness until this long after its end: a lease, and the longest pauses between two attempts.
const RECOVERY: Duration = Duration::from_secs(40);
/// The greatest difference between the origins of the journal's and the receiver's times.
const CLOCKS: Duration = Duration::from_millis(100);
/// How early an event may be sent: the greatest accepted skew of the turned clock, plus tolerance.
const EARLIEST: TimeDelta = TimeDelta::milliseconds(MOST_SKEW_MS + 100);

/// Counts of one run, or of a series of runs.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counts {
    events: u64,
    requests: u64,
    /// Requests received while faults were injected.
    pub(crate) amid_faults: u64,
    /// Events by state, and by reason if they were not delivered.
    ends: BTreeMap<String, u64>,
    /// Repeated acceptances, by the fault that explains them.
    repeats: BTreeMap<String, u64>,
    /// Events that were accepted late, by the fault that explains it.
    late: BTreeMap<String, u64>,
}

impl AddAssign<&Self> for Counts {
    fn add_assign(&mut self, other: &Self) {
        self.events += other.events;
        self.requests += other.requests;
        self.amid_faults += other.amid_faults;
        for (ours, theirs) in [
            (&mut self.ends, &other.ends),
            (&mut self.repeats, &other.repeats),
            (&mut self.late, &other.late),
        ] {
            for (key, n) in theirs {
                *ours.entry(key.clone()).or_default() += n;
            }
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |map: &BTreeMap<String, u64>| {
            let parts: Vec<String> = map.iter().map(|(key, n)| format!("{n} {key}")).collect();
            parts.join(", ")
        };
        let (repeats, late): (u64, u64) = (self.repeats.values().sum(), self.late.values().sum());
        write!(
            f,
            "{} events: {}; {} requests, {} during faults, {repeats} repeats",
            self.events,
            list(&self.ends),
            self.requests,
            self.amid_faults
        )?;
        if repeats > 0 {
            write!(f, " ({})", list(&self.repeats))?;
        }
        write!(f, ", {late} late")?;
        if late > 0 {
            write!(f, " ({})", list(&self.late))?;
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) counts: Counts,
    pub(crate) violations: Vec<String>,
    /// The events that violate rules.
    pub(crate) suspects: Vec<Uuid>,
}

impl Verdict {
    fn broken(&mut self, event: Uuid, what: String) {
        self.violations.push(what);
        if !self.suspects.contains(&event) {
            self.suspects.push(event);
        }
    }
}

#[derive(sqlx::FromRow)]
struct Event {
    id: Uuid,
    user_id: Uuid,
    kind: String,
    state: String,
    reason: Option<String>,
    attempts: i16,
    late_from: DateTime<Utc>,
    created_at: DateTime<Utc>,
    redriven: bool,
    /// The user was deleted, so that the event has a new id and no times.
    blurred: bool,
    /// Numbers of the ended attempts, in order.
    recorded: Vec<i16>,
    /// Number of attempts with an unknown outcome, which may have been accepted.
    unknown: i64,
}

const EVENTS: &str = "
SELECT e.id, e.user_id, e.kind, e.state::text, e.reason, e.attempts, e.late_from, e.created_at,
       e.redriven_at IS NOT NULL AS redriven,
       e.finished_at IS NOT DISTINCT FROM make_timestamptz(e.local_year + 1, 1, 1, 0, 0, 0, 'UTC') AS blurred,
       coalesce(array_agg(a.number ORDER BY a.number) FILTER (WHERE a.number IS NOT NULL), '{}') AS recorded,
       count(*) FILTER (WHERE a.outcome = 'unknown') AS unknown
FROM events e LEFT JOIN ended_attempts a ON a.event_id = e.id
GROUP BY e.id ORDER BY e.late_from";

/// Returns users who have a due date and no event.
const FORGOTTEN: &str = "
SELECT u.external_id || ' ' || o.kind FROM occasions o JOIN users u ON u.id = o.user_id
WHERE NOT EXISTS (SELECT FROM events e WHERE e.user_id = o.user_id AND e.kind = o.kind)";

const OPEN: &str = "
SELECT (SELECT count(*) FROM events WHERE state IN ('pending', 'queued', 'delivering'))
     + (SELECT count(*) FROM occasions o
        WHERE NOT EXISTS (SELECT FROM events e WHERE e.user_id = o.user_id AND e.kind = o.kind))";

/// Returns the number of unfinished events plus the number of dates that are not planned yet.
pub(crate) async fn open(place: &Place) -> sqlx::Result<i64> {
    sqlx::query_scalar(OPEN).fetch_one(&place.pool).await
}

/// Judges a run after all events have ended.
pub(crate) async fn judge(place: &Place) -> Verdict {
    let events: Vec<Event> = sqlx::query_as(EVENTS).fetch_all(&place.pool).await.unwrap();
    let records = place.receiver.records();
    let mut requests: HashMap<Uuid, Vec<&Record>> = HashMap::new();
    let mut verdict = Verdict::default();
    let blurred: HashMap<(String, &str), Uuid> = events
        .iter()
        .filter(|event| event.blurred)
        .map(|event| ((event.user_id.to_string(), event.kind.as_str()), event.id))
        .collect();
    for record in &records {
        let body: serde_json::Value = serde_json::from_slice(&record.body).unwrap_or_default();
        let is_birthday = body["message"].as_str().is_some_and(|text| text.contains("birthday"));
        let kind = if is_birthday { BIRTHDAY } else { ADDED_KIND };
        let user = body["userId"].as_str().unwrap_or_default().to_owned();
        if let Some(id) = blurred.get(&(user, kind)) {
            requests.entry(*id).or_default().push(record);
            continue;
        }
        match record.event_id.parse::<Uuid>() {
            Ok(id) => requests.entry(id).or_default().push(record),
            Err(_) => verdict.violations.push(format!("a request has the webhook-id {:?}", record.event_id)),
        }
    }
    verdict.counts.events = events.len() as u64;
    verdict.counts.requests = records.len() as u64;
    let forgotten: Vec<String> = sqlx::query_scalar(FORGOTTEN).fetch_all(&place.pool).await.unwrap();
    let forgotten = forgotten.iter().map(|who| format!("user {who} has no event"));
    verdict.violations.extend(forgotten);
    let known: BTreeSet<Uuid> = events.iter().map(|event| event.id).collect();
    for stranger in requests.keys().filter(|id| !known.contains(id)) {
        verdict.violations.push(format!("{stranger} was sent, but is not an event"));
    }
    let entries = place.journal.entries();
    for event in &events {
        let requests = requests.get(&event.id).map_or(&[][..], Vec::as_slice);
        one(&mut verdict, event, requests, &entries, place.journal.started_at);
    }
    verdict
}

fn one(
    verdict: &mut Verdict,
    event: &Event,
    requests: &[&Record],
    entries: &[Entry],
    started_at: DateTime<Utc>,
) {
    let Event { id, state, reason, attempts, .. } = event;
    let reason = reason.as_deref().unwrap_or("");
    let end = format!("{state} {reason}");
    *verdict.counts.ends.entry(end.trim_end().to_owned()).or_default() += 1;

    // Every event has ended.
    match state.as_str() {
        "delivered" => {}
        "dead" | "cancelled" | "skipped" if !reason.is_empty() => {}
        state => verdict.broken(*id, format!("{id} is {state} {reason:?}")),
    }
    // The header and the body have the same event id.
    for record in requests {
        let body: serde_json::Value = serde_json::from_slice(&record.body).unwrap_or_default();
        let sent_as = if event.blurred { requests[0].event_id.clone() } else { id.to_string() };
        if body["eventId"] != sent_as || body["userId"] != event.user_id.to_string() {
            verdict.broken(*id, format!("{id} was sent with the body {body}"));
        }
        // A redrive moves `late_from`.
        if !event.redriven && !event.blurred && started_at + record.at < event.late_from - EARLIEST {
            verdict.broken(*id, format!("{id} was sent before it was due"));
        }
        let knows = record.path.contains(&format!("/{ADDS_A_KIND}-"));
        if event.kind == ADDED_KIND && !knows {
            verdict.broken(*id, format!("{id} was sent by {}, which lacks its kind", record.path));
        }
    }
    // Attempts are counted before a request is sent, and each is recorded.
    if requests.len() > usize::from(attempts.unsigned_abs()) {
        verdict.broken(*id, format!("{id} was sent {} times in {attempts} attempts", requests.len()));
    }
    if *state == "delivered" && !event.recorded.iter().copied().eq(1..=*attempts) {
        let recorded = &event.recorded;
        verdict.broken(*id, format!("{id} has {attempts} attempts, but {recorded:?} are recorded"));
    }
    // An event is delivered if and only if it was accepted once. A fault must explain why the sender did not learn of any other
    // acceptance.
    let accepted: Vec<&&Record> = requests.iter().filter(|record| record.accepted).collect();
    let heard = usize::from(*state == "delivered");
    if accepted.len() < heard {
        verdict.broken(*id, format!("{id} is delivered, but the receiver did not accept it"));
    }
    if !event.blurred {
        late(verdict, event, &accepted, entries, started_at);
    }
    let mut excuses: Vec<String> = accepted.iter().filter_map(|record| excuse(record, entries)).collect();
    let explained = excuses.len().min(event.unknown.unsigned_abs() as usize);
    if accepted.len() > heard + explained {
        verdict.broken(
            *id,
            format!(
                "{id} is {state} and was accepted {} times, with {} attempts of unknown outcome; faults that explain it: {excuses:?}",
                accepted.len(),
                event.unknown,
            ),
        );
    }
    excuses.sort_unstable();
    if accepted.len() > 1 {
        for excuse in excuses.into_iter().take(accepted.len() - 1) {
            *verdict.counts.repeats.entry(excuse).or_default() += 1;
        }
    }
}

/// Returns the fault that explains why the daemon did not learn of, or did not record, the acceptance of this request: a fault while
/// it was in flight or while its outcome was not recorded yet.
fn excuse(record: &Record, entries: &[Entry]) -> Option<String> {
    let path = record.path.trim_start_matches("/hook");
    let accepted_at = record.accepted_at.unwrap_or(record.at);
    let ours = |cause: &Cause| match cause {
        Cause::Killed(other) | Cause::Frozen(other) => other == path,
        Cause::Clock => path.starts_with(&format!("/{TURNED}-")),
        Cause::Database => true,
        Cause::Answers | Cause::Queue | Cause::Receiver | Cause::Paused => false,
    };
    // Recording is delayed while the database or the daemon is unavailable.
    let mut until = accepted_at + TO_RECORD;
    let mut held: Vec<&Entry> = entries.iter().filter(|entry| ours(&entry.cause)).collect();
    held.sort_by_key(|entry| entry.from);
    for entry in &held {
        if entry.from <= until && entry.to > record.at {
            until = until.max(entry.to + TO_RECORD);
        }
    }
    let meets = |entry: &&Entry| match entry.cause {
        Cause::Killed(_) | Cause::Database | Cause::Clock => {
            ours(&entry.cause) && entry.from <= until && entry.to + CLOCKS >= record.at
        }
        // Requests accepted before the fault have been answered.
        Cause::Answers => entry.from <= accepted_at + CLOCKS && entry.to + CLOCKS >= record.at,
        _ => false,
    };
    entries.iter().find(meets).map(|entry| entry.cause.to_string())
}

/// Reports a late greeting as a violation unless a fault explains it: a fault between the time it could be sent and its acceptance,
/// which ended at most [`RECOVERY`] before the acceptance.
fn late(
    verdict: &mut Verdict,
    event: &Event,
    accepted: &[&&Record],
    entries: &[Entry],
    started_at: DateTime<Utc>,
) {
    // A redrive sets `late_from` to its own time, so acceptances before the redrive do not count.
    let redriven_at = (event.late_from - started_at).to_std().unwrap_or_default();
    let counts = |at: &Duration| !event.redriven || *at >= redriven_at;
    let Some(accepted_at) = accepted.iter().filter_map(|record| record.accepted_at).filter(counts).min()
    else {
        return;
    };
    let sendable_at = event.late_from.max(event.created_at).max(started_at);
    let sendable_at = (sendable_at - started_at).to_std().unwrap_or_default();
    if accepted_at.saturating_sub(sendable_at) <= LATE_AFTER {
        return;
    }
    let overlap = |entry: &Entry| entry.to.min(accepted_at).saturating_sub(entry.from.max(sendable_at));
    let meets = |entry: &&Entry| {
        let after = match entry.cause {
            Cause::Queue | Cause::Database => PAUSES,
            _ => CLOCKS,
        };
        entry.from <= accepted_at && entry.to + after >= sendable_at && accepted_at <= entry.to + RECOVERY
    };
    let cause = entries.iter().filter(meets).max_by_key(|entry| overlap(entry));
    let excuse = match cause {
        Some(entry) => entry.cause.to_string(),
        None if event.kind == ADDED_KIND => "two daemons lack the kind".to_owned(),
        None => {
            let secs = accepted_at.saturating_sub(sendable_at).as_secs_f64();
            return verdict
                .broken(event.id, format!("{} is {secs:.1} s late; no fault explains it", event.id));
        }
    };
    *verdict.counts.late.entry(excuse).or_default() += 1;
}
