//! An in-memory SQS endpoint over HTTP, for the SDK of the product: standard queues, with fault injection.
//!
//! Existing implementations do not suffice for the tests. `winterbaume-sqs` 0.2 moves no messages in a move task, counts
//! a message that was received and released as neither visible nor in flight, fails a whole batch for one invalid entry,
//! treats a visibility of 0 as the default, and shifts the whole backlog at each delete (which would dominate the
//! benchmark with 100,000 messages). `ministack` and `moto` are written in Python, and slow.
//!
//! Implemented as documented by AWS: batches of 1 to 10 entries with distinct ids and a result each; long polls;
//! visibility of up to 12 hours from the receive; receive counts; a message received `maxReceiveCount` times moves to the
//! dead-letter queue at the next receive; move tasks; attributes; error codes.
//!
//! Differences from SQS:
//! - A stale receipt handle never deletes. SQS may or may not delete; this is the stricter behaviour.
//! - Order is kept, and no message is delivered twice, unless a test requests it. SQS guarantees neither.
//! - Counts are exact, and new queues and attributes take effect at once. SQS takes up to a minute.
//! - A message that moves to the dead-letter queue keeps its id and its receive count.
//! - A move task completes at once. Moved messages get new ids, as in SQS.
//! - Not implemented: FIFO queues, retention, tags, permissions, signatures (any is accepted), MD5 of message attributes,
//!   the limit of 120,000 messages in flight, the older XML protocol.

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

const CONTENT_TYPE: &str = "content-type: application/x-amz-json-1.0\r\n";
/// The account in ARNs and URLs.
const ACCOUNT: &str = "000000000000";
/// The region in ARNs.
const REGION: &str = "us-east-1";
/// Limit of the body of a message, and of all bodies in a batch, in bytes.
const LARGEST_BODY: usize = 1 << 20;

/// Faults to inject; none by default. `…_every: n` affects every n-th case; 0 affects none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// Responds to every request with 503, without executing it.
    pub(crate) unavailable: bool,
    /// Delay before an action is executed.
    pub(crate) delay: Duration,
    /// Entries of `SendMessageBatch` that are reported as `Failed` in a response with status 200.
    pub(crate) fail_send_entry_every: u64,
    /// Entries of `DeleteMessageBatch` that are reported as `Failed` in a response with status 200.
    pub(crate) fail_delete_entry_every: u64,
    /// Requests that are executed, after which the connection is reset instead of a response.
    pub(crate) lose_answer_every: u64,
    /// Messages that are delivered twice, each time with a different handle.
    pub(crate) duplicate_every: u64,
    /// Delivers messages in random order.
    pub(crate) shuffle: bool,
}

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
    /// Notified when messages may have become visible.
    arrived: Notify,
    /// Notified on every change of the queue.
    changed: Notify,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sqs {
    /// Starts an endpoint on a free loopback port.
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

    /// Returns the URL for `AWS_ENDPOINT_URL`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Returns the URL of a queue, whether or not it exists.
    pub(crate) fn queue_url(&self, name: &str) -> String {
        self.server.service().url(name)
    }

    /// Returns the environment variables with which a process uses this endpoint.
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

    /// Returns an SDK client for this endpoint. It does not retry, so that tests receive every error.
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

    /// Changes the injected faults, from the next request on.
    pub(crate) fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.server.service().faults.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Closes every connection and refuses new ones; queues and messages are kept.
    pub(crate) async fn refuse(&self) {
        self.server.shut().await;
    }

    /// Resumes accepting connections, on the same port.
    pub(crate) async fn accept(&self) {
        self.server.reopen().await;
    }

    /// Advances the time of all queues, so that visibility timeouts and delays expire.
    pub(crate) fn skip(&self, by: Duration) {
        let endpoint = self.server.service();
        *endpoint.skipped.lock().unwrap_or_else(PoisonError::into_inner) += by;
        for slot in endpoint.slots() {
            slot.arrived.notify_waiters();
            slot.changed.notify_waiters();
        }
    }

    /// Returns the number of calls of an action, for example `SendMessageBatch`, including rejected calls.
    pub(crate) fn calls(&self, action: &str) -> u64 {
        let calls = self.server.service().calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.get(action).copied().unwrap_or_default()
    }

    /// Returns the number of messages in the queue; zero if the queue does not exist.
    pub(crate) fn counts(&self, name: &str) -> Counts {
        let endpoint = self.server.service();
        let none = Counts { visible: 0, in_flight: 0, delayed: 0 };
        endpoint.slot(name).map_or(none, |slot| slot.lock().counts(endpoint.now()))
    }

    /// Returns the bodies of all messages in the queue, in arbitrary order.
    pub(crate) fn bodies(&self, name: &str) -> Vec<String> {
        let slot = self.server.service().slot(name);
        slot.map_or_else(
            |_| Vec::new(),
            |slot| slot.lock().messages().map(|it| it.body.to_string()).collect(),
        )
    }

    /// Returns the attributes of all messages in the queue, in arbitrary order.
    pub(crate) fn attributes(&self, name: &str) -> Vec<Option<serde_json::Value>> {
        let slot = self.server.service().slot(name);
        slot.map_or_else(
            |_| Vec::new(),
            |slot| slot.lock().messages().map(|it| it.attributes.as_deref().cloned()).collect(),
        )
    }

    /// Waits until the queue's counts satisfy `wish`.
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

    /// Returns a queue by name or URL.
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

    /// Counts a case of this kind, and returns whether the fault affects it.
    fn hit(&self, ticket: Ticket, every: u64) -> bool {
        every > 0 && (self.tickets[ticket as usize].fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(every)
    }
}

/// The cases that are counted for the `…_every` faults.
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
