//! A user that this binary cannot read, such as one in a zone of a newer binary, does not affect other users.

use axum::body::Body;
use bday::model::EventState::Pending;
use bday::pipeline::zone_data::{RecomputeOutcome, recompute};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use crate::support::api::Server;
use crate::support::world::World;

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
async fn an_unreadable_user_does_not_delay_others_and_is_retried() {
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
async fn a_day_with_an_unreadable_user_counts_as_planned() {
    let world = World::at(NOW).await;
    world.write("mars", "1990-05-02", "Europe/Berlin").await;
    set_zone(&world, "mars", "Mars/Olympus_Mons").await;
    world.tick().await;
    let (open, unreadable): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM planned_days WHERE planned_at IS NULL), (SELECT count(*) FROM unplanned_users)",
    )
    .fetch_one(&world.database.pool().await)
    .await
    .unwrap();
    // The planner retries the user, not the whole day.
    assert_eq!((open, unreadable), (0, 1));
}

#[tokio::test]
async fn lists_exports_and_forecasts_leave_out_unreadable_users() {
    let world = World::at(NOW).await;
    for name in ["ada", "mars", "zoe"] {
        world.write(name, "1990-05-02", "Europe/Berlin").await;
    }
    set_zone(&world, "mars", "Mars/Olympus_Mons").await;
    let server = Server::on(&world);
    // With each page size, the list continues after the unreadable user.
    for limit in [1, 2, 3] {
        let (mut names, mut cursor) = (Vec::new(), String::new());
        for _ in 0..4 {
            let page = server.get(&format!("/v1/users?limit={limit}{cursor}")).await.expect(200);
            let users = page["items"].as_array().unwrap();
            names.extend(users.iter().map(|user| user["externalId"].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(names, ["ada", "zoe"], "{limit} at a time");
    }
    let export = server.get("/v1/users/export").await;
    assert_eq!((export.status.as_u16(), export.text().lines().count()), (200, 2));
    let forecast = server.get("/v1/forecast").await.expect(200);
    assert_eq!((&forecast["dates"], &forecast["due"]), (&json!(2), &json!(2)));
}

#[tokio::test]
async fn an_unreadable_user_can_be_replaced_and_deleted() {
    let world = World::at(NOW).await;
    let ids = [
        world.write("mars", "1990-05-02", "Europe/Berlin").await,
        world.write("venus", "1990-05-02", "UTC").await,
    ];
    world.tick().await;
    for name in ["mars", "venus"] {
        set_zone(&world, name, "Mars/Olympus_Mons").await;
    }
    let server = Server::on(&world);
    let [by_id, other] = ids.map(|id| format!("/v1/users/{id}"));
    let body = json!({"firstName": "Mars", "birthDate": "1990-05-02", "timeZone": "Asia/Tokyo", "externalId": "mars"});
    server.json("PATCH", &by_id, &json!({"lastName": "x"})).await.expect(500);
    let old = [("if-match", "\"1\"")];
    server.json_with("PUT", &by_id, &old, &body).await.expect(412);
    for path in [by_id.as_str(), "/v1/users/by-external-id/mars"] {
        set_zone(&world, "mars", "Mars/Olympus_Mons").await;
        let mut user = server.json("PUT", path, &body).await.expect(200);
        assert_eq!(user["timeZone"], "Asia/Tokyo");
        user["contacts"] = json!([]);
        assert_eq!(server.get(&by_id).await.expect(200), user);
    }
    server.call("DELETE", &other, &[], Body::empty()).await.expect(204);
    assert_eq!(world.count(Pending).await, 1);
    world.set("2026-05-02T00:00:00Z");
    world.minute().await;
    assert_eq!(world.greetings(), 1);
}

#[tokio::test]
async fn new_zone_data_moves_the_events_of_readable_users() {
    let world = World::at(NOW).await;
    let mars = world.write("mars", "1990-05-03", "Europe/Berlin").await;
    world.write("ada", "1990-05-03", "Europe/Berlin").await;
    world.tick().await;
    let pool = world.database.pool().await;
    let due_of_mars: DateTime<Utc> = sqlx::query_scalar("SELECT due_at FROM events WHERE user_id = $1")
        .bind(mars)
        .fetch_one(&pool)
        .await
        .unwrap();
    sqlx::query("UPDATE events SET due_at = due_at + interval '1 hour', late_from = late_from + interval '1 hour', next_attempt_at = next_attempt_at + interval '1 hour'")
        .execute(&pool)
        .await
        .unwrap();
    set_zone(&world, "mars", "Mars/Olympus_Mons").await;
    let outcome = recompute(&world.store, &world.config.schedule(), &*world.clock, "2026z", || {}).await;
    let RecomputeOutcome::Done(report) = outcome.unwrap() else { panic!("it was not done") };
    assert_eq!((report.recomputed, report.moved), (2, 1));
    // The due instant in an unknown zone cannot be computed, so that event does not move.
    let moved: bool = sqlx::query_scalar("SELECT due_at <> $2 FROM events WHERE user_id = $1")
        .bind(mars)
        .bind(due_of_mars + TimeDelta::hours(1))
        .fetch_one(&pool)
        .await
        .unwrap();
    assert!(!moved);
    assert_eq!(world.count(Pending).await, 2);
}
