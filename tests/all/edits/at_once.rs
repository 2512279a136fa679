//! Concurrent writes of the same user.

use std::convert::Infallible;

use bday::store::{
    BatchOutcome, DeleteOutcome, PageRequest, PlanPage, PlanStep, SaveOutcome, StoreError, UserChange,
    UserKey, UserRef,
};
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};
use uuid::Uuid;

use crate::support::wait::eventually;
use crate::support::world::{World, instant, person};

const NOW: &str = "2026-05-02T00:00:00Z";

/// Waits until `n` connections wait for a lock.
async fn until_waiting(world: &World, n: i64) {
    let mut other = PgConnection::connect(world.database.url()).await.unwrap();
    eventually("a connection to wait for a lock", async || {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(&mut other)
        .await
        .unwrap();
        (waiting >= n).then_some(())
    })
    .await;
}

/// Retries `write` if it conflicts with concurrent writes, as the API and imports do.
async fn persist<T>(write: impl AsyncFn() -> Result<T, StoreError>) -> T {
    loop {
        match write().await {
            Err(error) if error.is_contention() => {}
            result => return result.unwrap(),
        }
    }
}

#[tokio::test]
async fn two_concurrent_imports_create_each_user_once() {
    let world = World::at(NOW).await;
    world.tick().await;
    let mut first = PgConnection::connect(world.database.url()).await.unwrap();
    let mut transaction = first.begin().await.unwrap();
    sqlx::query(
        "INSERT INTO users (id, external_id, first_name, last_name, time_zone, created_at, updated_at)
         VALUES ('0197d5a0-0000-7000-8000-000000000001', 'u', 'Ada', 'u', 'UTC', now(), now());",
    )
    .execute(&mut *transaction)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO occasions VALUES ('0197d5a0-0000-7000-8000-000000000001', 'birthday', 1990, 5, 2, now())",
    )
    .execute(&mut *transaction)
    .await
    .unwrap();
    let (written, ()) = tokio::join!(import(&world, NOW), commit_when_waited_for(&world, transaction));
    assert_eq!(written[0].1, BatchOutcome::Saved(UserChange::Unchanged));
    assert_eq!(written[0].0.as_u128(), 0x0197_d5a0_0000_7000_8000_0000_0000_0001);
}

async fn import(world: &World, now: &str) -> Vec<(Uuid, BatchOutcome)> {
    let (schedule, people) =
        (world.config.schedule(), [(UserKey::ExternalId, person("u", "1990-05-02", "UTC"))]);
    persist(async || world.store.save_users(&schedule, instant(now), &people).await).await
}

async fn create(world: &World, now: &str) -> SaveOutcome<Infallible> {
    let (schedule, who) = (world.config.schedule(), Some(UserRef::External("u")));
    let new = |_| Ok(person("u", "1990-05-02", "UTC"));
    persist(async || world.store.save_user(&schedule, instant(now), who, None, new).await).await
}

/// Runs these statements on a user in a transaction, which stays open.
async fn half_done(
    world: &World,
    user: Uuid,
    statements: [&'static str; 2],
) -> Transaction<'static, Postgres> {
    let mut transaction = world.database.pool().await.begin().await.unwrap();
    for statement in statements {
        sqlx::query(statement).bind(user).execute(&mut *transaction).await.unwrap();
    }
    transaction
}

async fn commit_when_waited_for(world: &World, transaction: Transaction<'_, Postgres>) {
    until_waiting(world, 1).await;
    transaction.commit().await.unwrap();
}

/// Adds a user and sends the greeting of the day.
async fn greeted(world: &World) -> Uuid {
    world.tick().await;
    let user = world.write("u", "1990-05-02", "UTC").await;
    world.set("2026-05-02T09:00:00Z");
    world.minute().await;
    assert_eq!(world.greetings(), 1);
    user
}

/// Runs `write` while the deletion of `user` is in progress.
async fn during_the_deletion<T>(world: &World, user: Uuid, write: impl Future<Output = T>) -> T {
    let mut hold = world.database.pool().await.begin().await.unwrap();
    sqlx::query("SELECT FROM events WHERE user_id = $1 FOR UPDATE")
        .bind(user)
        .execute(&mut *hold)
        .await
        .unwrap();
    let deletion = world.store.delete_user(instant("2026-05-02T09:00:00Z"), UserRef::Id(user), None, None);
    let release = async {
        until_waiting(world, 2).await;
        hold.rollback().await.unwrap();
    };
    let others = async {
        until_waiting(world, 1).await;
        tokio::join!(write, release).0
    };
    let (deleted, written) = tokio::join!(deletion, others);
    assert_eq!(deleted.unwrap(), DeleteOutcome::Deleted(user));
    written
}

#[tokio::test]
async fn a_user_created_again_during_the_deletion_is_greeted_once() {
    let world = World::at(NOW).await;
    let user = greeted(&world).await;
    let created = during_the_deletion(&world, user, Box::pin(create(&world, "2026-05-02T09:01:00Z"))).await;
    let SaveOutcome::Saved(UserChange::Created, created) = created else { panic!("{created:?}") };
    assert_eq!(created.id, user);
    world.set("2026-05-02T09:02:00Z");
    world.minute().await;
    assert_eq!(world.greetings(), 1);
}

#[tokio::test]
async fn a_user_imported_during_the_deletion_is_greeted_once() {
    let world = World::at(NOW).await;
    let user = greeted(&world).await;
    let written = during_the_deletion(&world, user, Box::pin(import(&world, "2026-05-02T09:01:00Z"))).await;
    assert_eq!(written, [(user, BatchOutcome::Saved(UserChange::Created))]);
    world.set("2026-05-02T09:02:00Z");
    world.minute().await;
    assert_eq!(world.greetings(), 1);
}

