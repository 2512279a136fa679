//! The channels of a worker, each with its own breaker, rate limit and share of the slots: a channel that is down or slow delays only
//! its own events.
//!
//! With one channel, an event is leased only when its request may start. With several, the lease decides the channel. An event
//! whose channel is not ready within a second is postponed: it is pending again, has used no attempt, and holds no slot. For some
//! seconds after that, few events of this channel wait, and the others are postponed at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::select_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::breaker::{Breaker, BreakerOptions, BreakerPermit};
use super::rate_limiter::RateLimiter;
use crate::clock::SharedClock;
use crate::model::ChannelName;
use crate::pipeline::channel::{Channel, ConfiguredChannel, OnUnknown};

/// How long a leased event waits for its channel, with its slot.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// Events that wait for a slow channel at a time.
const MAX_WAITING_IF_SLOW: usize = 8;
/// A channel counts as slow for this long after an event has waited in vain.
const SLOW_FOR: Duration = Duration::from_secs(10);
const MIN_POSTPONEMENT: Duration = Duration::from_secs(5);
const MAX_POSTPONEMENT: Duration = Duration::from_mins(10);
/// The rate at which events of a channel without a rate limit return.
const POSTPONED_PER_SECOND: u32 = 1000;

/// Admits one request of a channel. Dropped without an outcome, it admits another one instead.
#[derive(Debug)]
pub(super) struct ChannelPermit {
    breaker: BreakerPermit,
    /// None if the slots of the process are the limit.
    _slot: Option<OwnedSemaphorePermit>,
}

impl ChannelPermit {
    pub(super) fn record(self, success: bool) {
        self.breaker.record(success);
    }
}

#[derive(Debug)]
pub(super) struct WorkerChannel {
    pub(super) name: ChannelName,
    pub(super) channel: Arc<dyn Channel>,
    pub(super) on_unknown: OnUnknown,
    breaker: Arc<Breaker>,
    rate_limiter: RateLimiter,
    max_per_second: u32,
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    slow_until: Mutex<Instant>,
    /// When the last postponed event returns.
    last_return: Mutex<Instant>,
    clock: SharedClock,
}

impl WorkerChannel {
    fn new(
        configured: ConfiguredChannel,
        breaker: BreakerOptions,
        slots: usize,
        clock: &SharedClock,
    ) -> Self {
        let ConfiguredChannel { name, channel, limits } = configured;
        Self {
            name,
            channel,
            on_unknown: limits.on_unknown,
            breaker: Arc::new(Breaker::new(name, breaker, slots, Arc::clone(clock))),
            rate_limiter: RateLimiter::new(limits.max_per_second, Arc::clone(clock)),
            max_per_second: limits.max_per_second,
            slots: Arc::new(Semaphore::new(slots)),
            waiting: AtomicUsize::new(0),
            slow_until: Mutex::new(clock.monotonic()),
            last_return: Mutex::new(clock.monotonic()),
            clock: Arc::clone(clock),
        }
    }

    /// Waits up to [`MAX_WAIT`] for the permit of one request. The error is how long to postpone its event.
    pub(super) async fn admit(&self) -> Result<ChannelPermit, Duration> {
        if let Some(permit) = self.permit().now_or_never() {
            return Ok(permit);
        }
        let others = self.waiting.fetch_add(1, Ordering::Relaxed);
        let waits = others < self.max_waiting();
        let admitted = if waits { timeout(MAX_WAIT, self.permit()).await.ok() } else { None };
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        if waits && admitted.is_none() {
            *self.slow_until() = self.clock.monotonic() + SLOW_FOR;
        }
        admitted.ok_or_else(|| self.postponement())
    }

    fn max_waiting(&self) -> usize {
        let by_rate = if self.max_per_second == 0 { usize::MAX } else { self.max_per_second as usize };
        if self.clock.monotonic() < *self.slow_until() { by_rate.min(MAX_WAITING_IF_SLOW) } else { by_rate }
    }

    fn slow_until(&self) -> MutexGuard<'_, Instant> {
        self.slow_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a permit in any state of the channel.
    pub(super) fn admit_always(&self) -> ChannelPermit {
        ChannelPermit { breaker: self.breaker.permit(), _slot: None }
    }

    async fn permit(&self) -> ChannelPermit {
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        let breaker = self.breaker.admit_one().await;
        self.rate_limiter.acquire(1).await;
        ChannelPermit { breaker, _slot: slot }
    }

