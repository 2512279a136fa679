//! A webhook receiver over real HTTP that does as it is told, and remembers what it was sent.
//!
//! It is the judge of every test: "accepted" means that a 2xx was on its way back to the sender. It knows nothing of
//! the daemon but the `webhook-id` header.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bday::clock::{Clock, SystemClock};
use tokio::sync::watch;

use super::http::{Reply, Request, Server, Service, Step, head_of};
use super::wait::DEADLINE;

/// What one request gets.
#[derive(Debug, Clone)]
pub(crate) enum Behaviour {
    /// The status and an empty body.
    Status(u16),
    /// The status, header lines (each ended by `\r\n`) and a body.
    Answer(u16, String, Vec<u8>),
    /// The other behaviour, after a while.
    After(Duration, Box<Behaviour>),
    /// The request is read, and nothing is answered.
    Hang,
    /// The request is read, and the connection is reset.
    Reset,
    /// A 200 whose promised body never comes, but a reset does.
    ResetAfterHead,
    /// A 200 whose body does not end.
    EndlessBody,
    /// A 200, one byte at a time with the pause between them.
    SlowBytes(Duration),
    /// A 200 whose body comes one byte at a time with the pause between them.
    SlowBody(Duration),
    /// Bytes that are no HTTP, or half of it; then the connection closes.
    Bytes(Vec<u8>),
    /// The first bytes, and then the second again and again.
    Flood(Vec<u8>, Vec<u8>),
}

impl Behaviour {
    /// Accepts, after a while.
    pub(crate) fn slow(delay: Duration) -> Self {
        Self::After(delay, Box::new(Self::Status(200)))
    }

    /// Whether the sender is told 2xx. A 2xx that breaks off after its head counts: it has been said.
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

    fn reply(self) -> Reply {
        let mut head = Vec::new();
        match self {
            Self::Status(status) => Reply::Whole { status, headers: String::new(), body: Vec::new() },
            Self::Answer(status, headers, body) => Reply::Whole { status, headers, body },
            Self::After(_, then) => then.reply(),
            Self::Hang => Reply::Steps(vec![Step::Hang]),
            Self::Reset => Reply::Steps(vec![Step::Reset]),
            Self::ResetAfterHead => {
                head_of(&mut head, 200, "", Some(1000));
                // Long enough for the head to be read: a reset discards what the peer has not taken yet.
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

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// The header `webhook-id`, or empty.
    pub(crate) event_id: String,
    pub(crate) method: String,
    pub(crate) path: String,
    /// By name in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// Since the receiver started.
    pub(crate) at: Duration,
    /// Whether it was, or is going to be, answered with a 2xx.
    pub(crate) accepted: bool,
    /// When that was decided, since the receiver started.
    pub(crate) accepted_at: Option<Duration>,
}

/// What a counting receiver knows.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    /// Accepted requests, repeats included.
    pub(crate) accepted: u64,
    /// Accepted requests for an event that had been accepted before.
    pub(crate) repeats: u64,
    /// Of each accepted request, in order.
    pub(crate) arrivals: Vec<Instant>,
    seen: HashSet<u128>,
}

impl Tally {
    /// How many different events were accepted.
    pub(crate) fn events(&self) -> usize {
        self.seen.len()
    }
}

/// A running receiver.
pub(crate) struct Receiver {
    server: Server<Inbox>,
}

struct Inbox {
    started: Instant,
    /// Keeps no request, only the tally: for a benchmark that shares its cores.
    counting: bool,
    state: Mutex<State>,
    accepted: watch::Sender<u64>,
    received: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    tally: Tally,
    records: Vec<Record>,
    /// For every event without a script of its own: the n-th of its requests gets the n-th, and the last stays.
    script: Vec<Behaviour>,
    scripts: HashMap<String, Vec<Behaviour>>,
    /// For each request whatever its event, as long as there are any.
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
    /// Accepts everything, and keeps every request.
    pub(crate) async fn start() -> Self {
        Self::open(false).await
    }

    /// Accepts everything, and only counts.
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

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Where to send to.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.server.address())
    }

    /// From now on, the n-th request for each event gets the n-th behaviour, and the last stays.
    pub(crate) fn script(&self, script: impl IntoIterator<Item = Behaviour>) {
        let mut state = self.state();
        state.script = script.into_iter().collect();
        state.attempts.clear();
    }

    /// The same for one event.
    pub(crate) fn script_for(&self, event_id: &str, script: impl IntoIterator<Item = Behaviour>) {
        let mut state = self.state();
        state.attempts.remove(event_id);
        state.scripts.insert(event_id.to_owned(), script.into_iter().collect());
    }

    /// For the next requests, whatever their event; afterwards the scripts hold again.
    pub(crate) fn next(&self, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.state().next.extend(behaviours);
    }

    /// Cuts every connection and refuses new ones.
    pub(crate) async fn refuse(&self) {
        self.server.shut().await;
    }

    /// Accepts connections again, on the same port.
    pub(crate) async fn accept(&self) {
        self.server.reopen().await;
    }

    /// Every request so far in the order of arrival; none where it only counts.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.state().records.clone()
    }

    /// How often each event was accepted; none where it only counts.
    pub(crate) fn accepted(&self) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        for record in self.state().records.iter().filter(|record| record.accepted) {
            *times.entry(record.event_id.clone()).or_default() += 1;
        }
        times
    }

    /// The counts, in either mode.
    pub(crate) fn tally(&self) -> Tally {
        self.state().tally.clone()
    }

    /// Forgets what came, but not how to behave.
    pub(crate) fn clear(&self) {
        let mut state = self.state();
        state.tally = Tally::default();
        state.records.clear();
        self.server.service().accepted.send_replace(0);
        self.server.service().received.send_replace(0);
    }

    /// Waits until `n` requests have been accepted, repeats included.
    pub(crate) async fn until_accepted(&self, n: u64) {
        self.until(&self.server.service().accepted, "accepted", n).await;
    }

    /// Waits until `n` requests have come, accepted or not.
    pub(crate) async fn until_received(&self, n: u64) {
        self.until(&self.server.service().received, "received", n).await;
    }

    async fn until(&self, count: &watch::Sender<u64>, what: &str, n: u64) {
        let mut seen = count.subscribe();
        let enough = tokio::time::timeout(DEADLINE, seen.wait_for(|count| *count >= n)).await;
        // The sender lives as long as we do.
        assert!(
            enough.is_ok(),
            "waited {DEADLINE:?} for {n} requests to be {what}; {} were",
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

    /// Enters an accepted request, the `position`-th of the records where they are kept, into the tally.
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
        // Another request may have overtaken this one since the lock was given back.
        self.accepted.send_modify(|count| *count = accepted.max(*count));
    }
}

/// Event ids are UUIDs; any other text keeps its own key, too.
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
            // When the sender hangs up meanwhile, this call is dropped, and nothing was accepted.
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
