//! Checks every rule against the requests that the receivers recorded, and the database.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

use bday::model::{BIRTHDAY, ChannelName};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::journal::{Cause, Entry};
use super::place::Place;
use super::plan::{ADDS_A_KIND, MOST_SKEW_MS, TURNED};
use super::sent::{ADDED_KIND, CHANNELS, Sent, key_of};

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
/// `retry.max_attempts`.
const MAX_ATTEMPTS: i16 = 5;
/// The greatest difference between the origins of the journal's and the receivers' times.
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
    /// Events by state, and by channel or reason.
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
    /// None before the first attempt, and after the last channel has refused the contact.
    channel: Option<String>,
    /// None if the user was deleted.
    external_id: Option<String>,
    email: Option<String>,
    attempts: i16,
    late_from: DateTime<Utc>,
    created_at: DateTime<Utc>,
    /// Attempts since the last redrive that count against the limit.
    counted: i16,
    redriven: bool,
    /// The user was deleted, so that the event has a new id and no times.
    blurred: bool,
    /// Numbers of the ended attempts, in order.
    recorded: Vec<i16>,
    /// Number of attempts with an unknown outcome, which may have been accepted.
    unknown: i64,
    /// Another channel was used after an unknown outcome.
    strayed: bool,
}

impl Event {
    /// Whether an address, as [`key_of`] shortens it, belongs to the user.
    fn is_of(&self, key: &str) -> bool {
        key == key_of(&self.user_id.to_string()) || self.external_id.as_deref() == Some(key)
    }
}

const EVENTS: &str = "
SELECT e.id, e.user_id, e.kind, e.state::text, e.reason, e.channel, u.external_id, p.address AS email, e.attempts, e.late_from, e.created_at,
       e.attempts - e.attempts_not_counted AS counted, e.redriven_at IS NOT NULL AS redriven,
       e.finished_at IS NOT DISTINCT FROM make_timestamptz(e.local_year + 1, 1, 1, 0, 0, 0, 'UTC') AS blurred,
       coalesce(array_agg(a.number ORDER BY a.number) FILTER (WHERE a.number IS NOT NULL), '{}') AS recorded,
       count(*) FILTER (WHERE a.outcome = 'unknown') AS unknown,
       EXISTS (SELECT FROM ended_attempts x JOIN ended_attempts y ON y.event_id = x.event_id AND y.number > x.number
               WHERE x.event_id = e.id AND x.outcome = 'unknown' AND y.channel <> x.channel) AS strayed
FROM events e LEFT JOIN ended_attempts a ON a.event_id = e.id LEFT JOIN users u ON u.id = e.user_id
LEFT JOIN contact_points p ON p.user_id = e.user_id AND p.type = 'email'
GROUP BY e.id, u.external_id, p.address ORDER BY e.late_from";

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
    let sent = place.receivers.sent();
    let mut verdict = Verdict::default();
    let requests = by_event(&mut verdict, &events, &sent);
    verdict.counts.events = events.len() as u64;
    verdict.counts.requests = sent.len() as u64;
    for channel in CHANNELS {
        if !sent.iter().any(|sent| sent.channel == channel && sent.accepted_at.is_some()) {
            verdict.violations.push(format!("nothing was accepted by {channel}"));
        }
    }
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

/// Returns the requests for each event. The event of a deleted user has a new id, and a mail may be refused before its id is known:
/// such requests are found by their user and kind.
fn by_event<'a>(verdict: &mut Verdict, events: &[Event], sent: &'a [Sent]) -> HashMap<Uuid, Vec<&'a Sent>> {
    let mut by_user: HashMap<(String, &str), &Event> = HashMap::new();
    for event in events {
        for key in [Some(key_of(&event.user_id.to_string())), event.external_id.clone()].into_iter().flatten()
        {
            by_user.insert((key, event.kind.as_str()), event);
        }
    }
    let mut requests: HashMap<Uuid, Vec<&Sent>> = HashMap::new();
    for one in sent {
        let event = by_user.get(&(one.user.clone(), one.kind));
        let id = match event {
            Some(event) if event.blurred || one.event_id.is_none() => Some(event.id),
            _ => one.event_id.as_ref().and_then(|id| id.parse().ok()),
        };
        match id {
            Some(id) => requests.entry(id).or_default().push(one),
            None => verdict.violations.push(format!("a request is of no event: {one:?}")),
        }
    }
    requests
}

