//! From one minute in which something happens to the next.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use chrono::{DateTime, Datelike as _, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use uuid::Uuid;

use super::cast::{Cast, SEND_AT, Settings, Turn, external_id};
use super::ledger::{Ledger, Violation};
use super::receiver::{Receiver, draw};
use super::report::{self, SimulationReport, Year};
use super::rules::{Rules, next_tick};
use super::{Progress, SimulationOptions, compare, configuration};
use crate::clock::heartbeat::Heartbeat;
use crate::clock::{Clock, SettableClock, SharedClock};
use crate::config::Config;
use crate::config::parts;
use crate::model::Schedule;
use crate::pipeline::channel::Channel;
use crate::pipeline::queue::Queue;
use crate::pipeline::queue::postgres::PostgresQueue;
use crate::pipeline::scheduler::Scheduler;
use crate::pipeline::worker::WorkerPool;
use crate::store::{Store, UserKey, UserRef};

/// Users written in one transaction at the start.
const BATCH: usize = 1000;
/// Who comes back under the same external id within this time is the same person.
const REMEMBERED: TimeDelta = TimeDelta::days(400);
/// After the last year, until every retry is over.
const REST: TimeDelta = TimeDelta::hours(6);

/// Simulates what `options` say in the database at `database_url`, which must be empty.
///
/// # Errors
/// When the database is not empty, refuses or is unavailable, or a stage cannot do its work. What goes wrong with greetings is
/// no error, but in the report.
pub async fn run(
    options: &SimulationOptions,
    database_url: &str,
    clock: &dyn Clock,
    progress: Progress<'_>,
) -> anyhow::Result<SimulationReport> {
    let began = clock.monotonic();
    let config = configuration(options, database_url)?;
    let store = parts::store(&config).await?;
    anyhow::ensure!(
        store.has_no_tables().await?,
        "the database has tables: a simulation needs one of its own, with nothing in it"
    );
    store.migrate().await?;
    let last_year = options.from.year() + options.years as i32 - 1;
    let mut drive = Drive::new(options, &config, store)?;
    drive.settle_in().await?;
    Box::pin(drive.live(progress)).await?;
    compare::compare(&drive.store, &drive.ledger, last_year).await?;
    let mut years = std::mem::take(&mut drive.years);
    let violations = report::finish(&mut years, &drive.ledger());
    drive.store.close().await;
    Ok(SimulationReport {
        seed: options.seed,
        years,
        ticks: drive.ticks,
        elapsed_secs: clock.monotonic().duration_since(began).as_secs_f64(),
        violations,
    })
}

/// Somebody's turn.
type Action = (DateTime<Utc>, u32, Turn);

struct Drive {
    seed: u64,
    until: DateTime<Utc>,
    store: Store,
    schedule: Schedule,
    clock: Arc<SettableClock>,
    schedulers: [Scheduler; 2],
    pools: [WorkerPool; 2],
    ledger: Arc<Mutex<Ledger>>,
    /// The last comes first.
    actions: Vec<Action>,
    /// When no daemon runs, from and until; the last comes first.
    absences: Vec<(DateTime<Utc>, DateTime<Utc>)>,
    ids: Vec<Uuid>,
    deleted_at: HashMap<u32, DateTime<Utc>>,
    alive: u64,
    years: BTreeMap<i32, Year>,
    ticks: u64,
    ticked_at: DateTime<Utc>,
}

