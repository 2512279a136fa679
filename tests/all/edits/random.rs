//! Random edits, concurrent with planning and with failures of the receiver, never cause two greetings in a local year, and every
//! pending event is due at the instant of its user's date.

use std::collections::BTreeMap;

use bday::clock::Clock as _;
use bday::model::{EventState, NewUser, nominal_date};
use bday::pipeline::scheduler::TickError;
use bday::store::{StoreError, UserFilter, UserRef};
use chrono::{DateTime, TimeDelta};
use futures_util::future::join_all;
use uuid::Uuid;

use crate::support::receiver::Behaviour;
use crate::support::world::{World, instant, person};

const DATES: [&str; 6] = ["1990-12-30", "1990-12-31", "1990-01-01", "--01-02", "2000-02-29", "1990-06-01"];
const ZONES: [&str; 4] = ["Pacific/Kiritimati", "Europe/Berlin", "America/New_York", "Pacific/Midway"];
const PEOPLE: u32 = 12;
/// Concurrent editors, in addition to two planners.
const EDITORS: usize = 6;
/// Each failure message contains the seed.
const SEEDS: [u64; 2] = [1, 2];

#[tokio::test(flavor = "multi_thread")]
async fn no_sequence_of_edits_causes_two_greetings_in_a_year() {
    for seed in SEEDS {
        Box::pin(live(seed)).await;
    }
}

/// Simulates the days around New Year.
async fn live(seed: u64) {
    let (mut random, mut years) = (fastrand::Rng::with_seed(seed), Years::new());
    let world = World::at("2026-12-30T00:00:00Z").await;
    world.tick().await;
    let end = instant("2027-01-03T12:00:00Z");
    let mut checked = 0;
    while world.clock.now() < end {
        world.clock.advance(TimeDelta::minutes(random.i64(60..480)));
        if random.u8(0..4) == 0 {
            let failure = if random.bool() { Behaviour::Status(500) } else { Behaviour::Reset };
            world.receiver.next([failure]);
        }
        // Makes the planners plan all days again, concurrently with the edits.
        sqlx::query("UPDATE planned_days SET planned_at = NULL")
            .execute(&world.database.pool().await)
            .await
            .unwrap();
        let seeds: Vec<u64> = (0..EDITORS).map(|_| random.u64(..)).collect();
        tokio::join!(join_all(seeds.into_iter().map(|seed| edits(&world, seed))), tick(&world), tick(&world),);
        // Plans the users that were locked before.
        world.tick().await;
        checked += check_due_instants(&world, seed).await;
        note_years(&world, &mut years).await;
        tokio::join!(edits(&world, random.u64(..)), async {
            world.pool().run_once().await.unwrap();
        });
    }
    assert!(checked > 20, "seed {seed}: {checked} events were checked");
    world.clock.advance(TimeDelta::hours(3));
    world.tick().await;
    note_years(&world, &mut years).await;
    world.pool().run_once().await.unwrap();
    check_greetings(&world, &years, seed);
}

/// Runs a tick. Lock conflicts are ignored: the next tick retries.
async fn tick(world: &World) {
    match world.scheduler().run_once(world.clock.now()).await.1 {
        Err(TickError::Store(error)) if error.is_contention() => {}
        result => result.unwrap(),
    }
}

async fn edits(world: &World, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..3 {
        let before = random.clone();
        while let Err(error) = edit(world, &mut random).await {
            assert!(error.is_contention(), "{error:?}");
            random = before.clone();
        }
    }
}

async fn edit(world: &World, random: &mut fastrand::Rng) -> Result<(), StoreError> {
    let name = format!("u{}", random.u32(0..PEOPLE));
    let date = DATES[random.usize(0..DATES.len())];
    let zone = ZONES[random.usize(0..ZONES.len())];
    let send_at = format!("{:02}:{:02}", random.u8(0..24), random.u8(0..60));
    let (schedule, now, who) = (world.config.schedule(), world.clock.now(), UserRef::External(&name));
    let turn = random.u8(0..6);
    if turn == 5 {
        return world.store.delete_user(now, who, None, None).await.map(drop);
    }
    let edit = |current: Option<bday::store::CurrentUser>| {
        let Some(user) = current.map(|current| current.user.unwrap()) else {
            return Ok::<_, ()>(person(&name, date, zone));
        };
        let mut new = NewUser {
            birth_date: user.birth_date,
            time_zone: user.time_zone,
            send_at: user.send_at,
            leap_day: user.leap_day,
            locale: user.locale.clone(),
            addresses: BTreeMap::new(),
            ..person(&name, date, zone)
        };
        match turn {
            0 => return Ok(person(&name, date, zone)),
            1 => new.birth_date = date.parse().unwrap(),
            2 => new.time_zone = zone.parse().unwrap(),
            3 => new.send_at = Some(send_at.parse().unwrap()),
            _ => new.leap_day = Some("mar1".parse().unwrap()),
        }
        Ok(new)
    };
    world.store.save_user(&schedule, now, Some(who), None, edit).await.map(drop)
}

/// Checks the due instant of each pending event, and that each future occasion in the planned days has an event. Returns the
/// number of compared instants.
async fn check_due_instants(world: &World, seed: u64) -> usize {
    let (schedule, now) = (world.config.schedule(), world.clock.now());
    let all = world.store.list_users(&UserFilter::default(), Uuid::nil(), 500).await.unwrap();
    let mut compared = 0;
    for user in all.users {
        let facts = world.store.user_history(UserRef::Id(user.id)).await.unwrap().unwrap();
        let birthday = user.yearly_dates(|_| DateTime::UNIX_EPOCH).next().unwrap();
        for year in [2026, 2027] {
            let due = schedule.occurrence(&birthday, year).map(|found| found.due_at);
            let event = facts.events.iter().map(|found| &found.event);
            let event = event.clone().find(|event| i32::from(event.local_year) == year);
            let planned = facts.planned_through >= Some(nominal_date(user.birth_date, year));
            if planned && due > Some(now) {
                assert!(event.is_some(), "seed {seed}: no event for {user:?} in {year}");
            }
            if let Some(event) = event.filter(|event| event.state == EventState::Pending)
                && event.attempts == 0
                && event.due_at > now
            {
                assert_eq!(Some(event.due_at), due, "seed {seed}: {event:?} of {user:?}");
                compared += 1;
            }
        }
    }
    compared
}

/// The user and local year of each event by its id, collected over time because a deletion changes the id.
type Years = BTreeMap<String, (Uuid, i16)>;

async fn note_years(world: &World, years: &mut Years) {
    let rows: Vec<(Uuid, Uuid, i16)> = sqlx::query_as("SELECT id, user_id, local_year FROM events")
        .fetch_all(&world.database.pool().await)
        .await
        .unwrap();
    years.extend(rows.into_iter().map(|(id, user, year)| (id.to_string(), (user, year))));
}

fn check_greetings(world: &World, years: &Years, seed: u64) {
    let mut by_year: BTreeMap<(Uuid, i16), usize> = BTreeMap::new();
    for record in world.receiver.records().iter().filter(|record| record.accepted) {
        *by_year.entry(years[&record.event_id]).or_default() += 1;
    }
    assert!(by_year.len() > 5, "seed {seed} greets hardly anybody: {}", by_year.len());
    let twice: Vec<_> = by_year.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "seed {seed}: {twice:?}");
}
