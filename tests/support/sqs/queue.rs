//! The state of one queue, and the transitions of its messages. The cost of every operation is independent of the number
//! of messages.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::error::{Failure, invalid, invalid_handle};

/// The longest visibility timeout, counted from the receive, in seconds: 12 hours.
pub(super) const LONGEST_VISIBILITY: u64 = 43_200;

/// Time since the endpoint started; tests can advance it.
pub(super) type Moment = Duration;

#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) id: Arc<str>,
    pub(super) body: Arc<str>,
    pub(super) md5: Arc<str>,
    /// Milliseconds since 1970 (UTC).
    pub(super) sent_at: i64,
    pub(super) first_received_at: i64,
    /// Number of receives, including those before a move to the dead-letter queue.
    pub(super) receives: u32,
    pub(super) attributes: Option<Arc<Value>>,
    /// The source queue of a message in a dead-letter queue.
    pub(super) source_arn: Option<Arc<str>>,
    /// Number of receives in this queue, for the redrive policy.
    receives_here: u32,
    received: Moment,
    /// `None` if visible.
    hidden_until: Option<Moment>,
}

impl Message {
    pub(super) fn new(
        id: Arc<str>,
        body: Arc<str>,
        md5: Arc<str>,
        sent_at: i64,
        attributes: Option<Arc<Value>>,
    ) -> Self {
        Self {
            id,
            body,
            md5,
            sent_at,
            first_received_at: 0,
            receives: 0,
            attributes,
            source_arn: None,
            receives_here: 0,
            received: Moment::ZERO,
            hidden_until: None,
        }
    }
}

/// The redrive policy: the dead-letter queue, and the number of receives after which messages move there.
#[derive(Debug, Clone)]
pub(super) struct Redrive {
    pub(super) target_arn: String,
    pub(super) max_receives: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) visible: usize,
    pub(crate) in_flight: usize,
    pub(crate) delayed: usize,
}

/// The injected faults of a receive.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct DeliveryFaults {
    pub(super) duplicate_every: u64,
    pub(super) shuffle: bool,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) arn: Arc<str>,
    /// Attributes by name, as set. The numbers below are parsed from them.
    pub(super) attributes: HashMap<String, String>,
    pub(super) visibility: Duration,
    pub(super) delay: Duration,
    pub(super) wait: Duration,
    pub(super) redrive: Option<Redrive>,
    messages: HashMap<u64, Message>,
    /// Visible messages in order of arrival. May contain messages that were deleted or are hidden again.
    ready: VecDeque<u64>,
    hidden: BTreeSet<(Moment, u64)>,
    delayed: usize,
    next: u64,
    handed_out: u64,
}

impl Queue {
    pub(super) fn new(arn: Arc<str>) -> Self {
        Self {
            arn,
            attributes: HashMap::new(),
            visibility: Duration::from_secs(30),
            delay: Duration::ZERO,
            wait: Duration::ZERO,
            redrive: None,
            messages: HashMap::new(),
            ready: VecDeque::new(),
            hidden: BTreeSet::new(),
            delayed: 0,
            next: 0,
            handed_out: 0,
        }
    }

    pub(super) fn push(&mut self, mut message: Message, delay: Duration, now: Moment) {
        let key = self.next;
        self.next += 1;
        message.receives_here = 0;
        message.hidden_until = None;
        self.messages.insert(key, message);
        if delay.is_zero() {
            self.ready.push_back(key);
        } else {
            self.hide(key, now + delay);
            self.delayed += 1;
        }
    }

    /// Returns up to `max` visible messages with their receipt handles, and the messages to move to the dead-letter queue.
    pub(super) fn receive(
        &mut self,
        max: usize,
        visibility: Duration,
        now: Moment,
        wall_ms: i64,
        delivery_faults: DeliveryFaults,
    ) -> (Vec<(Message, String)>, Vec<Message>) {
        self.wake(now);
        let (mut taken, mut given_up) = (Vec::with_capacity(max), Vec::new());
        while taken.len() < max {
            if delivery_faults.shuffle && self.ready.len() > 1 {
                let lucky = fastrand::usize(..self.ready.len());
                self.ready.swap(0, lucky);
            }
            let Some(key) = self.ready.pop_front() else { break };
            let Some(message) = self.messages.get_mut(&key).filter(|message| message.hidden_until.is_none())
            else {
                continue;
            };
            if self.redrive.as_ref().is_some_and(|redrive| message.receives_here >= redrive.max_receives) {
                given_up.extend(self.messages.remove(&key));
                continue;
            }
            self.handed_out += 1;
            let twice = delivery_faults.duplicate_every > 0
                && self.handed_out.is_multiple_of(delivery_faults.duplicate_every);
            let copy = twice.then(|| message.clone());
            message.receives += 1;
            message.receives_here += 1;
            message.received = now;
            if message.first_received_at == 0 {
                message.first_received_at = wall_ms;
            }
            taken.push((message.clone(), handle(key, message.receives_here)));
            if visibility.is_zero() {
                self.ready.push_back(key);
            } else {
                self.hide(key, now + visibility);
            }
            if let Some(copy) = copy {
                self.push(copy, Duration::ZERO, now);
            }
        }
        (taken, given_up)
    }

