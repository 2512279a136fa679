//! `/v1/dead-letters`, retry and cancel.

use axum::body::Body;
use serde_json::{Value, json};

use crate::support::api::Server;
use crate::support::receiver::Behaviour;
use crate::support::world::World;

/// Returns a world with two dead events and a pending one, and its API.
async fn world() -> (World, Server) {
    let world = World::at("2026-05-01T00:00:00Z").await;
    let server = Server::on(&world);
    for (name, date) in [("a", "1990-05-01"), ("b", "1990-05-01"), ("c", "1990-05-02")] {
        world.write(name, date, "UTC").await;
    }
    world.tick().await;
    world.set("2026-05-01T09:00:00Z");
    let answer = Behaviour::Answer(410, String::new(), b"go \x07away".to_vec());
    world.receiver.script([answer]);
    world.minute().await;
    world.receiver.script([Behaviour::Status(200)]);
    (world, server)
}

async fn post(server: &Server, path: &str) -> crate::support::api::Answer {
    server.call("POST", path, &[], Body::empty()).await
}

#[tokio::test]
async fn dead_letters_are_listed_with_pages_filters_and_responses() {
    let (_world, server) = world().await;
    let first = server.get("/v1/dead-letters?limit=1").await.expect(200);
    let path = format!("/v1/dead-letters?limit=1&cursor={}", first["next"].as_str().unwrap());
    let second = server.get(&path).await.expect(200);
    assert_eq!(second["next"], Value::Null);
    assert_ne!(first["items"][0]["id"], second["items"][0]["id"]);
    let dead = &first["items"][0];
    assert_eq!(
        (&dead["state"], &dead["lastStatus"], &dead["lastResponse"]),
        (&json!("dead"), &json!(410), &json!("go \\u{7}away"))
    );
    let count = async |query: &str| {
        let page = server.get(&format!("/v1/dead-letters?{query}")).await.expect(200);
        page["items"].as_array().unwrap().len()
    };
    assert_eq!(count("reason=gone,status&kind=birthday").await, 2);
    assert_eq!(count("reason=status").await, 0);
    assert_eq!(count("since=2026-05-01T09:00:00Z&until=2026-05-02").await, 2);
    assert_eq!(count("until=2026-05-01T09:00:00Z").await, 0);
    let id = dead["id"].as_str().unwrap();
    let story = server.get(&format!("/v1/dead-letters/{id}")).await.expect(200);
    assert_eq!(story["attempts"][0]["response"], "go \\u{7}away");
    let wrong = server.get("/v1/dead-letters?reason=lost&kind=a%00&limit=0").await;
    wrong.expect(400);
    assert_eq!(wrong.fields(), ["kind", "limit", "reason"]);
}

#[tokio::test]
async fn a_redrive_can_be_limited_filtered_forced_and_tried() {
    let (world, server) = world().await;
    let redrive = async |body: Value| server.json("POST", "/v1/dead-letters/redrive", &body).await;
    let dry = redrive(json!({"dryRun": true, "kinds": ["birthday"]})).await.expect(200);
    assert_eq!((&dry["redriven"], &dry["dryRun"]), (&json!(2), &json!(true)));
    let one = redrive(json!({"limit": 1})).await.expect(200);
    assert_eq!((&one["redriven"], &one["more"]), (&json!(1), &json!(true)));
    world.set("2026-05-02T00:00:00Z");
    let late = redrive(json!({"reasons": ["gone"]})).await.expect(200);
    assert_eq!((&late["redriven"], &late["skipped"], &late["more"]), (&json!(0), &json!(1), &json!(false)));
    assert_eq!(redrive(json!({"force": true})).await.expect(200)["redriven"], 1);
    world.minute().await;
    assert_eq!(world.greetings(), 2);
    let wrong = redrive(json!({"reasons": ["lost"], "limit": 0, "when": 1})).await;
    wrong.expect(422);
    assert_eq!(wrong.fields(), ["limit", "reasons", "when"]);
    post(&server, "/v1/dead-letters/redrive").await.expect(415);
}

#[tokio::test]
async fn dead_events_can_be_retried_and_pending_events_cancelled() {
    let (world, server) = world().await;
    let events = server.get("/v1/events").await.expect(200);
    let id = |at: usize| events["items"][at]["id"].as_str().unwrap().to_owned();
    let (dead, pending) = (id(0), id(2));
    let retried = post(&server, &format!("/v1/events/{dead}/retry")).await.expect(200);
    assert_eq!(retried["state"], "queued");
    assert_eq!(retried["redrivenAt"], "2026-05-01T09:00:00Z");
    let problem = post(&server, &format!("/v1/events/{dead}/retry?force=true")).await.expect(409);
    assert_eq!(problem["type"], "urn:bday:problem:wrong-state");
    post(&server, &format!("/v1/events/{dead}/retry?force=yes")).await.expect(400);
    let cancelled = post(&server, &format!("/v1/events/{pending}/cancel")).await.expect(200);
    assert_eq!((&cancelled["state"], &cancelled["reason"]), (&json!("cancelled"), &json!("operator")));
    post(&server, &format!("/v1/events/{pending}/cancel")).await.expect(409);
    server.get(&format!("/v1/dead-letters/{dead}")).await.expect(404);
    let nobody = "0198f0c0-0000-7000-8000-000000000000";
    for action in ["retry", "cancel"] {
        post(&server, &format!("/v1/events/{nobody}/{action}")).await.expect(404);
    }
    world.minute().await;
    assert_eq!(world.greetings(), 1);
}
