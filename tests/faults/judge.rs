//! Every rule, against the receiver's own record and the database.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::journal::{Cause, Entry};
use super::place::Place;
use super::plan::MOST_SKEW_MS;
use super::support::receiver::Record;

/// From an acceptance to its record, when nothing is in the way: milliseconds, but the machine may be busy.
const TO_RECORD: Duration = Duration::from_secs(3);
/// The journal and the receiver began to count within this.
const CLOCKS: Duration = Duration::from_millis(100);
/// The most that the turned clock is ahead, and a bit.
const EARLIEST: TimeDelta = TimeDelta::milliseconds(MOST_SKEW_MS + 100);

/// What there was to count.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counts {
    events: u64,
    requests: u64,
    /// How many of the requests were made while faults were being injected.
    pub(crate) amid_faults: u64,
    /// By state, and for the undelivered by reason.
    ends: BTreeMap<String, u64>,
    /// Events that were accepted more than once, by what explains it.
    repeats: BTreeMap<String, u64>,
}

impl AddAssign<&Self> for Counts {
    fn add_assign(&mut self, other: &Self) {
        self.events += other.events;
        self.requests += other.requests;
        self.amid_faults += other.amid_faults;
        for (ours, theirs) in [(&mut self.ends, &other.ends), (&mut self.repeats, &other.repeats)] {
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
        let repeats: u64 = self.repeats.values().sum();
        write!(
            f,
            "{} events: {}; {} requests, {} amid faults, {repeats} repeats",
            self.events,
            list(&self.ends),
            self.requests,
            self.amid_faults
        )?;
        if repeats > 0 {
            write!(f, " ({})", list(&self.repeats))?;
        }
        Ok(())
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) counts: Counts,
    pub(crate) violations: Vec<String>,
    /// The events that the violations are about.
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
    state: String,
    reason: Option<String>,
    attempts: i16,
    due_at: DateTime<Utc>,
    /// Its user was deleted: it has another id than it was sent under, and no times.
    blurred: bool,
    /// The numbers of the attempts on record, in order.
    recorded: Vec<i16>,
    /// When requests began that ended without an answer, and when they ended.
    unanswered: Vec<DateTime<Utc>>,
    unanswered_until: Vec<DateTime<Utc>>,
}

const EVENTS: &str = "
SELECT e.id, e.user_id, e.state::text, e.reason, e.attempts, e.due_at,
       e.finished_at IS NOT DISTINCT FROM make_timestamptz(e.local_year + 1, 1, 1, 0, 0, 0, 'UTC') AS blurred,
       coalesce(array_agg(a.number ORDER BY a.number) FILTER (WHERE a.number IS NOT NULL), '{}') AS recorded,
       coalesce(array_agg(a.started_at ORDER BY a.number) FILTER (WHERE a.reason = 'timeout' AND a.started_at IS NOT NULL), '{}') AS unanswered,
       coalesce(array_agg(a.finished_at ORDER BY a.number) FILTER (WHERE a.reason = 'timeout' AND a.started_at IS NOT NULL), '{}') AS unanswered_until
FROM events e LEFT JOIN attempts a ON a.event_id = e.id
GROUP BY e.id ORDER BY e.due_at";

/// How many events have not ended.
pub(crate) async fn open(place: &Place) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM events WHERE state IN ('pending', 'queued', 'delivering')")
        .fetch_one(&place.pool)
        .await
}

