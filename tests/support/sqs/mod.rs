//! SQS over real HTTP, in memory, for the SDK that production uses: standard queues, and faults on request.
//!
//! Written here since what there is does not carry the tests. `winterbaume-sqs` 0.2 moves no message in a move task,
//! counts a message that was received and given back as neither visible nor in flight, answers one bad batch entry by
//! failing the whole call, reads a visibility of 0 as the default, and shifts the whole backlog at each delete (with
//! 100,000 waiting the benchmark would measure that). `ministack` and `moto` are Python, and slow.
//!
//! Kept as the service documents it: batches of 1 to 10 with distinct ids and a result each; long polls; visibility,
//! its 12 hours counted from the receive; receive counts; a message received `maxReceiveCount` times goes to the
//! dead-letter queue when it would be received again; move tasks; attributes; error codes.
//!
//! Known differences from the real one:
//! - A stale receipt handle never deletes. (SQS says it may or may not: this is the harsher of the two.)
//! - Order is kept, and nothing is delivered twice, unless a test asks for it; SQS promises neither.
//! - Counts are exact, and a new queue or attribute holds at once; SQS takes up to a minute.
//! - A message that goes to the dead-letter queue keeps its id and its count of receives.
//! - A move task runs to its end at once. A message so moved gets a new id, as in SQS.
//! - Not there: FIFO queues, retention, tags, permissions, signatures (any are accepted), MD5 of message attributes,
//!   the 120,000 in-flight limit, the older XML protocol.

mod actions;
mod error;
mod messages;
mod queue;
mod wire;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;

pub(crate) use self::queue::Counts;
use self::queue::{Moment, Queue};
use super::http::{Reply, Request, Server, Service, Step};
use super::wait::within;

/// The header of every answer.
const CONTENT_TYPE: &str = "content-type: application/x-amz-json-1.0\r\n";
/// The account in ARNs and URLs.
const ACCOUNT: &str = "000000000000";
/// The region in ARNs.
const REGION: &str = "us-east-1";
/// Of a message, and of a whole batch, in bytes.
const LARGEST_BODY: usize = 1 << 20;

/// How the endpoint misbehaves; by default it does not. `…_every: n` hits each n-th case, 0 none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// Every request is answered 503, with nothing done.
    pub(crate) unavailable: bool,
    /// Before an action is carried out.
    pub(crate) delay: Duration,
    /// Entries of `SendMessageBatch` that end under `Failed`, inside a 200.
    pub(crate) fail_send_entry_every: u64,
    /// The same for `DeleteMessageBatch`.
    pub(crate) fail_delete_entry_every: u64,
    /// Requests that are carried out and then answered by a reset of the connection.
    pub(crate) lose_answer_every: u64,
    /// Messages that are delivered a second time, under a handle of its own.
    pub(crate) duplicate_every: u64,
    /// Messages come in any order.
    pub(crate) shuffle: bool,
}

/// A running endpoint.
pub(crate) struct Sqs {
    server: Server<Endpoint>,
}

struct Endpoint {
    address: SocketAddr,
    clock: bday::clock::SystemClock,
    started: std::time::Instant,
    skipped: Mutex<Duration>,
    queues: RwLock<HashMap<String, Arc<Slot>>>,
    faults: Mutex<Faults>,
    calls: Mutex<HashMap<String, u64>>,
    tickets: [AtomicU64; 3],
    messages: AtomicU64,
}

