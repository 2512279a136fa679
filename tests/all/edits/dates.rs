//! Changes of the birth date, the send time and the leap day rule, before, on and after the day.

use bday::model::EventState::{Delivered, Pending, Skipped};

use crate::support::receiver::Behaviour;
use crate::support::world::{World, person};

/// Returns a world two days before 10 May 2026, the birthday of a user in Berlin.
async fn berlin() -> World {
    let world = World::at("2026-05-08T00:00:00Z").await;
    world.write("u", "1990-05-10", "Europe/Berlin").await;
    world.minute().await;
    assert_eq!(world.count(Pending).await, 1);
    world
}

#[tokio::test]
async fn a_date_moved_to_a_later_day_is_greeted_once_on_that_day() {
    let world = berlin().await;
    world.correct("u", "1990-05-14").await;
    world.live_until("2026-05-14T06:59:59Z").await;
    assert_eq!(world.greetings(), 0);
    world.live_until("2026-05-14T07:00:00Z").await;
    assert_eq!(world.greetings(), 1);
    world.live_until("2026-05-16T00:00:00Z").await;
    assert_eq!(world.greetings(), 1);
}

#[tokio::test]
async fn a_date_moved_beyond_the_horizon_is_greeted_once() {
    let world = berlin().await;
    world.correct("u", "1990-06-20").await;
    world.live_until("2026-05-11T00:00:00Z").await;
    assert_eq!(world.greetings(), 0);
    world.set("2026-06-19T00:00:00Z");
    world.minute().await;
    world.live_until("2026-06-22T00:00:00Z").await;
    assert_eq!(world.greetings(), 1);
}

#[tokio::test]
async fn a_date_moved_to_a_past_day_is_greeted_next_year() {
    let world = berlin().await;
    world.correct("u", "1990-05-06").await;
    world.live_until("2026-05-12T00:00:00Z").await;
    assert_eq!(world.greetings(), 0);
    world.set("2027-05-05T00:00:00Z");
    world.minute().await;
    world.live_until("2027-05-07T00:00:00Z").await;
    assert_eq!(world.greetings(), 1);
}

#[tokio::test]
async fn a_date_moved_before_the_send_time_is_greeted_once() {
    let world = berlin().await;
    world.live_until("2026-05-10T06:59:00Z").await;
    world.correct("u", "1990-05-12").await;
    world.live_until("2026-05-14T00:00:00Z").await;
    assert_eq!(world.greetings(), 1);
    assert_eq!(world.receiver.records().len(), 1);
}

#[tokio::test]
async fn a_date_moved_while_queued_is_greeted_once_on_its_new_day() {
    let world = berlin().await;
    world.set("2026-05-10T07:00:00Z");
    world.tick().await;
    world.correct("u", "1990-05-12").await;
    // The worker that receives the message must skip the event, which is no longer queued.
    world.pool().run_once().await.unwrap();
    assert_eq!((world.greetings(), world.count(Pending).await), (0, 1));
    world.live_until("2026-05-14T00:00:00Z").await;
    assert_eq!((world.greetings(), world.count(Delivered).await), (1, 1));
}

#[tokio::test]
async fn a_past_date_set_while_queued_is_not_greeted_this_year() {
    let world = berlin().await;
    world.set("2026-05-10T07:00:00Z");
    world.tick().await;
    world.correct("u", "1990-05-02").await;
    world.live_until("2026-05-12T00:00:00Z").await;
    assert_eq!(world.greetings(), 0);
}

#[tokio::test]
async fn a_date_moved_after_the_greeting_is_greeted_next_year() {
    let world = berlin().await;
    world.live_until("2026-05-10T07:00:00Z").await;
    assert_eq!(world.greetings(), 1);
    for date in ["1990-05-12", "1990-05-10", "1990-05-11", "--05-12"] {
        world.correct("u", date).await;
    }
    world.live_until("2026-05-14T00:00:00Z").await;
    assert_eq!(world.greetings(), 1);
    world.set("2027-05-11T00:00:00Z");
    world.minute().await;
    world.live_until("2027-05-14T00:00:00Z").await;
    assert_eq!(world.greetings(), 2);
}

