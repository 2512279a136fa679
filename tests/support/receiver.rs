//! A webhook receiver over HTTP with scripted behaviour, which records requests.
//!
//! Tests use it to decide what was delivered: "accepted" means that the receiver responded, or began to respond, with a
//! 2xx. It depends only on the header `webhook-id`, not on the daemon.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bday::clock::{Clock, SystemClock};
use tokio::sync::watch;

use super::http::{Reply, Request, Server, Service, Step, head_of};
use super::wait::DEADLINE;

/// The response to one request.
#[derive(Debug, Clone)]
pub(crate) enum Behaviour {
    /// Responds with the status and an empty body.
    Status(u16),
    /// Responds with the status, header lines (each ends in `\r\n`) and a body.
    Answer(u16, String, Vec<u8>),
    /// Another behaviour after a delay.
    After(Duration, Box<Behaviour>),
    /// Reads the request, and does not respond.
    Hang,
    /// Reads the request, then resets the connection.
    Reset,
    /// Sends the head of a 200 with a body, then resets the connection.
    ResetAfterHead,
    /// Responds with 200 and an endless body.
    EndlessBody,
    /// Responds with 200, one byte at a time, with this pause between bytes.
    SlowBytes(Duration),
    /// Responds with 200, and sends the body one byte at a time, with this pause between bytes.
    SlowBody(Duration),
    /// Sends bytes, such as invalid or partial HTTP, then closes the connection.
    Bytes(Vec<u8>),
    /// Sends the first bytes once, then the second repeatedly.
    Flood(Vec<u8>, Vec<u8>),
}

impl Behaviour {
    /// Accepts after a delay.
    pub(crate) fn slow(delay: Duration) -> Self {
        Self::After(delay, Box::new(Self::Status(200)))
    }

    /// Returns whether the status is 2xx. A response that is cut off after its head counts.
    fn accepts(&self) -> bool {
        match self {
            Self::Status(status) | Self::Answer(status, ..) => (200..300).contains(status),
            Self::After(_, then) => then.accepts(),
            Self::ResetAfterHead | Self::EndlessBody | Self::SlowBytes(_) | Self::SlowBody(_) => true,
            Self::Hang | Self::Reset | Self::Bytes(_) | Self::Flood(..) => false,
        }
    }

    fn pause(&self) -> Duration {
        match self {
            Self::After(pause, then) => *pause + then.pause(),
            _ => Duration::ZERO,
        }
    }

    pub(crate) fn reply(self) -> Reply {
        let mut head = Vec::new();
        match self {
            Self::Status(status) => Reply::Whole { status, headers: String::new(), body: Vec::new() },
            Self::Answer(status, headers, body) => Reply::Whole { status, headers, body },
            Self::After(_, then) => then.reply(),
            Self::Hang => Reply::Steps(vec![Step::Hang]),
            Self::Reset => Reply::Steps(vec![Step::Reset]),
            Self::ResetAfterHead => {
                head_of(&mut head, 200, "", Some(1000));
                // Lets the peer read the head: a reset discards data that the peer has not read.
                Reply::Steps(vec![Step::Write(head), Step::Wait(Duration::from_millis(50)), Step::Reset])
            }
            Self::EndlessBody => {
                head_of(&mut head, 200, "", None);
                Reply::Steps(vec![Step::Write(head), Step::Forever(vec![b'x'; 4096])])
            }
            Self::SlowBytes(pause) => {
                head_of(&mut head, 200, "", Some(0));
                let steps = head.into_iter().flat_map(|byte| [Step::Write(vec![byte]), Step::Wait(pause)]);
                Reply::Steps(steps.collect())
            }
            Self::SlowBody(pause) => {
                head_of(&mut head, 200, "", Some(1000));
                let body = (0..1000).flat_map(|_| [Step::Wait(pause), Step::Write(vec![b'x'])]);
                Reply::Steps([Step::Write(head)].into_iter().chain(body).collect())
            }
            Self::Bytes(bytes) => Reply::Steps(vec![Step::Write(bytes)]),
            Self::Flood(first, again) => Reply::Steps(vec![Step::Write(first), Step::Forever(again)]),
        }
    }
}