fn one(
    verdict: &mut Verdict,
    event: &Event,
    requests: &[&Sent],
    entries: &[Entry],
    started_at: DateTime<Utc>,
) {
    let Event { id, state, reason, attempts, .. } = event;
    let reason = reason.as_deref().unwrap_or("");
    let end = match &event.channel {
        Some(channel) if state == "delivered" => format!("{state} by {channel}"),
        _ => format!("{state} {reason}"),
    };
    *verdict.counts.ends.entry(end.trim_end().to_owned()).or_default() += 1;

    // Every event has ended.
    match state.as_str() {
        "delivered" => {}
        "dead" | "cancelled" | "skipped" if !reason.is_empty() => {}
        state => verdict.broken(*id, format!("{id} is {state} {reason:?}")),
    }
    for sent in requests {
        check_request(verdict, event, sent, requests, started_at);
    }
    check_route(verdict, event, requests);
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
    let accepted: Vec<&&Sent> = requests.iter().filter(|sent| sent.accepted_at.is_some()).collect();
    let heard = usize::from(*state == "delivered");
    if accepted.len() < heard {
        verdict.broken(*id, format!("{id} is delivered, but the receiver did not accept it"));
    }
    if !event.blurred {
        late(verdict, event, requests, entries, started_at);
    }
    let mut excuses: Vec<String> = accepted.iter().filter_map(|sent| excuse(sent, entries)).collect();
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

fn check_request(
    verdict: &mut Verdict,
    event: &Event,
    sent: &Sent,
    requests: &[&Sent],
    started_at: DateTime<Utc>,
) {
    let id = event.id;
    let sent_as = if event.blurred {
        requests.iter().find_map(|sent| sent.event_id.clone())
    } else {
        Some(id.to_string())
    };
    if sent.event_id.is_some() && sent.event_id != sent_as || !event.is_of(&sent.user) {
        verdict.broken(id, format!("{id} was sent as {:?} to {}", sent.event_id, sent.user));
    }
    if let Some(fault) = &sent.fault {
        verdict.broken(id, format!("{id} was sent with {fault}"));
    }
    // A redrive moves `late_from`.
    if !event.redriven && !event.blurred && started_at + sent.at < event.late_from - EARLIEST {
        verdict.broken(id, format!("{id} was sent before it was due"));
    }
    if event.kind == ADDED_KIND && !sent.sender.starts_with(&format!("{ADDS_A_KIND}-")) {
        verdict.broken(id, format!("{id} was sent by {}, which lacks its kind", sent.sender));
    }
}

/// One channel at most accepts an event, and the next is tried only after a definite refusal of the contact.
fn check_route(verdict: &mut Verdict, event: &Event, requests: &[&Sent]) {
    let Event { id, state, reason, channel, unknown, .. } = event;
    let accepting = requests.iter().filter(|sent| sent.accepted_at.is_some());
    let accepting: BTreeSet<ChannelName> = accepting.map(|sent| sent.channel).collect();
    if accepting.len() > 1 {
        verdict.broken(*id, format!("{id} was accepted by several channels: {accepting:?}"));
    }
    if *state == "delivered" && accepting.iter().any(|by| channel.as_deref() != Some(by.as_str())) {
        verdict.broken(*id, format!("{id} is delivered by {channel:?}, but was accepted by {accepting:?}"));
    }
    // A redrive after a bounce chooses the channel again.
    if event.strayed && !event.redriven {
        verdict.broken(*id, format!("{id} was sent by another channel after an unknown outcome"));
    }
    // The webhook reaches everyone, and is the last channel of the birthday.
    let used: BTreeSet<ChannelName> = requests.iter().map(|sent| sent.channel).collect();
    if event.kind != BIRTHDAY && used.iter().any(|used| *used != ChannelName::Webhook) {
        verdict.broken(*id, format!("{id} was sent by {used:?}"));
    }
    let is_refused = event.email.as_ref().is_some_and(|email| email.starts_with("refused-"));
    if is_refused && channel.as_deref() == Some("mail") && *state == "delivered" {
        verdict.broken(*id, format!("{id} was delivered to an address that does not exist"));
    }
    if reason.as_deref() == Some("bounced") && *unknown == 0 && event.counted < MAX_ATTEMPTS {
        verdict.broken(*id, format!("{id} is dead, but the webhook was not tried"));
    }
}

/// Returns the fault that explains why the daemon did not learn of, or did not record, the acceptance of this request: a fault while
/// it was in flight or while its outcome was not recorded yet.
fn excuse(record: &Sent, entries: &[Entry]) -> Option<String> {
    let accepted_at = record.accepted_at.unwrap_or(record.at);
    let ours = |cause: &Cause| match cause {
        Cause::Killed(daemon) | Cause::Frozen(daemon) => *daemon == record.sender,
        Cause::Clock => record.sender.starts_with(&format!("{TURNED}-")),
        Cause::Database => true,
        Cause::Answers(_) | Cause::Queue | Cause::Receiver(_) | Cause::Paused => false,
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
        Cause::Answers(channel) if channel != record.channel => false,
        Cause::Answers(_) => entry.from <= accepted_at + CLOCKS && entry.to + CLOCKS >= record.at,
        _ => false,
    };
    entries.iter().find(meets).map(|entry| entry.cause.to_string())
}

/// Reports a late greeting as a violation unless a fault explains it: a fault between the time it could be sent and its acceptance,
/// which ended at most [`RECOVERY`] before the acceptance.
fn late(
    verdict: &mut Verdict,
    event: &Event,
    requests: &[&Sent],
    entries: &[Entry],
    started_at: DateTime<Utc>,
) {
    // A redrive sets `late_from` to its own time, so acceptances before the redrive do not count.
    let redriven_at = (event.late_from - started_at).to_std().unwrap_or_default();
    let counts = |at: &Duration| !event.redriven || *at >= redriven_at;
    let Some(accepted_at) = requests.iter().filter_map(|sent| sent.accepted_at).filter(counts).min() else {
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
            // A receiver delays the events of its own channel only.
            Cause::Receiver(channel) | Cause::Answers(channel)
                if requests.iter().all(|sent| sent.channel != channel) =>
            {
                return false;
            }
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
