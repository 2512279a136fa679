//! Advances the clock from each minute in which something happens to the next, and runs what happens then.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use chrono::{DateTime, Datelike as _, NaiveDate, TimeDelta, Utc};
use fastrand::Rng;
use futures_util::future::try_join_all;
use uuid::Uuid;

use super::checker::DeliveryChecker;
use super::compare::compare_rows;
use super::expected::ViolationKind;
use super::receiver::SimulatedReceiver;
use super::report::{self, SimulationReport, YearCounts};
use super::rules::{Rules, next_tick};
use super::timeline::{Outage, PlannedChange, midnight, outages, planned_changes};
use super::users::{UserChange, UserSettings, external_id};
use super::{Progress, SimulationOptions};
use crate::clock::heartbeat::Heartbeat;
use crate::clock::{Clock, SettableClock, SharedClock};
use crate::config::{Config, parts};
use crate::model::{ChannelName, Schedule};
use crate::pipeline::channel::{Channel, ConfiguredChannel};
use crate::pipeline::queue::Queue;
use crate::pipeline::queue::postgres::PostgresQueue;
use crate::pipeline::scheduler::Scheduler;
use crate::pipeline::trace::Tracer;
use crate::pipeline::worker::WorkerPool;
use crate::store::{Store, UserKey, UserRef};

const USERS_PER_TRANSACTION: usize = 1000;
/// A user who is added again under the same external id within this time keeps the id.
const ID_RETENTION: TimeDelta = TimeDelta::days(400);
/// After the last year, in which every retry ends.
const RETRY_MARGIN: TimeDelta = TimeDelta::hours(6);

/// Runs a simulation in the database at `database_url`, which must be empty. Wrong greetings are not errors: the report
/// has them.
pub async fn run(
    options: &SimulationOptions,
    database_url: &str,
    clock: &dyn Clock,
    progress: Progress<'_>,
) -> anyhow::Result<SimulationReport> {
    let began = clock.monotonic();
    let config = super::config::load(options, database_url)?;
    let store = parts::store(&config).await?;
    anyhow::ensure!(store.has_no_tables().await?, "the database has tables: give an empty database");
    store.migrate().await?;
    let mut simulator = Simulator::new(options, &config, store)?;
    simulator.add_initial_users().await?;
    Box::pin(simulator.run_to_end(progress)).await?;
    let last_year = simulator.until.year() - 1;
    compare_rows(&simulator.store, &simulator.checker, last_year).await?;
    let mut years = std::mem::take(&mut simulator.years);
    let violations = report::finish(&mut years, &simulator.checker());
    simulator.store.close().await;
    Ok(SimulationReport {
        seed: options.seed,
        years,
        ticks: simulator.ticks,
        elapsed_secs: clock.monotonic().duration_since(began).as_secs_f64(),
        violations,
    })
}

struct Daemon {
    scheduler: Scheduler,
    pool: WorkerPool,
}

impl Daemon {
    fn new(
        config: &Config,
        store: &Store,
        clock: SharedClock,
        channel: Arc<dyn Channel>,
    ) -> anyhow::Result<Self> {
        let queue = PostgresQueue::new(store.clone(), Arc::clone(&clock), config.queue.visibility);
        let queue: Arc<dyn Queue> = Arc::new(queue);
        let heartbeat = Heartbeat::new(Arc::clone(&clock));
        let name = ChannelName::Webhook;
        let channels = vec![ConfiguredChannel { name, channel, limits: config.channel_limits(name) }];
        let (queue_of_pool, clock_of_pool) = (Arc::clone(&queue), Arc::clone(&clock));
        let tracer = Tracer::default();
        let pool =
            parts::pool(config, store.clone(), queue_of_pool, channels, clock_of_pool, heartbeat, tracer)?;
        Ok(Self { scheduler: parts::scheduler_for_command(config, store.clone(), queue, clock), pool })
    }

    async fn schedule(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        Ok(Box::pin(self.scheduler.run_once(now)).await.1?)
    }

    async fn work(&self) -> anyhow::Result<()> {
        Box::pin(self.pool.run_once()).await
    }
}