/// A received request.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// The header `webhook-id`; empty if missing.
    pub(crate) event_id: String,
    pub(crate) method: String,
    pub(crate) path: String,
    /// Values by name in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// Time of arrival, since the receiver started.
    pub(crate) at: Duration,
    /// Whether the response is a 2xx.
    pub(crate) accepted: bool,
    /// Time of acceptance, since the receiver started.
    pub(crate) accepted_at: Option<Duration>,
}

/// Counts of accepted requests, kept in both modes.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    /// Accepted requests, including repeats.
    pub(crate) accepted: u64,
    /// Accepted requests for an event that was already accepted.
    pub(crate) repeats: u64,
    /// The time of each acceptance, in order.
    pub(crate) arrivals: Vec<Instant>,
    seen: HashSet<u128>,
}

impl Tally {
    /// Returns the number of distinct accepted events.
    pub(crate) fn events(&self) -> usize {
        self.seen.len()
    }
}

pub(crate) struct Receiver {
    server: Server<Inbox>,
}

struct Inbox {
    started: Instant,
    /// Keeps only the tally, not the requests, to save CPU time in benchmarks.
    counting: bool,
    state: Mutex<State>,
    accepted: watch::Sender<u64>,
    received: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    tally: Tally,
    records: Vec<Record>,
    /// Behaviours for events without their own script. The n-th request for an event uses the n-th behaviour; the last one repeats.
    script: Vec<Behaviour>,
    scripts: HashMap<String, Vec<Behaviour>>,
    /// Behaviours of the next requests for any event; they take precedence.
    next: std::collections::VecDeque<Behaviour>,
    attempts: HashMap<String, usize>,
}

impl State {
    fn behaviour(&mut self, event_id: &str) -> Behaviour {
        if let Some(next) = self.next.pop_front() {
            return next;
        }
        let script = self.scripts.get(event_id).unwrap_or(&self.script);
        if script.len() < 2 {
            return script.first().cloned().unwrap_or(Behaviour::Status(200));
        }
        let attempt = self.attempts.entry(event_id.to_owned()).or_default();
        *attempt += 1;
        script[(*attempt).min(script.len()) - 1].clone()
    }
}

impl Receiver {
    /// Starts a receiver that accepts and records every request.
    pub(crate) async fn start() -> Self {
        Self::open(false).await
    }

    /// Starts a receiver that accepts every request and keeps only counts.
    pub(crate) async fn counting() -> Self {
        Self::open(true).await
    }