#[tokio::test]
async fn an_event_that_may_have_been_sent_does_not_move() {
    let world = berlin().await;
    world.set("2026-05-10T07:00:00Z");
    world.receiver.next([Behaviour::Reset]);
    world.minute().await;
    // The receiver has read the request, but its outcome is unknown.
    assert_eq!((world.greetings(), world.receiver.records().len()), (0, 1));
    for date in ["1990-05-02", "1990-05-12"] {
        world.correct("u", date).await;
    }
    world.live_until("2026-05-14T00:00:00Z").await;
    assert_eq!(world.greetings(), 1);
    let ids: Vec<String> = world.receiver.records().into_iter().map(|record| record.event_id).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn a_date_moved_to_today_follows_the_late_join_rule() {
    for (late_join, greetings) in [("send", 1), ("skip", 0)] {
        let world = World::with("2026-05-08T00:00:00Z", &[("plan.late_join", late_join)]).await;
        world.write("u", "1990-05-11", "Europe/Berlin").await;
        world.minute().await;
        world.live_until("2026-05-10T12:00:00Z").await;
        world.correct("u", "1990-05-10").await;
        world.live_until("2026-05-13T00:00:00Z").await;
        assert_eq!(world.greetings(), greetings, "{late_join}");
        assert_eq!(world.count(Skipped).await, 1 - greetings as i64, "{late_join}");
    }
}

#[tokio::test]
async fn a_skipped_event_is_pending_again_if_its_date_moves_to_a_later_day() {
    let world = World::with("2026-05-10T12:00:00Z", &[("plan.late_join", "skip")]).await;
    world.tick().await;
    world.write("u", "1990-05-10", "Europe/Berlin").await;
    assert_eq!(world.count(Skipped).await, 1);
    world.correct("u", "1990-05-12").await;
    world.live_until("2026-05-14T00:00:00Z").await;
    assert_eq!(world.greetings(), 1);
}

#[tokio::test]
async fn a_send_time_changed_on_the_day_causes_no_second_greeting() {
    for (edited_at, send_at, sent_by) in [
        // Before the greeting, to a later and to a past send time.
        ("2026-05-10T06:00:00Z", "18:00", "2026-05-10T16:00:00Z"),
        ("2026-05-10T06:30:00Z", "08:00", "2026-05-10T06:31:00Z"),
        // After the greeting.
        ("2026-05-10T07:01:00Z", "18:00", "2026-05-10T07:01:00Z"),
    ] {
        let world = berlin().await;
        world.live_until("2026-05-10T05:00:00Z").await;
        world.live_until(edited_at).await;
        if edited_at > "2026-05-10T07:00:00Z" {
            assert_eq!(world.greetings(), 1);
        }
        world.change("u", |user| user.send_at = Some(send_at.parse().unwrap())).await;
        world.live_until(sent_by).await;
        assert_eq!(world.greetings(), 1, "{edited_at} {send_at}");
        world.live_until("2026-05-12T00:00:00Z").await;
        assert_eq!(world.greetings(), 1, "{edited_at} {send_at}");
    }
}

#[tokio::test]
async fn a_changed_leap_day_rule_sends_no_greeting_for_a_past_day() {
    for (edited_at, from, to, greetings) in [
        // From no occurrence to the 28th: sent immediately on the 28th, but not on the next day.
        ("2026-02-28T15:00:00Z", "leap_years_only", "feb28", 1),
        ("2026-03-01T15:00:00Z", "leap_years_only", "feb28", 0),
        ("2026-02-28T15:00:00Z", "leap_years_only", "mar1", 1),
        // After the greeting of the 28th; then changes before any greeting.
        ("2026-02-28T15:00:00Z", "feb28", "mar1", 1),
        ("2026-02-27T15:00:00Z", "feb28", "leap_years_only", 0),
        ("2026-02-27T15:00:00Z", "feb28", "mar1", 1),
        ("2026-02-28T15:00:00Z", "mar1", "feb28", 1),
    ] {
        let world = World::at("2026-02-26T00:00:00Z").await;
        let mut user = person("u", "2000-02-29", "Europe/Berlin");
        user.leap_day = Some(from.parse().unwrap());
        world.write_user(user).await;
        world.minute().await;
        world.live_until(edited_at).await;
        world.change("u", |user| user.leap_day = Some(to.parse().unwrap())).await;
        world.live_until("2026-03-04T00:00:00Z").await;
        assert_eq!(world.greetings(), greetings, "{edited_at} {from} {to}");
    }
}

#[tokio::test]
async fn an_imported_leap_day_rule_sends_no_greeting_for_a_past_day() {
    let world = World::at("2026-02-26T00:00:00Z").await;
    let mut user = person("u", "2000-02-29", "Europe/Berlin");
    user.leap_day = Some("leap_years_only".parse().unwrap());
    world.write_user(user.clone()).await;
    world.minute().await;
    world.live_until("2026-03-01T15:00:00Z").await;
    user.leap_day = None;
    world.write_user(user).await;
    world.live_until("2026-03-04T00:00:00Z").await;
    assert_eq!(world.greetings(), 0);
}

#[tokio::test]
async fn an_equivalent_leap_day_rule_keeps_an_overdue_greeting() {
    for imported in [false, true] {
        let world = World::at("2026-02-26T00:00:00Z").await;
        let mut user = person("u", "2000-02-29", "Europe/Berlin");
        world.write_user(user.clone()).await;
        world.minute().await;
        // No tick runs until the next day, as in an outage.
        world.set("2026-03-01T15:00:00Z");
        user.leap_day = Some("feb28".parse().unwrap());
        if imported {
            world.write_user(user).await;
        } else {
            world.change("u", |there| there.leap_day = user.leap_day).await;
        }
        world.minute().await;
        assert_eq!(world.greetings(), 1, "imported: {imported}");
    }
}

#[tokio::test]
async fn in_a_leap_year_a_changed_rule_keeps_an_overdue_greeting() {
    let world = World::at("2028-02-27T00:00:00Z").await;
    world.write("u", "2000-02-29", "Europe/Berlin").await;
    world.minute().await;
    world.set("2028-03-01T15:00:00Z");
    world.change("u", |user| user.leap_day = Some("mar1".parse().unwrap())).await;
    world.minute().await;
    assert_eq!(world.greetings(), 1);
}
