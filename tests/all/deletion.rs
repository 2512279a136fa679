//! Deletion removes all personal data: the tests search all tables as text.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use bday::clock::Clock as _;
use bday::model::EventState;
use bday::operations::dead_letters::RedriveOptions;
use bday::people::explain::ExplainSettings;
use bday::people::explain::{Status, explain};
use bday::store::UserRef;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;

use crate::support::api::Server;
use crate::support::process::Bday;
use crate::support::receiver::Behaviour;
use crate::support::world::{World, instant};

const NAME: &str = "Zebulon";
const EXTERNAL_ID: &str = "hr-4711";
const EMAIL: &str = "zq@example.org";
const PHONE: &str = "+911712345678";
const SLACK_USER_ID: &str = "U0ZEBULON";
/// A trace id, as a column of the type `uuid`.
const TRACE_ID: &str = "7a1e57a1-e57a-4e57-8a1e-57a1e57a1e57";
const DUE: &str = "2026-05-10T03:30:00Z";

/// Returns the table and the text of each row, except of the migrations and the planned days, which belong to no user.
async fn dump(world: &World) -> Vec<(String, String)> {
    let pool = world.database.pool().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
         WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
           AND tablename NOT IN ('_sqlx_migrations', 'planned_days')",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let mut rows = Vec::new();
    for table in tables {
        let found = sqlx::query(AssertSqlSafe(format!("SELECT t::text FROM {table} t")))
            .fetch_all(&pool)
            .await
            .unwrap();
        rows.extend(found.iter().map(|row| (table.clone(), row.get(0))));
    }
    rows
}

/// Returns the dates in `text`, and those of its UUIDs that contain a time.
fn dates(text: &str) -> BTreeSet<String> {
    let parts = || text.split(|sign: char| !(sign.is_ascii_alphanumeric() || sign == '-'));
    let written = parts().filter_map(|part| part.get(..10)?.parse::<chrono::NaiveDate>().ok());
    let of_ids = parts().filter_map(|part| {
        let (seconds, _) = Uuid::try_parse(part).ok()?.get_timestamp()?.to_unix();
        Some(chrono::DateTime::from_timestamp(seconds.try_into().ok()?, 0)?.date_naive())
    });
    written.chain(of_ids).map(|date| date.to_string()).collect()
}

/// Adds a user with a birthday on 10 May by the API in March, whose first attempt fails with a response that contains the name.
async fn greeted(world: &World, api: &Server) -> Uuid {
    let body = json!({
        "firstName": NAME, "lastName": "Quetzal", "birthDate": "1987-05-10", "timeZone": "Asia/Kolkata",
        "externalId": EXTERNAL_ID, "email": EMAIL, "phone": PHONE, "slackUserId": SLACK_USER_ID,
    });
    let created =
        api.json_with("POST", "/v1/users", &[("idempotency-key", "once-only")], &body).await.expect(201);
    let user = created["id"].as_str().unwrap();
    let contact = format!("/v1/users/{user}/contacts/mail");
    api.json("PUT", &contact, &json!({ "status": "opted_out" })).await.expect(200);
    let answer = format!("{NAME} is no pupil of ours");
    world.receiver.next([Behaviour::Answer(500, String::new(), answer.into_bytes())]);
    world.set("2026-05-08T00:00:00Z");
    world.minute().await;
    world.set(DUE);
    world.minute().await;
    user.parse().unwrap()
}

async fn delete(world: &World, api: &Server) {
    world.set("2026-05-20T00:00:00Z");
    let path = format!("/v1/users/by-external-id/{EXTERNAL_ID}");
    api.call("DELETE", &path, &[], Body::empty()).await.expect(204);
}

/// Asserts that only the user's id, the dates of the requests and the year of the event are left.
async fn assert_forgotten(world: &World, user: Uuid) {
    let rows = dump(world).await;
    let hash =
        |text: &str| format!("{:032x}", u128::from_be_bytes(Sha256::digest(text)[..16].try_into().unwrap()));
    let (id_hash, key_hash) = (hash(EXTERNAL_ID), hash(" once-only"));
    let email_hash = hash(EMAIL);
    for private in [
        NAME,
        "Quetzal",
        EXTERNAL_ID,
        "Kolkata",
        "pupil",
        "1987",
        "05-09",
        "05-10",
        "05-11",
        "once-only",
        &id_hash,
        &key_hash,
        EMAIL,
        PHONE,
        SLACK_USER_ID,
        &email_hash,
        TRACE_ID,
    ] {
        let found: Vec<_> = rows.iter().filter(|(_, row)| row.contains(private)).collect();
        assert!(found.is_empty(), "{private:?} is in {found:?}");
    }
    let of_events = rows.iter().filter(|(table, _)| table == "public.events" || table == "public.attempts");
    let mut events = 0;
    for (table, row) in of_events {
        let row = row.replace(&user.to_string(), "");
        let years: BTreeSet<String> = dates(&row);
        assert!(years.iter().all(|date| date.ends_with("-01-01")), "{years:?} in {table} {row}");
        events += 1;
    }
    assert!(events >= 2, "an event and its attempts stay on record");
}