    async fn open(counting: bool) -> Self {
        let inbox = |_: SocketAddr| Inbox {
            started: SystemClock.monotonic(),
            counting,
            state: Mutex::default(),
            accepted: watch::Sender::new(0),
            received: watch::Sender::new(0),
        };
        Self { server: Server::start(inbox).await }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns the webhook URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.server.address())
    }

    /// Sets the script: the n-th request for each event uses the n-th behaviour; the last one repeats.
    pub(crate) fn script(&self, script: impl IntoIterator<Item = Behaviour>) {
        let mut state = self.state();
        state.script = script.into_iter().collect();
        state.attempts.clear();
    }

    /// Sets the script of one event.
    pub(crate) fn script_for(&self, event_id: &str, script: impl IntoIterator<Item = Behaviour>) {
        let mut state = self.state();
        state.attempts.remove(event_id);
        state.scripts.insert(event_id.to_owned(), script.into_iter().collect());
    }

    /// Sets the behaviours of the next requests for any event. Afterwards the scripts apply again.
    pub(crate) fn next(&self, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.state().next.extend(behaviours);
    }

    /// Closes every connection and refuses new ones.
    pub(crate) async fn refuse(&self) {
        self.server.shut().await;
    }

    /// Resumes accepting connections, on the same port.
    pub(crate) async fn accept(&self) {
        self.server.reopen().await;
    }

    /// Returns all requests in the order of arrival; empty if the receiver only counts.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.state().records.clone()
    }

    /// Returns the number of acceptances of each event; empty if the receiver only counts.
    pub(crate) fn accepted(&self) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        for record in self.state().records.iter().filter(|record| record.accepted) {
            *times.entry(record.event_id.clone()).or_default() += 1;
        }
        times
    }

    /// Returns the counts, in both modes.
    pub(crate) fn tally(&self) -> Tally {
        self.state().tally.clone()
    }

    /// Clears the requests and counts, but keeps the scripts.
    pub(crate) fn clear(&self) {
        let mut state = self.state();
        state.tally = Tally::default();
        state.records.clear();
        self.server.service().accepted.send_replace(0);
        self.server.service().received.send_replace(0);
    }

    /// Waits until `n` requests have been accepted, including repeats.
    pub(crate) async fn until_accepted(&self, n: u64) {
        self.until(&self.server.service().accepted, "accepted", n).await;
    }

    /// Waits until `n` requests have been received, accepted or not.
    pub(crate) async fn until_received(&self, n: u64) {
        self.until(&self.server.service().received, "received", n).await;
    }

    async fn until(&self, count: &watch::Sender<u64>, what: &str, n: u64) {
        let mut seen = count.subscribe();
        let enough = tokio::time::timeout(DEADLINE, seen.wait_for(|count| *count >= n)).await;
        assert!(
            enough.is_ok(),
            "timed out after {DEADLINE:?}: expected {n} requests to be {what}, but {} were",
            *count.borrow()
        );
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.server.service().lock()
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an accepted request to the tally. `position` is its number among the records, if they are kept.
    fn count(&self, event_id: &str, position: usize) {
        let accepted = {
            let mut state = self.lock();
            if let Some(record) = position.checked_sub(1).and_then(|at| state.records.get_mut(at)) {
                record.accepted = true;
                record.accepted_at = Some(self.started.elapsed());
            }
            let tally = &mut state.tally;
            tally.accepted += 1;
            tally.arrivals.push(SystemClock.monotonic());
            if !tally.seen.insert(key(event_id)) {
                tally.repeats += 1;
            }
            tally.accepted
        };
        // A later request may already have sent a higher count, since the lock is released.
        self.accepted.send_modify(|count| *count = accepted.max(*count));
    }
}

/// Returns a compact key of an event id: the UUID, or a hash of other text.
fn key(event_id: &str) -> u128 {
    uuid::Uuid::parse_str(event_id).map_or_else(
        |_| {
            use std::hash::{DefaultHasher, Hash, Hasher};
            let mut hasher = DefaultHasher::new();
            event_id.hash(&mut hasher);
            u128::from(hasher.finish())
        },
        |id| id.as_u128(),
    )
}

impl Service for Inbox {
    async fn call(&self, request: Request<'_>) -> Reply {
        let event_id = request.header("webhook-id").unwrap_or_default();
        let (behaviour, position) = {
            let mut state = self.lock();
            let behaviour = state.behaviour(event_id);
            if !self.counting {
                state.records.push(Record {
                    event_id: event_id.to_owned(),
                    method: request.method.to_owned(),
                    path: request.path.to_owned(),
                    headers: headers(&request),
                    body: request.body.to_vec(),
                    at: self.started.elapsed(),
                    accepted: false,
                    accepted_at: None,
                });
            }
            (behaviour, state.records.len())
        };
        if !self.counting {
            self.received.send_modify(|count| *count += 1);
        }
        let pause = behaviour.pause();
        if !pause.is_zero() {
            // If the sender closes the connection during the pause, this future is dropped and nothing is accepted.
            tokio::time::sleep(pause).await;
        }
        if behaviour.accepts() {
            self.count(event_id, position);
        }
        behaviour.reply()
    }
}

fn headers(request: &Request<'_>) -> BTreeMap<String, String> {
    let text = |header: &httparse::Header<'_>| {
        (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned())
    };
    request.headers.iter().map(text).collect()
}