#[tokio::test]
async fn a_user_created_and_deleted_while_an_insert_waits_keeps_its_id() {
    let world = World::at(NOW).await;
    let user = greeted(&world).await;
    let now = instant("2026-05-02T09:00:00Z");
    world.store.delete_user(now, UserRef::Id(user), None, None).await.unwrap();
    let pool = world.database.pool().await;
    sqlx::raw_sql("CREATE TABLE trace AS SELECT * FROM deleted_users; DELETE FROM deleted_users")
        .execute(&pool)
        .await
        .unwrap();
    // The insert waits for this lock; the lookup before it does not.
    let mut hold = pool.begin().await.unwrap();
    let statements = "LOCK TABLE users IN SHARE MODE; INSERT INTO deleted_users SELECT * FROM trace";
    sqlx::raw_sql(statements).execute(&mut *hold).await.unwrap();
    let (written, ()) =
        tokio::join!(import(&world, "2026-05-02T09:01:00Z"), commit_when_waited_for(&world, hold));
    assert_eq!(written, [(user, BatchOutcome::Saved(UserChange::Created))]);
}

#[tokio::test]
async fn an_edit_reads_the_changes_of_the_edit_it_waited_for() {
    let world = World::at(NOW).await;
    world.tick().await;
    let user = world.write("u", "1990-05-02", "UTC").await;
    let statements = [
        "UPDATE users SET version = version + 1 WHERE id = $1",
        "UPDATE occasions SET day = 3 WHERE user_id = $1",
    ];
    let first = half_done(&world, user, statements).await;
    let schedule = world.config.schedule();
    let second = world.store.edit_user(&schedule, instant(NOW), UserRef::Id(user), |old| {
        let mut new = person("u", &old.birth_date.to_string(), "UTC");
        new.first_name = "Grace".to_owned();
        Ok::<_, Infallible>(new)
    });
    let (second, ()) = tokio::join!(second, commit_when_waited_for(&world, first));
    let SaveOutcome::Saved(UserChange::Updated, second) = second.unwrap() else { panic!("not updated") };
    assert_eq!(second.birth_date.to_string(), "1990-05-03");
    let now = world.store.user(UserRef::Id(user)).await.unwrap();
    assert_eq!(now.as_ref(), Some(&*second));
}

/// The edit holds the lock of the user's bucket and has read its events, so the planner must not write an event for the old date.
#[tokio::test]
async fn a_planner_waits_for_an_edit_of_the_same_bucket() {
    let world = World::at(NOW).await;
    let user = world.write("u", "1990-05-02", "UTC").await;
    let bucket = i16::from(user.as_bytes()[15]) & 31;
    let mut edit = world.database.pool().await.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock_shared(x'62646179'::int, $1)")
        .bind(i32::from(bucket))
        .execute(&mut *edit)
        .await
        .unwrap();
    sqlx::query("UPDATE occasions SET day = 3 WHERE user_id = $1")
        .bind(user)
        .execute(&mut *edit)
        .await
        .unwrap();
    let (schedule, now) = (world.config.schedule(), instant(NOW));
    let request = PageRequest { day: now.date_naive(), bucket: Some(bucket), after: Uuid::nil(), limit: 10 };
    let page = async || world.store.plan_page(&schedule, now, request).await.unwrap();
    assert_eq!(page().await, PlanStep::Busy, "a planner waits briefly");
    edit.commit().await.unwrap();
    assert_eq!(page().await, PlanStep::Page(PlanPage::default()));
}

#[tokio::test]
async fn planning_a_day_writes_no_user_row() {
    let world = World::at(NOW).await;
    world.write("u", "1990-05-02", "UTC").await;
    let pool = world.database.pool().await;
    let rows = async || -> Vec<(String, String)> {
        sqlx::query_as(
            "SELECT xmin::text, xmax::text FROM users UNION ALL SELECT xmin::text, xmax::text FROM occasions",
        )
        .fetch_all(&pool)
        .await
        .unwrap()
    };
    let before = rows().await;
    assert_eq!(world.tick().await.planned, 1);
    assert_eq!(rows().await, before);
}

#[tokio::test]
async fn an_edit_moves_an_event_that_is_planned_concurrently() {
    let world = World::at("2026-12-30T00:00:00Z").await;
    world.tick().await;
    let user = world.write("u", "1990-12-31", "UTC").await;
    let pool = world.database.pool().await;
    sqlx::query("DELETE FROM events").execute(&pool).await.unwrap();
    let now = instant("2026-12-30T00:00:00Z");
    // The planner has read the user and waits to write the event.
    let mut hold = pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE events IN SHARE MODE").execute(&mut *hold).await.unwrap();
    let schedule = world.config.schedule();
    let day = "2026-12-31".parse().unwrap();
    let request = PageRequest { day, bucket: None, after: Uuid::nil(), limit: 10 };
    let planned = world.store.plan_page(&schedule, now, request);
    let edited = async {
        until_waiting(&world, 1).await;
        let release = async {
            until_waiting(&world, 2).await;
            hold.rollback().await.unwrap();
        };
        tokio::join!(world.write("u", "1990-01-01", "UTC"), release);
    };
    let (planned, ()) = tokio::join!(planned, edited);
    let PlanStep::Page(page) = planned.unwrap() else { panic!("the planner had the bucket first") };
    assert_eq!(page.planned, 1);
    let facts = world.store.user_history(UserRef::Id(user)).await.unwrap().unwrap();
    let dates: Vec<String> = facts.events.iter().map(|found| found.event.local_date.to_string()).collect();
    assert_eq!(dates, ["2027-01-01"]);
}