    /// Returns how long to postpone an event. Postponed events return one after the other, at the rate of the channel.
    pub(super) fn postponement(&self) -> Duration {
        let rate = if self.max_per_second == 0 { POSTPONED_PER_SECOND } else { self.max_per_second };
        let now = self.clock.monotonic();
        let mut last = self.last_return.lock().unwrap_or_else(PoisonError::into_inner);
        let returns = (*last).max(now + MIN_POSTPONEMENT) + Duration::from_secs(1) / rate;
        *last = returns.min(now + MAX_POSTPONEMENT);
        *last - now
    }
}

#[derive(Debug)]
pub(super) struct Channels {
    channels: Vec<WorkerChannel>,
    pub(super) names: Vec<String>,
}

impl Channels {
    pub(super) fn new(
        configured: Vec<ConfiguredChannel>,
        breaker: BreakerOptions,
        slots: usize,
        clock: &SharedClock,
    ) -> Self {
        let share = slots.div_ceil(configured.len().max(1));
        let channels = configured.into_iter().map(|one| WorkerChannel::new(one, breaker, share, clock));
        let channels: Vec<WorkerChannel> = channels.collect();
        let names = channels.iter().map(|channel| channel.name.as_str().to_owned()).collect();
        Self { channels, names }
    }

    pub(super) fn get(&self, name: ChannelName) -> Option<&WorkerChannel> {
        self.channels.iter().find(|channel| channel.name == name)
    }

    /// Waits until a channel admits events. The permits are none if the lease decides the channel.
    pub(super) async fn admit(&self, max: usize) -> Vec<Option<ChannelPermit>> {
        if let [only] = self.channels.as_slice() {
            let mut permits = only.breaker.admit(max).await;
            permits.truncate(only.rate_limiter.acquire(permits.len()).await);
            let permit = |breaker| Some(ChannelPermit { breaker, _slot: None });
            return permits.into_iter().map(permit).collect();
        }
        self.ready().await;
        std::iter::repeat_with(|| None).take(max).collect()
    }

    /// Waits until a channel would admit an event.
    pub(super) async fn ready(&self) {
        if self.channels.is_empty() {
            return std::future::pending().await;
        }
        select_all(self.channels.iter().map(|channel| Box::pin(channel.breaker.ready()))).await;
    }

    /// Returns the state of the breaker that is furthest from closed.
    pub(super) fn breaker_state(&self) -> &'static str {
        let states = self.channels.iter().map(|channel| channel.breaker.state());
        let severity =
            |state: &&str| ["open", "probing", "suspect", "ramping"].iter().position(|known| known == state);
        states.min_by_key(|state| severity(state).unwrap_or(usize::MAX)).unwrap_or("closed")
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::clock::{Stopwatch, SystemClock};
    use crate::pipeline::channel::{ChannelLimits, Greeting, SendResult};

    #[derive(Debug)]
    struct Silent;

    #[async_trait]
    impl Channel for Silent {
        async fn send(&self, _: &Greeting) -> SendResult {
            SendResult::delivered(200)
        }
    }

    fn channel(name: ChannelName, max_per_second: u32, clock: &SharedClock) -> WorkerChannel {
        let limits = ChannelLimits { timeout: MAX_WAIT, max_per_second, on_unknown: OnUnknown::Retry };
        let configured = ConfiguredChannel { name, channel: Arc::new(Silent), limits };
        WorkerChannel::new(configured, BreakerOptions { failures: 1, after: Duration::ZERO }, 10, clock)
    }

    #[test]
    fn postponed_events_return_at_the_rate_of_the_channel() {
        let watch = Arc::new(Stopwatch::default());
        let clock = Arc::clone(&watch) as SharedClock;
        let slack = channel(ChannelName::Slack, 2, &clock);
        let waits: Vec<u128> = (0..3).map(|_| slack.postponement().as_millis()).collect();
        assert_eq!(waits, [5500, 6000, 6500]);
        watch.pass(Duration::from_secs(5));
        assert_eq!(slack.postponement().as_millis(), 5500);
        let longest = (0..2000).map(|_| slack.postponement()).max();
        assert_eq!(longest, Some(MAX_POSTPONEMENT));
    }

    #[tokio::test]
    async fn one_channel_that_is_down_leaves_the_others_ready() {
        let clock: SharedClock = Arc::new(SystemClock);
        let (mail, slack) = (channel(ChannelName::Mail, 0, &clock), channel(ChannelName::Slack, 0, &clock));
        mail.admit().await.expect("the breaker is closed").record(false);
        let channels = Channels { channels: vec![mail, slack], names: Vec::new() };
        assert_eq!(channels.breaker_state(), "open");
        assert_eq!(channels.admit(5).now_or_never().map(|permits| permits.len()), Some(5));
        let admitted = |name| channels.get(name).expect("it exists").permit().now_or_never().is_some();
        assert!(!admitted(ChannelName::Mail) && admitted(ChannelName::Slack));
    }
}