impl Drive {
    fn new(options: &SimulationOptions, config: &Config, store: Store) -> anyhow::Result<Self> {
        let from = midnight(options.from);
        let last_year = options.from.year() + options.years as i32;
        let until = NaiveDate::from_ymd_opt(last_year, 1, 1).context("these years are too far ahead")?;
        let until = midnight(until);
        let rules = Rules {
            send_at: SEND_AT.map(|text| text.parse().unwrap_or_default()),
            leap_day: config.plan.leap_day,
            late_join: options.late_join,
            late_max: TimeDelta::seconds(config.late.max.as_secs() as i64),
            max_attempts: config.retry.max_attempts,
            years: from.year() - 1..=last_year + 1,
        };
        let clock = Arc::new(SettableClock::new(from));
        let shared = || Arc::clone(&clock) as SharedClock;
        let queue: Arc<dyn Queue> =
            Arc::new(PostgresQueue::new(store.clone(), shared(), config.queue.visibility));
        let ledger = Arc::new(Mutex::new(Ledger::new(rules)));
        let receiver =
            Arc::new(Receiver { ledger: Arc::clone(&ledger), clock: shared(), seed: options.seed });
        let scheduler = || parts::scheduler_for_command(config, store.clone(), Arc::clone(&queue), shared());
        let pool = || {
            let queue = Arc::clone(&queue);
            let channel = Arc::clone(&receiver) as Arc<dyn Channel>;
            parts::pool(config, store.clone(), queue, channel, shared(), Heartbeat::new(shared()))
        };
        let cast = Cast::new(options.seed, from, until);
        let absences = absences(options.seed, from, until);
        let mut actions: Vec<Action> = Vec::new();
        for number in 0..options.users {
            let turns = cast.life(number).turns.into_iter();
            // No user is written while no process runs: the API is unavailable, too.
            actions.extend(turns.map(|(at, turn)| (after_absences(&absences, at), number, turn)));
        }
        // Stable: what happens to one person at one instant stays in order.
        actions.sort_by_key(|(at, number, _)| (*at, *number));
        actions.reverse();
        let (schedulers, pools) = ([scheduler(), scheduler()], [pool()?, pool()?]);
        Ok(Self {
            seed: options.seed,
            until,
            schedule: config.schedule(),
            store,
            schedulers,
            pools,
            clock,
            ledger,
            actions,
            absences: absences.into_iter().rev().collect(),
            ids: vec![Uuid::nil(); options.users as usize],
            deleted_at: HashMap::new(),
            alive: 0,
            years: (from.year()..last_year).map(|year| (year, Year::default())).collect(),
            ticks: 0,
            ticked_at: DateTime::UNIX_EPOCH,
        })
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those who are there from the start.
    async fn settle_in(&mut self) -> anyhow::Result<()> {
        let now = self.clock.now();
        let mut first: Vec<(u32, Settings)> = Vec::new();
        while let Some((_, number, Turn::Join(settings))) = self.actions.pop_if(|(at, ..)| *at <= now) {
            first.push((number, settings));
        }
        for batch in first.chunks(BATCH) {
            let users: Vec<_> = batch
                .iter()
                .map(|(number, settings)| (UserKey::ExternalId, settings.user(*number)))
                .collect();
            let written = self.store.save_users(&self.schedule, now, &users).await?;
            for ((number, settings), (id, _)) in batch.iter().zip(written) {
                self.joined(*number, id, settings, now);
            }
        }
        Ok(())
    }

    fn joined(&mut self, number: u32, id: Uuid, settings: &Settings, now: DateTime<Utc>) {
        self.ids[number as usize] = id;
        self.alive += 1;
        self.ledger().add(id, number, settings.clone(), now);
    }

    async fn live(&mut self, progress: Progress<'_>) -> anyhow::Result<()> {
        let mut day = self.clock.now();
        self.tick(day, None).await?;
        let end = self.until + REST;
        loop {
            let now = self.clock.now();
            day = day
                .max(midnight(now.date_naive()))
                .checked_add_days(Days::new(u64::from(now >= day)))
                .unwrap_or(end);
            let pending = self.store.next_attempt_at().await?;
            let pack = self.store.next_pack_at().await?;
            let action = self.actions.last().map(|(at, ..)| *at);
            let owed = self.ledger().next_owed();
            // Ticks are at whole minutes, and one a minute is enough.
            let tick = [pending, owed, Some(day)].into_iter().flatten().map(next_tick).min().unwrap_or(end);
            let again =
                if self.ticked_at == next_tick(now) { TimeDelta::minutes(1) } else { TimeDelta::zero() };
            let tick = tick.max(next_tick(now) + again);
            let next = [Some(tick), action, pack].into_iter().flatten().min().unwrap_or(end).max(now);
            if next > end {
                break;
            }
            if let Some((from, until)) = self.absences.pop_if(|(from, _)| *from <= next) {
                self.clock.set(until);
                self.tick(until, Some(from)).await?;
                continue;
            }
            self.clock.set(next);
            if action == Some(next) {
                self.act(next).await?;
            } else if tick == next {
                if next == day {
                    progress(next);
                }
                self.tick(next, None).await?;
            } else {
                Box::pin(self.pools[0].run_once()).await?;
            }
        }
        Ok(())
    }

    /// What a daemon does each minute; now and then two of them.
    async fn tick(&mut self, now: DateTime<Utc>, absent_since: Option<DateTime<Utc>>) -> anyhow::Result<()> {
        self.ledger().begin_tick(now, absent_since);
        (self.ticks, self.ticked_at) = (self.ticks + 1, now);
        if let Some(row) = self.years.get_mut(&now.year()) {
            row.users = self.alive;
        }
        let ([one, other], [first, second]) = (&self.schedulers, &self.pools);
        let both = draw(self.seed, &[now.timestamp() as u64, 3]) < 0.05;
        if both {
            let ((_, a), (_, b)) = tokio::join!(Box::pin(one.run_once(now)), Box::pin(other.run_once(now)));
            a.and(b)?;
        } else {
            Box::pin(one.run_once(now)).await.1?;
        }
        // Workers have nothing to do while the queue is empty.
        if self.store.next_pack_at().await?.is_some_and(|at| at <= now) {
            if both {
                let (a, b) = tokio::join!(Box::pin(first.run_once()), Box::pin(second.run_once()));
                a.and(b)?;
            } else {
                Box::pin(first.run_once()).await?;
            }
        }
        self.ledger().end_tick(now);
        Ok(())
    }

    /// Does what happens to people at `now`.
    async fn act(&mut self, now: DateTime<Utc>) -> anyhow::Result<()> {
        while let Some((_, number, turn)) = self.actions.pop_if(|(at, ..)| *at == now) {
            let id = self.ids[number as usize];
            let row = self.years.entry(now.year().min(self.until.year() - 1)).or_default();
            match turn {
                Turn::Join(settings) => {
                    row.returned += u64::from(!id.is_nil());
                    let users = [(UserKey::ExternalId, settings.user(number))];
                    let written = self.store.save_users(&self.schedule, now, &users).await?;
                    let written = written.first().context("nobody was written")?.0;
                    let gone = self.deleted_at.remove(&number).map(|at| now - at);
                    if written != id && gone.is_some_and(|gone| gone < REMEMBERED) {
                        let what = format!("came back as {written}");
                        self.ledger().complain_of(id, now.year(), Violation::Wrong, &what);
                    }
                    self.joined(number, written, &settings, now);
                }
                Turn::Move(settings) => {
                    row.moves += 1;
                    self.change(number, id, settings, now).await?;
                }
                Turn::Change(settings) => {
                    row.edits += 1;
                    self.change(number, id, settings, now).await?;
                }
                Turn::Delete => {
                    row.deleted += 1;
                    self.alive -= 1;
                    self.deleted_at.insert(number, now);
                    self.store.delete_user(now, UserRef::Id(id), None, None).await?;
                    self.ledger().delete(id);
                }
            }
        }
        Ok(())
    }

    /// By one of the two ways in which people are changed: an edit, or an import.
    async fn change(
        &mut self,
        number: u32,
        id: Uuid,
        settings: Settings,
        now: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let user = settings.user(number);
        if number.is_multiple_of(2) {
            let edit = |_: &_| Ok::<_, std::convert::Infallible>(user);
            self.store.edit_user(&self.schedule, now, UserRef::External(&external_id(number)), edit).await?;
        } else {
            self.store.save_users(&self.schedule, now, &[(UserKey::ExternalId, user)]).await?;
        }
        let moved = self.ledger().edit(id, settings, now);
        if let Some(row) = self.years.get_mut(&now.year()) {
            row.moved += u64::from(moved);
        }
        Ok(())
    }
}

fn midnight(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}

/// When nothing runs: in a year two or three times some hours, and every other year longer than `late.max_secs`.
fn absences(seed: u64, from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut absences = Vec::new();
    let mut at = from + TimeDelta::minutes(rng.i64(0..90 * 24 * 60));
    while at < until - TimeDelta::days(10) {
        let hours = match rng.u8(..10) {
            0..5 => rng.i64(1..12),
            5..8 => rng.i64(12..47),
            _ => rng.i64(50..100),
        };
        absences.push((at, at + TimeDelta::hours(hours)));
        at += TimeDelta::hours(hours) + TimeDelta::minutes(rng.i64(30..240) * 24 * 60 + rng.i64(0..1440));
    }
    absences
}

fn after_absences(absences: &[(DateTime<Utc>, DateTime<Utc>)], at: DateTime<Utc>) -> DateTime<Utc> {
    let mut during = absences.iter().filter(|(from, until)| *from <= at && at <= *until);
    during.next().map_or(at, |(_, until)| *until + TimeDelta::seconds(30))
}