struct Slot {
    name: String,
    queue: Mutex<Queue>,
    /// Something may have become visible.
    arrived: Notify,
    /// Something changed at all.
    changed: Notify,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sqs {
    /// Serves on a free loopback port.
    pub(crate) async fn start() -> Self {
        use bday::clock::Clock;
        let clock = bday::clock::SystemClock;
        let endpoint = |address| Endpoint {
            address,
            clock,
            started: clock.monotonic(),
            skipped: Mutex::default(),
            queues: RwLock::default(),
            faults: Mutex::default(),
            calls: Mutex::default(),
            tickets: Default::default(),
            messages: AtomicU64::new(0),
        };
        Self { server: Server::start(endpoint).await }
    }

    /// For `AWS_ENDPOINT_URL`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// The URL of a queue, whether or not it exists.
    pub(crate) fn queue_url(&self, name: &str) -> String {
        self.server.service().url(name)
    }

    /// What a process needs in its environment to reach this endpoint.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        [
            ("AWS_ENDPOINT_URL", self.endpoint().as_str()),
            ("AWS_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// The SDK's client for this endpoint. It does not retry: a test sees what was answered.
    pub(crate) fn client(&self) -> aws_sdk_sqs::Client {
        use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(self.endpoint())
            .region(Region::from_static(REGION))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .retry_config(RetryConfig::disabled())
            .build();
        aws_sdk_sqs::Client::from_conf(config)
    }

    /// Changes how the endpoint misbehaves, from the next request on.
    pub(crate) fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.server.service().faults.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Cuts every connection and refuses new ones; queues and messages stay.
    pub(crate) async fn refuse(&self) {
        self.server.shut().await;
    }

    /// Accepts connections again, on the same port.
    pub(crate) async fn accept(&self) {
        self.server.reopen().await;
    }

    /// Lets time pass for every queue at once: visibility timeouts and delays run out.
    pub(crate) fn skip(&self, by: Duration) {
        let endpoint = self.server.service();
        *endpoint.skipped.lock().unwrap_or_else(PoisonError::into_inner) += by;
        for slot in endpoint.slots() {
            slot.arrived.notify_waiters();
            slot.changed.notify_waiters();
        }
    }

    /// How often an action was called, as in `SendMessageBatch`; refused calls count.
    pub(crate) fn calls(&self, action: &str) -> u64 {
        let calls = self.server.service().calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.get(action).copied().unwrap_or_default()
    }

    /// How many messages the queue holds; none where there is no such queue.
    pub(crate) fn counts(&self, name: &str) -> Counts {
        let endpoint = self.server.service();
        let none = Counts { visible: 0, in_flight: 0, delayed: 0 };
        endpoint.slot(name).map_or(none, |slot| slot.lock().counts(endpoint.now()))
    }

    /// The bodies of all messages in the queue, in no order.
    pub(crate) fn bodies(&self, name: &str) -> Vec<String> {
        let slot = self.server.service().slot(name);
        slot.map_or_else(
            |_| Vec::new(),
            |slot| slot.lock().messages().map(|it| it.body.to_string()).collect(),
        )
    }

    /// Waits until the queue's counts are as wished.
    pub(crate) async fn until(&self, what: &str, name: &str, wish: impl Fn(Counts) -> bool) {
        let slot = self.server.service().slot(name).expect("a queue of that name");
        within(what, async {
            loop {
                let changed = slot.changed.notified();
                if wish(self.counts(name)) {
                    return;
                }
                changed.await;
            }
        })
        .await;
    }
}

impl Endpoint {
    fn url(&self, name: &str) -> String {
        format!("http://{}/{ACCOUNT}/{name}", self.address)
    }

    fn now(&self) -> Moment {
        use bday::clock::Clock;
        let skipped = *self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        self.clock.monotonic() - self.started + skipped
    }

    fn wall_ms(&self) -> i64 {
        use bday::clock::Clock;
        self.clock.now().timestamp_millis()
    }

    fn slots(&self) -> Vec<Arc<Slot>> {
        self.queues.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// By name or URL.
    fn slot(&self, name: &str) -> Result<Arc<Slot>, error::Failure> {
        let name = name.rsplit('/').next().unwrap_or_default();
        let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
        queues.get(name).cloned().ok_or_else(error::no_queue)
    }

    fn slot_of_arn(&self, arn: &str) -> Option<Arc<Slot>> {
        self.slot(arn.rsplit(':').next()?).ok()
    }

    fn faults(&self) -> Faults {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the n-th case of this kind is hit.
    fn hit(&self, ticket: Ticket, every: u64) -> bool {
        every > 0 && (self.tickets[ticket as usize].fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(every)
    }
}

/// What is counted for the `…_every` faults.
#[derive(Clone, Copy)]
enum Ticket {
    Send,
    Delete,
    Answer,
}

impl Service for Endpoint {
    async fn call(&self, request: Request<'_>) -> Reply {
        let target = request.header("x-amz-target").and_then(|target| target.strip_prefix("AmazonSQS."));
        let Some(action) = target else {
            return error::Failure::new("InvalidAction", "no X-Amz-Target of SQS").reply();
        };
        {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            match calls.get_mut(action) {
                Some(count) => *count += 1,
                None => drop(calls.insert(action.to_owned(), 1)),
            }
        }
        let faults = self.faults();
        if !faults.delay.is_zero() {
            tokio::time::sleep(faults.delay).await;
        }
        if faults.unavailable {
            let body = br#"{"__type":"ServiceUnavailable","message":"as the test asked"}"#.to_vec();
            return Reply::Whole { status: 503, headers: CONTENT_TYPE.to_owned(), body };
        }
        let reply = match self.act(action, request.body, &faults).await {
            Ok(body) => Reply::Whole { status: 200, headers: CONTENT_TYPE.to_owned(), body },
            Err(failure) => failure.reply(),
        };
        if self.hit(Ticket::Answer, faults.lose_answer_every) {
            Reply::Steps(vec![Step::Reset])
        } else {
            reply
        }
    }
}