/// Judges a run that is quiet.
pub(crate) async fn judge(place: &Place, people: u32) -> Verdict {
    let events: Vec<Event> = sqlx::query_as(EVENTS).fetch_all(&place.pool).await.unwrap();
    let records = place.receiver.records();
    let mut requests: HashMap<Uuid, Vec<&Record>> = HashMap::new();
    let mut verdict = Verdict::default();
    let blurred = events.iter().filter(|event| event.blurred);
    let blurred: HashMap<String, Uuid> = blurred
        .map(|event| (event.user_id.to_string(), event.id))
        .collect();
    for record in &records {
        let body: serde_json::Value = serde_json::from_slice(&record.body).unwrap_or_default();
        if let Some(id) = body["userId"].as_str().and_then(|user| blurred.get(user)) {
            requests.entry(*id).or_default().push(record);
            continue;
        }
        match record.event_id.parse::<Uuid>() {
            Ok(id) => requests.entry(id).or_default().push(record),
            Err(_) => verdict
                .violations
                .push(format!("a request has the webhook-id {:?}", record.event_id)),
        }
    }
    verdict.counts.events = events.len() as u64;
    verdict.counts.requests = records.len() as u64;
    if events.len() != people as usize {
        verdict
            .violations
            .push(format!("{people} people have {} events", events.len()));
    }
    let known: BTreeSet<Uuid> = events.iter().map(|event| event.id).collect();
    for stranger in requests.keys().filter(|id| !known.contains(id)) {
        verdict
            .violations
            .push(format!("{stranger} was sent and is no event"));
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
    let Event {
        id,
        state,
        reason,
        attempts,
        ..
    } = event;
    let reason = reason.as_deref().unwrap_or("");
    let end = format!("{state} {reason}");
    *verdict.counts.ends.entry(end.trim_end().to_owned()).or_default() += 1;

    // Nothing lost.
    match state.as_str() {
        "delivered" => {}
        "dead" | "cancelled" | "skipped" if !reason.is_empty() => {}
        state => verdict.broken(*id, format!("{id} is {state} {reason:?}")),
    }
    // The same id, and the body that belongs to it.
    for record in requests {
        let body: serde_json::Value = serde_json::from_slice(&record.body).unwrap_or_default();
        let sent_as = requests[0].event_id.as_str();
        let id = if event.blurred {
            sent_as.to_owned()
        } else {
            id.to_string()
        };
        if body["eventId"] != id || body["userId"] != event.user_id.to_string() {
            verdict.broken(event.id, format!("{id} was sent with the body {body}"));
        }
        if started_at + record.at < event.due_at - EARLIEST {
            verdict.broken(event.id, format!("{id} was sent before it was due"));
        }
    }
    // Attempts are counted before a request leaves, and each is on record.
    if requests.len() > usize::from(attempts.unsigned_abs()) {
        verdict.broken(
            *id,
            format!("{id} was sent {} times in {attempts} attempts", requests.len()),
        );
    }
    if *state == "delivered" && !event.recorded.iter().copied().eq(1..=*attempts) {
        let recorded = &event.recorded;
        verdict.broken(
            *id,
            format!("{id} has had {attempts} attempts; on record are {recorded:?}"),
        );
    }
    // Delivered if and only if accepted, and once: an acceptance too many must have gone unheard for a reason.
    let accepted: Vec<&&Record> = requests.iter().filter(|record| record.accepted).collect();
    let heard = usize::from(*state == "delivered");
    if accepted.len() < heard {
        verdict.broken(
            *id,
            format!("{id} is delivered, and the receiver does not have it"),
        );
    }
    let mut excuses: Vec<String> = accepted
        .iter()
        .filter_map(|record| excuse(record, event, entries, started_at))
        .collect();
    // The times that could explain it are deleted with the user.
    if accepted.len() > heard + excuses.len() && !event.blurred {
        verdict.broken(
            *id,
            format!(
                "{id} is {state}, was accepted {} times, and only {excuses:?} explain it",
                accepted.len()
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

/// Why the daemon may not have learned, or not have written down, that this request was accepted.
fn excuse(record: &Record, event: &Event, entries: &[Entry], started_at: DateTime<Utc>) -> Option<String> {
    let accepted_at = record.accepted_at.unwrap_or(record.at);
    let path = record.path.trim_start_matches("/hook");
    let still = entries
        .iter()
        .filter(|entry| entry.cause == Cause::Frozen(path.to_owned()) && entry.to >= record.at)
        .map(|entry| entry.to.saturating_sub(entry.from))
        .sum::<Duration>();
    let meets = |entry: &&Entry| {
        let until = accepted_at + TO_RECORD + still;
        let overlaps = entry.from <= until && entry.to + CLOCKS >= record.at;
        match &entry.cause {
            Cause::Killed(killed) => killed == path && overlaps,
            Cause::Database => overlaps,
            Cause::Frozen(_) => false,
            // What was accepted before is answered already.
            Cause::Answers => entry.from <= accepted_at + CLOCKS && entry.to + CLOCKS >= record.at,
        }
    };
    if let Some(entry) = entries.iter().find(meets) {
        return Some(entry.cause.to_string());
    }
    // A machine that was too slow for a timeout of 2 s.
    let at = started_at + record.at;
    let late = |(from, to): (&DateTime<Utc>, &DateTime<Utc>)| {
        let slack = TimeDelta::seconds(5);
        (*from - slack..=*to + slack).contains(&at)
    };
    let slow = event.unanswered.iter().zip(&event.unanswered_until).any(late);
    slow.then(|| "no answer came in time".to_owned())
}
