//! A row that this binary cannot read, such as a zone that somebody wrote into the database by hand, or that a newer binary
//! knew: it is the trouble of one person, and of nobody else.

use bday::model::EventState::Pending;
use bday::store::UserRef;
use bday::tzguard::{Outcome, recompute};

use crate::support::world::{World, instant};

const NOW: &str = "2026-05-01T12:00:00Z";

async fn set_zone(world: &World, external_id: &str, zone: &str) {
    sqlx::query("UPDATE users SET time_zone = $2 WHERE external_id = $1")
        .bind(external_id)
        .bind(zone)
        .execute(&world.database.pool().await)
        .await
        .unwrap();
}

#[tokio::test]
async fn one_user_who_cannot_be_read_holds_up_no_other_and_is_planned_once_it_can_be() {
    let world = World::at(NOW).await;
    for name in ["ada", "mars", "zoe"] {
        world.write(name, "1990-05-02", "Europe/Berlin").await;
    }
    world.write("later", "1990-05-03", "Europe/Berlin").await;
    set_zone(&world, "mars", "Mars/Olympus_Mons").await;
    assert_eq!(world.tick().await.planned, 3);
    world.set("2026-05-02T07:00:00Z");
    world.minute().await;
    assert_eq!(world.greetings(), 2);
    set_zone(&world, "mars", "Europe/Berlin").await;
    assert_eq!(world.minute().await.planned, 1);
    assert_eq!(world.greetings(), 3);
}

#[tokio::test]
async fn a_day_that_is_long_over_is_not_gone_through_again_for_one_who_cannot_be_read() {
    let world = World::at(NOW).await;
    world.write("mars", "1990-05-02", "Europe/Berlin").await;
    set_zone(&world, "mars", "Mars/Olympus_Mons").await;
    world.tick().await;
    let open = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM planned_days WHERE planned_at IS NULL")
            .fetch_one(&world.database.pool().await)
            .await
            .unwrap()
    };
    assert_eq!(open().await, 1);
    world.set("2026-05-06T00:00:00Z");
    world.tick().await;
    assert_eq!(open().await, 0);
}

#[tokio::test]
async fn new_zone_data_moves_the_others() {
    let world = World::at(NOW).await;
    let mars = world.write("mars", "1990-05-03", "Europe/Berlin").await;
    world.write("ada", "1990-05-03", "Europe/Berlin").await;
    world.tick().await;
    sqlx::query("UPDATE events SET due_at = due_at + interval '1 hour'")
        .execute(&world.database.pool().await)
        .await
        .unwrap();
    set_zone(&world, "mars", "Mars/Olympus_Mons").await;
    let outcome = recompute(&world.store, &world.config.schedule(), instant(NOW), "2026z").await;
    let Outcome::Done(report) = outcome.unwrap() else {
        panic!("it was not done")
    };
    assert_eq!((report.looked_at, report.moved), (2, 1));
    // Nobody knows where to: so it stays.
    let facts = world.store.facts(UserRef::Id(mars)).await;
    drop(facts);
    assert_eq!(world.count(Pending).await, 2);
}