struct Simulator {
    seed: u64,
    until: DateTime<Utc>,
    store: Store,
    schedule: Schedule,
    clock: Arc<SettableClock>,
    daemons: [Daemon; 2],
    checker: Arc<Mutex<DeliveryChecker>>,
    /// The next is the last of the list.
    changes: Vec<PlannedChange>,
    /// The next is the last of the list.
    outages: Vec<Outage>,
    ids: Vec<Uuid>,
    deleted_at: HashMap<u32, DateTime<Utc>>,
    user_count: u64,
    years: BTreeMap<i32, YearCounts>,
    ticks: u64,
    ticked_at: DateTime<Utc>,
}

impl Simulator {
    fn new(options: &SimulationOptions, config: &Config, store: Store) -> anyhow::Result<Self> {
        let from = midnight(options.from);
        let end = options.from.year() + options.years as i32;
        let until = NaiveDate::from_ymd_opt(end, 1, 1).context("the years are too far in the future")?;
        let until = midnight(until);
        let rules = Rules::new(config, options.late_join, from.year() - 1..=end + 1);
        let seed = options.seed;
        let checker = Arc::new(Mutex::new(DeliveryChecker::new(rules)));
        let clock = Arc::new(SettableClock::new(from));
        let shared = || Arc::clone(&clock) as SharedClock;
        let receiver = SimulatedReceiver { checker: Arc::clone(&checker), clock: shared(), seed };
        let receiver: Arc<dyn Channel> = Arc::new(receiver);
        let daemon = || Daemon::new(config, &store, shared(), Arc::clone(&receiver));
        let daemons = [daemon()?, daemon()?];
        let mut outages = outages(seed, from, until);
        let changes = planned_changes(options, from, until, &outages);
        outages.reverse();
        Ok(Self {
            seed,
            until,
            store,
            schedule: config.schedule(),
            clock,
            daemons,
            checker,
            changes,
            outages,
            ids: vec![Uuid::nil(); options.users as usize],
            deleted_at: HashMap::new(),
            user_count: 0,
            years: (from.year()..end).map(|year| (year, YearCounts::default())).collect(),
            ticks: 0,
            ticked_at: DateTime::UNIX_EPOCH,
        })
    }

    fn checker(&self) -> MutexGuard<'_, DeliveryChecker> {
        self.checker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pop_change(&mut self, now: DateTime<Utc>) -> Option<PlannedChange> {
        self.changes.pop_if(|change| change.at <= now)
    }

    async fn add_initial_users(&mut self) -> anyhow::Result<()> {
        let now = self.clock.now();
        let mut initial: Vec<(u32, UserSettings)> = Vec::new();
        while let Some(PlannedChange { user, change: UserChange::Join(settings), .. }) = self.pop_change(now)
        {
            initial.push((user, settings));
        }
        for batch in initial.chunks(USERS_PER_TRANSACTION) {
            let users: Vec<_> = batch
                .iter()
                .map(|(number, settings)| (UserKey::ExternalId, settings.user(*number)))
                .collect();
            let written = self.store.save_users(&self.schedule, now, &users).await?;
            for ((number, settings), (id, _)) in batch.iter().zip(written) {
                self.added(*number, id, settings.clone(), now);
            }
        }
        Ok(())
    }

    fn added(&mut self, number: u32, id: Uuid, settings: UserSettings, now: DateTime<Utc>) {
        self.ids[number as usize] = id;
        self.user_count += 1;
        self.checker().add(id, number, settings, now);
    }

    async fn run_to_end(&mut self, progress: Progress<'_>) -> anyhow::Result<()> {
        self.tick(self.clock.now(), None).await?;
        let end = self.until + RETRY_MARGIN;
        loop {
            let now = self.clock.now();
            let next_midnight = midnight(now.date_naive()) + TimeDelta::days(1);
            let tick = self.next_tick_at(now, next_midnight).await?;
            let change = self.changes.last().map(|change| change.at);
            let pack = self.store.next_pack_at().await?;
            let next = [change, pack].into_iter().flatten().fold(tick, std::cmp::min).max(now);
            if next > end {
                return Ok(());
            }
            if let Some(outage) = self.outages.pop_if(|outage| outage.from <= next) {
                self.clock.set(outage.until);
                self.tick(outage.until, Some(outage.from)).await?;
                continue;
            }
            self.clock.set(next);
            if change.is_some_and(|at| at <= next) {
                self.apply_changes(next).await?;
            } else if tick == next {
                if next == next_midnight {
                    progress(next);
                }
                self.tick(next, None).await?;
            } else {
                self.daemons[0].work().await?;
            }
        }
    }

