//! Moves to another zone, including across the date line.

use bday::clock::Clock as _;
use bday::model::EventState::Pending;
use chrono::TimeDelta;

use crate::support::world::{World, instant};

#[tokio::test]
async fn a_user_who_moves_before_the_day_is_greeted_in_the_new_zone() {
    let world = World::at("2026-05-08T00:00:00Z").await;
    world.write("u", "1990-05-10", "Europe/Berlin").await;
    world.minute().await;
    world.move_to("u", "America/New_York").await;
    world.live_until("2026-05-10T12:59:59Z").await;
    assert_eq!(world.greetings(), 0);
    world.live_until("2026-05-10T13:00:00Z").await;
    assert_eq!(world.greetings(), 1);
}

#[tokio::test]
async fn a_date_line_crossing_after_the_greeting_sends_no_second() {
    let world = World::at("2026-06-08T00:00:00Z").await;
    world.write("u", "1990-06-10", "Pacific/Kiritimati").await;
    world.minute().await;
    world.live_until("2026-06-09T19:00:00Z").await;
    assert_eq!(world.greetings(), 1);
    // In the new zone, the day has not begun.
    world.move_to("u", "Pacific/Midway").await;
    world.live_until("2026-06-13T00:00:00Z").await;
    assert_eq!(world.greetings(), 1);
}

#[tokio::test]
async fn a_date_line_crossing_before_the_greeting_moves_it() {
    let world = World::at("2026-06-08T00:00:00Z").await;
    world.write("u", "1990-06-10", "Pacific/Kiritimati").await;
    world.minute().await;
    world.live_until("2026-06-09T18:59:00Z").await;
    world.move_to("u", "Pacific/Midway").await;
    world.live_until("2026-06-10T19:59:59Z").await;
    assert_eq!(world.greetings(), 0);
    world.live_until("2026-06-10T20:00:00Z").await;
    assert_eq!(world.greetings(), 1);
}

#[tokio::test]
async fn a_move_past_the_end_of_the_day_sends_the_greeting_immediately() {
    let world = World::at("2026-06-08T00:00:00Z").await;
    world.write("u", "1990-06-10", "Pacific/Midway").await;
    world.minute().await;
    // It is 02:00 on the 10th in the old zone, and 03:00 on the 11th in the new one.
    world.live_until("2026-06-10T13:00:00Z").await;
    assert_eq!((world.greetings(), world.count(Pending).await), (0, 1));
    world.move_to("u", "Pacific/Kiritimati").await;
    world.minute().await;
    assert_eq!(world.greetings(), 1);
}

#[tokio::test]
async fn a_late_join_in_one_zone_can_be_in_time_in_another() {
    let world = World::at("2026-06-10T12:00:00Z").await;
    world.tick().await;
    // In this zone, it is already the 11th.
    world.write("u", "1990-06-10", "Pacific/Kiritimati").await;
    world.minute().await;
    assert_eq!(world.greetings(), 0);
    world.move_to("u", "Pacific/Midway").await;
    world.live_until("2026-06-12T00:00:00Z").await;
    assert_eq!(world.greetings(), 1);
}

/// Moves users from each zone to each other zone, every three hours around the day.
#[tokio::test]
async fn every_move_between_zones_is_greeted_exactly_once() {
    const ZONES: [&str; 5] =
        ["Pacific/Kiritimati", "Asia/Kolkata", "Europe/Berlin", "America/New_York", "Pacific/Midway"];
    let world = World::at("2026-06-08T00:00:00Z").await;
    let mut moves = Vec::new();
    for from in ZONES {
        for to in ZONES.into_iter().filter(|to| *to != from) {
            for hour in (24..84).step_by(3) {
                let name = format!("{from} {to} {hour}");
                world.write(&name, "1990-06-10", from).await;
                moves.push((instant("2026-06-08T00:00:00Z") + TimeDelta::hours(hour), name, to));
            }
        }
    }
    world.minute().await;
    while world.clock.now() < instant("2026-06-13T00:00:00Z") {
        world.clock.advance(TimeDelta::hours(3));
        // Half of the users move before the tick, half after it.
        let now = world.clock.now();
        let (before, after): (Vec<_>, Vec<_>) =
            moves.iter().filter(|(at, ..)| *at == now).enumerate().partition(|(n, _)| n % 2 == 0);
        for (_, (_, name, to)) in before {
            world.move_to(name, to).await;
        }
        world.minute().await;
        for (_, (_, name, to)) in after {
            world.move_to(name, to).await;
        }
    }
    let greetings = world.greetings_by_user();
    assert_eq!(greetings.len(), moves.len());
    assert!(greetings.values().all(|times| *times == 1));
}