#[tokio::test]
async fn no_table_contains_personal_data_of_a_deleted_user() {
    let world = World::with("2026-03-01T00:00:00Z", &[("retry.schedule_secs", "0,0,0,0")]).await;
    let api = Server::on(&world);
    let user = greeted(&world, &api).await;
    world.minute().await;
    assert_eq!(world.greetings(), 1);
    let before = dump(&world).await;
    assert!(before.iter().any(|(_, row)| row.contains("pupil")), "{before:?}");
    for table in ["events", "attempts"] {
        let trace = format!("UPDATE {table} SET trace_id = '{TRACE_ID}'");
        sqlx::query(AssertSqlSafe(trace)).execute(&world.database.pool().await).await.unwrap();
    }
    delete(&world, &api).await;
    assert_forgotten(&world, user).await;
}

#[tokio::test]
async fn an_event_delivered_during_the_deletion_is_blurred_later() {
    let world = World::at("2026-03-01T00:00:00Z").await;
    let api = Server::on(&world);
    let user = greeted(&world, &api).await;
    world.clock.advance(chrono::TimeDelta::hours(1));
    world.receiver.next([Behaviour::slow(Duration::from_secs(1))]);
    world.tick().await;
    let pool = world.pool();
    let (worked, ()) = tokio::join!(pool.run_once(), async {
        world.receiver.until_received(2).await;
        delete(&world, &api).await;
        world.store.blur_events(world.clock.now()).await.unwrap();
        assert_eq!(world.count(EventState::Delivering).await, 1);
    });
    worked.unwrap();
    assert_eq!(world.count(EventState::Delivered).await, 1);
    world.store.blur_events(world.clock.now()).await.unwrap();
    assert_forgotten(&world, user).await;
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM deleted_users WHERE blur_pending")
        .fetch_one(&world.database.pool().await)
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_deleted_user_is_explained_without_dates() {
    let world = World::with("2026-03-01T00:00:00Z", &[("retry.schedule_secs", "0,0,0,0")]).await;
    let api = Server::on(&world);
    let user = greeted(&world, &api).await;
    world.minute().await;
    delete(&world, &api).await;
    let facts = world.store.user_history(UserRef::External(EXTERNAL_ID)).await.unwrap().unwrap();
    assert_eq!(facts.user_id, user);
    let told = explain(facts, &ExplainSettings::new(&world.config), world.clock.now());
    let (status, why) = (told.this_year[0].status, told.this_year[0].why.as_str());
    assert_eq!((status, why), (Status::Delivered, "delivered"));
    let text = Bday::new(["explain", EXTERNAL_ID])
        .env("BDAY__DATABASE__URL", world.database.url())
        .finish()
        .await
        .succeeded();
    assert!(text.contains("2026") && text.contains("delivered"), "{text}");
    let ids: Vec<&str> = text.split_whitespace().filter(|word| Uuid::try_parse(word).is_ok()).collect();
    let without_ids = ids.iter().fold(text.clone(), |text, id| text.replace(id, ""));
    assert_eq!(dates(&without_ids), BTreeSet::from(["2026-05-20".to_owned()]), "{text}");
}

#[tokio::test]
async fn a_returning_user_is_not_greeted_a_second_time() {
    let world = World::with("2026-03-01T00:00:00Z", &[("retry.schedule_secs", "0,0,0,0")]).await;
    let api = Server::on(&world);
    let user = greeted(&world, &api).await;
    world.minute().await;
    world.set(DUE);
    let path = format!("/v1/users/by-external-id/{EXTERNAL_ID}");
    api.call("DELETE", &path, &[], Body::empty()).await.expect(204);
    let back = json!({ "firstName": NAME, "birthDate": "1987-05-10", "timeZone": "Asia/Kolkata" });
    assert_eq!(api.json("PUT", &path, &back).await.expect(201)["id"], user.to_string());
    world.minute().await;
    assert_eq!(world.greetings(), 1);
    let facts = world.store.user_history(UserRef::Id(user)).await.unwrap().unwrap();
    let told = explain(facts, &ExplainSettings::new(&world.config), instant(DUE));
    assert_eq!((told.this_year[0].status, told.this_year[0].why.as_str()), (Status::Delivered, "delivered"));
}

#[tokio::test]
async fn a_redrive_leaves_the_event_of_a_deleted_user_blurred() {
    let world = World::at("2026-03-01T00:00:00Z").await;
    let api = Server::on(&world);
    let user = greeted(&world, &api).await;
    world.receiver.next([Behaviour::Status(410)]);
    world.set("2026-05-10T05:30:00Z");
    world.minute().await;
    assert_eq!(world.count(EventState::Dead).await, 1);
    delete(&world, &api).await;
    let (report, result) = world.dead_letters().redrive(&RedriveOptions::default(), |_| {}).await;
    result.unwrap();
    assert_eq!((report.redriven, report.cancelled), (0, 1));
    assert_eq!(world.count(EventState::Cancelled).await, 1);
    assert_forgotten(&world, user).await;
}
