//! The stages of a daemon in this process, on a real database, with a clock that the test sets.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use bday::clock::heartbeat::Heartbeat;
use bday::clock::{Clock, SettableClock, SharedClock};
use bday::config::parts;
use bday::config::{self, Config};
use bday::model::{ChannelName, EventState, Lease, NewUser};
use bday::operations::dead_letters::DeadLetters;
use bday::pipeline::channel::signature::Signer;
use bday::pipeline::channel::webhook::Webhook;
use bday::pipeline::channel::{Channel, ConfiguredChannel};
use bday::pipeline::queue::Queue;
use bday::pipeline::queue::postgres::PostgresQueue;
use bday::pipeline::scheduler::{Scheduler, Tick};
use bday::pipeline::trace::Tracer;
use bday::pipeline::worker::WorkerPool;
use bday::store::{LeaseRequest, Store, UserKey};
use chrono::{DateTime, Utc};
use tokio::sync::watch;
use uuid::Uuid;

use super::database::Database;
use super::receiver::Receiver;

static WEBHOOK: LazyLock<[String; 1]> = LazyLock::new(|| ["webhook".to_owned()]);

/// The database, queue, clock and receiver of a test.
pub(crate) struct World {
    pub(crate) database: Database,
    pub(crate) store: Store,
    pub(crate) clock: Arc<SettableClock>,
    /// The queue of the stages: the outbox, unless a test replaces it.
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) receiver: Receiver,
    pub(crate) config: Config,
}

impl World {
    /// Starts a world without users at `now` (RFC 3339).
    pub(crate) async fn at(now: &str) -> Self {
        Self::with(now, &[]).await
    }

    /// Starts a world with settings such as `("late.max_secs", "3600")`.
    pub(crate) async fn with(now: &str, settings: &[(&str, &str)]) -> Self {
        let clock = Arc::new(SettableClock::new(instant(now)));
        let (database, receiver) = tokio::join!(Database::new(), Receiver::start());
        let from = ("channels.mail.from", "greetings@example.org");
        let variables = std::iter::once(&from)
            .chain(settings)
            .map(|(key, value)| {
                (format!("BDAY__{}", key.replace('.', "__").to_uppercase()), (*value).to_owned())
            })
            .chain([
                ("BDAY__DATABASE__URL".to_owned(), database.url().to_owned()),
                ("BDAY__QUEUE__KIND".to_owned(), "postgres".to_owned()),
                ("BDAY__WEBHOOK__URL".to_owned(), receiver.url()),
            ])
            .collect();
        let config = config::load(None, variables).unwrap();
        let store = database.store();
        let queue =
            PostgresQueue::new(store.clone(), Arc::clone(&clock) as SharedClock, config.queue.visibility);
        Self { store, database, clock, queue: Arc::new(queue), receiver, config }
    }

    pub(crate) fn set(&self, now: &str) {
        self.clock.set(instant(now));
    }

    /// Returns a new scheduler, like that of another process.
    pub(crate) fn scheduler(&self) -> Scheduler {
        parts::scheduler_for_command(&self.config, self.store.clone(), Arc::clone(&self.queue), self.clock())
    }

