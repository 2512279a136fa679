//! Two who write the same person at the same moment.

use std::convert::Infallible;

use bday::store::{Created, Edited, PageRequest, PlanPage, PlanStep, UserKey, UserRef, Written};
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};
use uuid::Uuid;

use crate::support::wait::eventually;
use crate::support::world::{World, instant, person};

const NOW: &str = "2026-05-02T00:00:00Z";

/// Waits until somebody waits for what `other` has locked.
async fn until_somebody_waits(other: &mut PgConnection) {
    eventually("somebody to wait for a lock", async || {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(&mut *other)
        .await
        .unwrap();
        (waiting > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn of_two_imports_of_the_same_people_the_second_finds_those_of_the_first() {
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
    let (schedule, people) = (
        world.config.schedule(),
        [(UserKey::External, person("u", "1990-05-02", "UTC"))],
    );
    let second = async || world.store.write_users(&schedule, instant(NOW), &people).await;
    let (written, ()) = tokio::join!(second(), commit_when_somebody_waits(&world, transaction));
    // As an import does.
    let written = match written {
        Err(error) if error.is_contention() => second().await,
        written => written,
    };
    let written = written.unwrap();
    assert_eq!(written[0].1, Written::Unchanged);
    assert_eq!(written[0].0.as_u128(), 0x0197_d5a0_0000_7000_8000_0000_0000_0001);
}

/// Somebody who has been greeted today, and is being deleted: the deletion is not committed yet.
async fn greeted_and_half_deleted(world: &World) -> (Uuid, Transaction<'static, Postgres>) {
    world.tick().await;
    let user = world.write("u", "1990-05-02", "UTC").await;
    world.set("2026-05-02T09:00:00Z");
    world.minute().await;
    assert_eq!(world.greetings(), 1);
    let statements = [
        "INSERT INTO former_users VALUES ($1, sha256('u'), '2026-05-02T09:00:00Z')",
        "DELETE FROM users WHERE id = $1",
    ];
    (user, half_done(world, user, statements).await)
}

/// What these statements do to a user is not committed yet.
async fn half_done(
    world: &World,
    user: Uuid,
    statements: [&'static str; 2],
) -> Transaction<'static, Postgres> {
    let mut transaction = world.database.pool().await.begin().await.unwrap();
    for statement in statements {
        sqlx::query(statement)
            .bind(user)
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    transaction
}

async fn commit_when_somebody_waits(world: &World, transaction: Transaction<'_, Postgres>) {
    let mut other = PgConnection::connect(world.database.url()).await.unwrap();
    until_somebody_waits(&mut other).await;
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn who_is_created_again_while_the_deletion_goes_on_is_greeted_once() {
    let world = World::at(NOW).await;
    let (user, deletion) = greeted_and_half_deleted(&world).await;
    let (schedule, now) = (world.config.schedule(), instant("2026-05-02T09:01:00Z"));
    let again = person("u", "1990-05-02", "UTC");
    let (created, ()) = tokio::join!(
        world
            .store
            .create_user(&schedule, now, &again, None, |_| String::new()),
        commit_when_somebody_waits(&world, deletion)
    );
    let Created::New(created) = created.unwrap() else {
        panic!("it was not created")
    };
    assert_eq!(created.id, user);
    world.set("2026-05-02T09:02:00Z");
    world.minute().await;
    assert_eq!(world.greetings(), 1);
}

#[tokio::test]
async fn who_is_imported_while_the_deletion_goes_on_is_greeted_once() {
    let world = World::at(NOW).await;
    let (user, deletion) = greeted_and_half_deleted(&world).await;
    let (schedule, now) = (world.config.schedule(), instant("2026-05-02T09:01:00Z"));
    let people = [(UserKey::External, person("u", "1990-05-02", "UTC"))];
    let import = async || world.store.write_users(&schedule, now, &people).await;
    let (written, ()) = tokio::join!(import(), commit_when_somebody_waits(&world, deletion));
    // As an import does.
    let written = match written {
        Err(error) if error.is_contention() => import().await,
        written => written,
    };
    assert_eq!(written.unwrap(), [(user, Written::Created)]);
    world.set("2026-05-02T09:02:00Z");
    world.minute().await;
    assert_eq!(world.greetings(), 1);
}

#[tokio::test]
async fn who_waits_for_another_edit_goes_on_from_what_that_has_written() {
    let world = World::at(NOW).await;
    world.tick().await;
    let user = world.write("u", "1990-05-02", "UTC").await;
    let statements = [
        "UPDATE users SET version = version + 1 WHERE id = $1",
        "UPDATE occasions SET day = 3 WHERE user_id = $1",
    ];
    let first = half_done(&world, user, statements).await;
    let schedule = world.config.schedule();
    let second = world
        .store
        .edit_user(&schedule, instant(NOW), UserRef::Id(user), |old| {
            let mut new = person("u", &old.birth_date.to_string(), "UTC");
            new.first_name = "Grace".to_owned();
            Ok::<_, Infallible>(new)
        });
    let (second, ()) = tokio::join!(second, commit_when_somebody_waits(&world, first));
    let Edited::Done(second) = second.unwrap() else {
        panic!("it was not edited")
    };
    assert_eq!(second.birth_date.to_string(), "1990-05-03");
    let now = world.store.user(UserRef::Id(user)).await.unwrap();
    assert_eq!(now.as_ref(), Some(&*second));
}

/// The edit holds the user's bucket, and has read its events already: the planner must not write an event by the old date.
#[tokio::test]
async fn a_planner_waits_for_an_edit_of_the_same_bucket_and_finds_what_it_wrote() {
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
    let request = PageRequest {
        day: now.date_naive(),
        bucket: Some(bucket),
        after: Uuid::nil(),
        limit: 10,
    };
    let page = async || world.store.plan_page(&schedule, now, request).await.unwrap();
    assert_eq!(page().await, PlanStep::Busy, "it does not wait for long");
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
