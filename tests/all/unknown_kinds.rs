//! Processes with different kinds on one database, as during a rollout that adds or removes a kind.

use std::sync::Arc;

use bday::model::EventState::{Delivered, Queued, Skipped};

use crate::support::world::{World, person};

/// Returns a process with the kind `name_day` and one without it, on a database with a planned name day.
async fn processes() -> (World, World) {
    let settings = [("kinds.name_day.message", "Happy name day, {{ full_name }}")];
    let (knows, mut lacks) =
        tokio::join!(World::with("2026-05-01T00:00:00Z", &settings), World::at("2026-05-01T00:00:00Z"));
    lacks.store = knows.store.clone();
    lacks.queue = Arc::clone(&knows.queue);
    let mut user = person("u", "1990-08-02", "UTC");
    user.occasions.insert("name_day".to_owned(), Some("--05-02".parse().unwrap()));
    knows.write_user(user).await;
    knows.tick().await;
    (knows, lacks)
}

#[tokio::test]
async fn processes_ignore_events_of_kinds_that_they_do_not_have() {
    let (knows, lacks) = processes().await;
    for world in [&knows, &lacks] {
        world.set("2026-05-02T09:00:00Z");
    }
    assert_eq!(lacks.tick().await.due, 0, "a scheduler claimed an event of an unknown kind");
    assert_eq!(knows.tick().await.due, 1);
    lacks.pool().run_once().await.unwrap();
    assert_eq!((lacks.greetings(), knows.count(Queued).await), (0, 1));
    let attempts: i16 = sqlx::query_scalar("SELECT attempts FROM events")
        .fetch_one(&knows.database.pool().await)
        .await
        .unwrap();
    assert_eq!(attempts, 0, "a worker that does not know the kind counted an attempt");
    for world in [&knows, &lacks] {
        world.set("2026-05-02T09:00:30Z");
    }
    knows.pool().run_once().await.unwrap();
    assert_eq!((knows.greetings(), knows.count(Delivered).await), (1, 1));
}

#[tokio::test]
async fn an_event_of_a_removed_kind_is_skipped_as_late() {
    let (knows, lacks) = processes().await;
    lacks.set("2026-05-04T09:00:01Z");
    assert_eq!(lacks.tick().await.skipped, 1);
    assert_eq!(knows.count(Skipped).await, 1);
}