    /// Returns the next whole minute in which a tick has work; each minute has one tick at most.
    async fn next_tick_at(
        &self,
        now: DateTime<Utc>,
        next_midnight: DateTime<Utc>,
    ) -> anyhow::Result<DateTime<Utc>> {
        let retry = self.store.next_attempt_at().await?;
        let due = self.checker().next_due_at();
        let work_at = [retry, due].into_iter().flatten().fold(next_midnight, std::cmp::min);
        let mut earliest = next_tick(now);
        if self.ticked_at == earliest {
            earliest += TimeDelta::minutes(1);
        }
        Ok(next_tick(work_at).max(earliest))
    }

    /// Runs a minute of one daemon, or of two in 5 % of all minutes.
    async fn tick(&mut self, now: DateTime<Utc>, outage_since: Option<DateTime<Utc>>) -> anyhow::Result<()> {
        self.checker().begin_tick(now, outage_since);
        (self.ticks, self.ticked_at) = (self.ticks + 1, now);
        if let Some(row) = self.years.get_mut(&now.year()) {
            row.users = self.user_count;
        }
        let two = Rng::with_seed(self.seed ^ now.timestamp() as u64).u8(..100) < 5;
        let daemons = &self.daemons[..if two { 2 } else { 1 }];
        try_join_all(daemons.iter().map(|daemon| daemon.schedule(now))).await?;
        if self.store.next_pack_at().await?.is_some_and(|at| at <= now) {
            try_join_all(daemons.iter().map(Daemon::work)).await?;
        }
        self.checker().end_tick(now);
        Ok(())
    }

    async fn apply_changes(&mut self, now: DateTime<Utc>) -> anyhow::Result<()> {
        while let Some(PlannedChange { user: number, change, .. }) = self.pop_change(now) {
            let id = self.ids[number as usize];
            let row = self.years.entry(now.year().min(self.until.year() - 1)).or_default();
            match change {
                UserChange::Join(settings) => {
                    row.returned += u64::from(!id.is_nil());
                    self.add(number, id, settings, now).await?;
                }
                UserChange::Move(settings) => {
                    row.moves += 1;
                    self.edit(number, id, settings, now).await?;
                }
                UserChange::Edit(settings) => {
                    row.edits += 1;
                    self.edit(number, id, settings, now).await?;
                }
                UserChange::Delete => {
                    row.deleted += 1;
                    self.user_count -= 1;
                    self.deleted_at.insert(number, now);
                    self.store.delete_user(now, UserRef::Id(id), None, None).await?;
                    self.checker().delete(id);
                }
            }
        }
        Ok(())
    }

    async fn add(
        &mut self,
        number: u32,
        old_id: Uuid,
        settings: UserSettings,
        now: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let users = [(UserKey::ExternalId, settings.user(number))];
        let written = self.store.save_users(&self.schedule, now, &users).await?;
        let id = written.first().context("the user was not written")?.0;
        let deleted_for = self.deleted_at.remove(&number).map(|at| now - at);
        if id != old_id && deleted_for.is_some_and(|deleted_for| deleted_for < ID_RETENTION) {
            let text = format!("was added again under the id {id}");
            self.checker().report(old_id, now.year(), ViolationKind::Wrong, &text);
        }
        self.added(number, id, settings, now);
        Ok(())
    }

    /// Edits users with even numbers, and imports the others.
    async fn edit(
        &mut self,
        number: u32,
        id: Uuid,
        settings: UserSettings,
        now: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let user = settings.user(number);
        if number.is_multiple_of(2) {
            let edit = |_: &_| Ok::<_, std::convert::Infallible>(user);
            self.store.edit_user(&self.schedule, now, UserRef::External(&external_id(number)), edit).await?;
        } else {
            self.store.save_users(&self.schedule, now, &[(UserKey::ExternalId, user)]).await?;
        }
        let moved = self.checker().edit(id, settings, now);
        if let Some(row) = self.years.get_mut(&now.year()) {
            row.moved += u64::from(moved);
        }
        Ok(())
    }
}