    pub(crate) fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(&self.config, self.store.clone(), Arc::clone(&self.queue), self.clock())
    }

    pub(crate) fn pool(&self) -> WorkerPool {
        self.pool_with(Heartbeat::new(self.clock()))
    }

    /// Returns a worker pool with a heartbeat that the test can read.
    pub(crate) fn pool_with(&self, heartbeat: Heartbeat) -> WorkerPool {
        self.pool_on(self.clock(), heartbeat)
    }

    /// Returns a worker pool with its own clock and heartbeat.
    pub(crate) fn pool_on(&self, clock: SharedClock, heartbeat: Heartbeat) -> WorkerPool {
        let (_, url) = watch::channel(self.receiver.url().parse().unwrap());
        let client = parts::http_client(&self.config).unwrap();
        let webhook = Webhook::new(client, url, Signer::default(), Arc::clone(&clock));
        let channels = vec![self.channel(ChannelName::Webhook, Arc::new(webhook))];
        self.pool_with_channels(channels, clock, heartbeat)
    }

    /// Returns a worker pool with these channels.
    pub(crate) fn pool_of(&self, channels: &[(ChannelName, Arc<dyn Channel>)]) -> WorkerPool {
        self.pool_of_on(channels, self.clock())
    }

    /// Returns a worker pool with these channels and its own clock.
    pub(crate) fn pool_of_on(
        &self,
        channels: &[(ChannelName, Arc<dyn Channel>)],
        clock: SharedClock,
    ) -> WorkerPool {
        let heartbeat = Heartbeat::new(Arc::clone(&clock));
        let channels = channels.iter().map(|(name, channel)| self.channel(*name, Arc::clone(channel)));
        self.pool_with_channels(channels.collect(), clock, heartbeat)
    }

    fn pool_with_channels(
        &self,
        channels: Vec<ConfiguredChannel>,
        clock: SharedClock,
        heartbeat: Heartbeat,
    ) -> WorkerPool {
        let (store, queue, tracer) = (self.store.clone(), Arc::clone(&self.queue), Tracer::default());
        parts::pool(&self.config, store, queue, channels, clock, heartbeat, tracer).unwrap()
    }

    fn channel(&self, name: ChannelName, channel: Arc<dyn Channel>) -> ConfiguredChannel {
        ConfiguredChannel { name, channel, limits: self.config.channel_limits(name) }
    }

    fn clock(&self) -> SharedClock {
        Arc::clone(&self.clock) as SharedClock
    }

    /// Leases these events at the current instant, for the visibility, like a worker that then crashes. Its only kind is `birthday`.
    /// Returns the lease id and the leases.
    pub(crate) async fn lease(&self, events: &[Uuid]) -> (Uuid, Vec<Lease>) {
        let (id, kinds) = (Uuid::now_v7(), ["birthday".to_owned()]);
        let request = self.lease_request(id, &kinds);
        (id, self.store.lease(request, events).await.unwrap())
    }

    /// Returns the lease request of a worker at the current instant.
    pub(crate) fn lease_request<'a>(&self, id: Uuid, kinds: &'a [String]) -> LeaseRequest<'a> {
        let now = self.clock.now();
        LeaseRequest {
            id,
            holder: Uuid::from_u128(1),
            now,
            until: now + self.config.queue.visibility,
            kinds,
            kinds_with_years: kinds,
            late_before: now - self.config.late.max,
            routes: None,
            channels: &*WEBHOOK,
        }
    }

    /// Returns the only event in the database.
    pub(crate) async fn only_event(&self) -> Uuid {
        sqlx::query_scalar("SELECT id FROM events").fetch_one(&self.database.pool().await).await.unwrap()
    }

    /// Returns the event of this user.
    pub(crate) async fn event_of(&self, user: Uuid) -> Uuid {
        sqlx::query_scalar("SELECT id FROM events WHERE user_id = $1")
            .bind(user)
            .fetch_one(&self.database.pool().await)
            .await
            .unwrap()
    }

    /// Returns the ended attempts of an event: number and outcome.
    pub(crate) async fn outcomes(&self, event: Uuid) -> Vec<(i16, String)> {
        let attempts = self.store.attempts(event).await.unwrap();
        attempts.into_iter().map(|attempt| (attempt.number, attempt.outcome)).collect()
    }

    /// Returns the number of messages in the dead-letter queue.
    pub(crate) async fn dead_messages(&self) -> u64 {
        self.queue.depth().await.unwrap().dead_letters
    }

    /// Runs one tick of the scheduler, which must succeed.
    pub(crate) async fn tick(&self) -> Tick {
        let (tick, result) = self.scheduler().run_once(self.clock.now()).await;
        result.unwrap();
        Tick { elapsed_ms: 0, ..tick }
    }

    /// Runs one tick, then processes all messages in the queue.
    pub(crate) async fn minute(&self) -> Tick {
        let tick = self.tick().await;
        self.pool().run_once().await.unwrap();
        tick
    }

    /// Creates or updates the user with this external id, like the API and the import.
    pub(crate) async fn write(&self, external_id: &str, birth_date: &str, time_zone: &str) -> Uuid {
        let user = person(external_id, birth_date, time_zone);
        self.write_user(user).await
    }

    pub(crate) async fn write_user(&self, user: NewUser) -> Uuid {
        let users = [(UserKey::ExternalId, user)];
        let written = self.store.save_users(&self.config.schedule(), self.clock.now(), &users).await.unwrap();
        written[0].0
    }

    /// Returns the number of accepted greetings. Panics if one was accepted twice.
    pub(crate) fn greetings(&self) -> usize {
        let accepted = self.receiver.accepted();
        assert!(accepted.values().all(|times| *times == 1), "a greeting was accepted twice: {accepted:?}");
        accepted.len()
    }

    pub(crate) async fn count(&self, state: EventState) -> i64 {
        self.database.count(state).await
    }
}

/// Returns a user with the name "Ada" and the last name `external_id`.
pub(crate) fn person(external_id: &str, birth_date: &str, time_zone: &str) -> NewUser {
    NewUser {
        external_id: Some(external_id.to_owned()),
        first_name: "Ada".to_owned(),
        last_name: external_id.to_owned(),
        birth_date: birth_date.parse().unwrap(),
        time_zone: time_zone.parse().unwrap(),
        send_at: None,
        leap_day: None,
        locale: None,
        addresses: BTreeMap::new(),
        occasions: BTreeMap::new(),
    }
}

pub(crate) fn instant(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().with_timezone(&Utc)
}
