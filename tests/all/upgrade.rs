//! Two versions on one database: an older binary on a newer schema, and migrations applied out of order.

use bday::store::UserRef;
use sqlx::Executor as _;

use crate::serve::Place;
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn an_older_binary_works_on_a_newer_schema() {
    let place = Place::new().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'of the next version', true, '\\x00', 0)";
    place.database.pool().await.execute(newer).await.unwrap();
    let migrated = place.bday(&["migrate"]).finish().await;
    assert!(migrated.status.success(), "{migrated:?}");
    place.people_who_are_due(5).await;
    let mut daemon = place.serve();
    place.receiver.until_accepted(5).await;
    daemon.terminate();
    assert!(daemon.exit().await.success());
    place.assert_each_once(5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_older_migration_is_detected_and_applied() {
    let place = Place::new().await;
    let undo = "DROP TABLE leases; DELETE FROM _sqlx_migrations WHERE version = 10";
    let pool = place.database.pool().await;
    pool.execute(undo).await.unwrap();
    let waits = place.bday(&["serve"]).env("BDAY__DATABASE__MIGRATE", "false").start();
    let line = waits.logged("not ready yet").await;
    assert!(line["error"].as_str().unwrap().contains("lacks migration 10"), "{line}");
    place.serve().ready().await;
    pool.execute("SELECT id FROM leases").await.unwrap();
}

#[tokio::test]
async fn an_older_binary_reads_a_table_with_an_added_column() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    let user = world.write("u", "1990-05-02", "UTC").await;
    world.set("2026-05-02T09:00:00Z");
    world.minute().await;
    let pool = world.database.pool().await;
    let event = world.only_event().await;
    for later in ["", "ALTER TABLE attempts ADD COLUMN later text"] {
        pool.execute(later).await.unwrap();
        // Enough repetitions for each connection to have prepared the statements.
        for _ in 0..20 {
            assert_eq!(world.store.attempts(event).await.unwrap().len(), 1, "{later}");
            let facts = world.store.user_history(UserRef::Id(user)).await.unwrap();
            assert!(facts.is_some(), "{later}");
        }
    }
}
