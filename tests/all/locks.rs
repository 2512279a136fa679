//! A locked event does not delay other events.

use std::time::Duration;

use bday::model::EventState::{Delivered, Queued};
use sqlx::{PgPool, Postgres, Transaction};
use uuid::Uuid;

use crate::support::receiver::Behaviour;
use crate::support::wait::eventually;
use crate::support::world::World;

async fn any_event(pool: &PgPool) -> Uuid {
    sqlx::query_scalar("SELECT id FROM events LIMIT 1").fetch_one(pool).await.unwrap()
}

/// Locks an event, as an import, an edit or an operator's session does.
async fn lock(pool: &PgPool, event: Uuid) -> Transaction<'static, Postgres> {
    let mut other = pool.begin().await.unwrap();
    sqlx::query("SELECT FROM events WHERE id = $1 FOR UPDATE")
        .bind(event)
        .execute(&mut *other)
        .await
        .unwrap();
    other
}

#[tokio::test]
async fn a_locked_event_does_not_delay_other_events() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    for n in 0..200 {
        world.write(&format!("u{n}"), "1990-05-02", "UTC").await;
    }
    world.tick().await;
    let pool = world.database.pool().await;
    let locked = any_event(&pool).await;
    world.set("2026-05-02T09:00:00Z");
    let other = lock(&pool, locked).await;
    assert_eq!(world.tick().await.enqueued, 199);
    other.rollback().await.unwrap();
    assert_eq!(world.tick().await.enqueued, 1);
    let other = lock(&pool, locked).await;
    world.pool().run_once().await.unwrap();
    assert_eq!((world.greetings(), world.count(Queued).await), (199, 1));
    other.rollback().await.unwrap();
    // The pack of the locked event is redelivered after some seconds.
    world.set("2026-05-02T09:00:05Z");
    world.pool().run_once().await.unwrap();
    assert_eq!(world.greetings(), 200);
}

#[tokio::test]
async fn an_outcome_of_a_locked_event_is_recorded_later() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    for n in 0..20 {
        world.write(&format!("u{n}"), "1990-05-02", "UTC").await;
    }
    world.set("2026-05-02T09:00:00Z");
    world.tick().await;
    let pool = world.database.pool().await;
    let locked = any_event(&pool).await;
    world.receiver.script_for(&locked.to_string(), [Behaviour::slow(Duration::from_millis(300))]);
    let worker = world.pool();
    let record_the_others = async {
        world.receiver.until_received(20).await;
        let other = lock(&pool, locked).await;
        eventually("the others to be recorded", async || (world.count(Delivered).await == 19).then_some(()))
            .await;
        world.receiver.until_accepted(20).await;
        other.rollback().await.unwrap();
    };
    let (result, ()) = tokio::join!(worker.run_once(), record_the_others);
    result.unwrap();
    assert_eq!((world.greetings(), world.count(Delivered).await), (20, 20));
}