    /// Deletes a message by the handle of its latest receive. An older handle succeeds without deleting, as SQS permits. The
    /// handle of a deleted message succeeds as well.
    pub(super) fn delete(&mut self, receipt: &str) -> Result<(), Failure> {
        let (key, receive) = parse_handle(receipt)?;
        if self.messages.get(&key).is_some_and(|message| message.receives_here == receive) {
            self.show(key);
            self.messages.remove(&key);
        }
        Ok(())
    }

    /// Hides an in-flight message for `visibility` from now; zero makes it visible at once.
    pub(super) fn change_visibility(
        &mut self,
        receipt: &str,
        seconds: u64,
        now: Moment,
    ) -> Result<(), Failure> {
        let (key, receive) = parse_handle(receipt)?;
        let gone = "Reason: Message does not exist or is not available for visibility timeout change.";
        let message = self
            .messages
            .get(&key)
            .filter(|message| {
                message.receives_here == receive && message.hidden_until.is_some_and(|until| until > now)
            })
            .ok_or_else(|| {
                invalid(format!("Value {receipt} for parameter ReceiptHandle is invalid. {gone}"))
            })?;
        if now.saturating_sub(message.received).as_secs() + seconds > LONGEST_VISIBILITY {
            let limit = format!(
                "Total VisibilityTimeout for the message is beyond the limit [{LONGEST_VISIBILITY} seconds]"
            );
            return Err(invalid(format!(
                "Value {seconds} for parameter VisibilityTimeout is invalid. Reason: {limit}"
            )));
        }
        self.show(key);
        if seconds == 0 {
            self.ready.push_back(key);
        } else {
            self.hide(key, now + Duration::from_secs(seconds));
        }
        Ok(())
    }

    pub(super) fn purge(&mut self) {
        self.messages.clear();
        self.ready.clear();
        self.hidden.clear();
        self.delayed = 0;
    }

    /// Returns when the next hidden message becomes visible.
    pub(super) fn next_wake(&self) -> Option<Moment> {
        self.hidden.first().map(|(until, _)| *until)
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn counts(&mut self, now: Moment) -> Counts {
        self.wake(now);
        let hidden = self.hidden.len();
        Counts {
            visible: self.messages.len() - hidden,
            in_flight: hidden - self.delayed,
            delayed: self.delayed,
        }
    }

    pub(super) fn messages(&self) -> impl Iterator<Item = &Message> {
        self.messages.values()
    }

    /// Removes and returns all visible messages, oldest first.
    pub(super) fn drain(&mut self, now: Moment) -> Vec<Message> {
        self.wake(now);
        let keys = std::mem::take(&mut self.ready);
        keys.into_iter().filter_map(|key| self.messages.remove(&key)).collect()
    }

    fn hide(&mut self, key: u64, until: Moment) {
        if let Some(message) = self.messages.get_mut(&key) {
            message.hidden_until = Some(until);
            self.hidden.insert((until, key));
        }
    }

    fn show(&mut self, key: u64) {
        let Some(message) = self.messages.get_mut(&key) else {
            return;
        };
        if let Some(until) = message.hidden_until.take() {
            self.hidden.remove(&(until, key));
            if message.receives_here == 0 {
                self.delayed -= 1;
            }
        }
    }

    fn wake(&mut self, now: Moment) {
        while let Some(&(until, key)) = self.hidden.first().filter(|(until, _)| *until <= now) {
            debug_assert!(until <= now, "woken early");
            self.show(key);
            self.ready.push_back(key);
        }
    }
}

fn handle(key: u64, receive: u32) -> String {
    format!("AQEB{key:016x}{receive:08x}")
}

fn parse_handle(receipt: &str) -> Result<(u64, u32), Failure> {
    let digits = receipt.strip_prefix("AQEB").filter(|digits| digits.len() == 24 && digits.is_ascii());
    let parsed = digits.and_then(|digits| {
        let (key, receive) = digits.split_at(16);
        Some((u64::from_str_radix(key, 16).ok()?, u32::from_str_radix(receive, 16).ok()?))
    });
    parsed.ok_or_else(|| invalid_handle(receipt))
}
