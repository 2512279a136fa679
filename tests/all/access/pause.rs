//! Pause and resume by HTTP.

use axum::body::Body;
use reqwest::Method;
use serde_json::json;

use super::TestServer;
use crate::support::api::Server;
use crate::support::world::World;

#[tokio::test]
async fn a_pause_can_be_set_read_and_ended_and_is_not_overwritten() {
    let server = Server::start().await;
    server.get("/v1/pause").await.expect(404);
    let moved = json!({ "reason": " the receiver is being moved " });
    let pause = server.json("PUT", "/v1/pause", &moved).await.expect(201);
    assert_eq!(pause["reason"], "the receiver is being moved");
    assert_eq!(pause["since"], "2026-11-24T12:00:00Z");
    let again = json!({ "reason": "another" });
    assert_eq!(server.json("PUT", "/v1/pause", &again).await.expect(200), pause);
    assert_eq!(server.get("/v1/pause").await.expect(200), pause);
    server.call("DELETE", "/v1/pause", &[], Body::empty()).await.expect(204);
    server.call("DELETE", "/v1/pause", &[], Body::empty()).await.expect(404);
    server.json("PUT", "/v1/pause", &json!({})).await.expect(201);
}

#[tokio::test]
async fn invalid_fields_of_a_pause_are_named() {
    let server = Server::start().await;
    for wrong in
        [json!({ "reason": 7 }), json!({ "reason": "x".repeat(501) }), json!({ "reason": "a\u{0}b" })]
    {
        let answer = server.json("PUT", "/v1/pause", &wrong).await;
        answer.expect(422);
        assert_eq!(answer.fields(), ["reason"], "{wrong}");
    }
    let answer = server.json("PUT", "/v1/pause", &json!({ "why": "x" })).await;
    answer.expect(422);
    assert_eq!(answer.fields(), ["why"]);
    server.get("/v1/pause").await.expect(404);
    let most = json!({ "reason": "ä".repeat(500) });
    server.json("PUT", "/v1/pause", &most).await.expect(201);
}

#[tokio::test]
async fn greetings_are_held_during_a_pause_and_sent_after_it() {
    let world = World::at("2026-05-02T00:00:00Z").await;
    world.write("u", "1990-05-02", "UTC").await;
    world.tick().await;
    let server = Server::on(&world);
    server.json("PUT", "/v1/pause", &json!({})).await.expect(201);
    world.set("2026-05-02T09:00:00Z");
    world.minute().await;
    assert_eq!(world.greetings(), 0);
    server.call("DELETE", "/v1/pause", &[], Body::empty()).await.expect(204);
    world.set("2026-05-02T10:00:00Z");
    world.minute().await;
    assert_eq!(world.greetings(), 1);
}

#[tokio::test]
async fn readyz_reports_whether_sending_is_paused() {
    let server = TestServer::open().await;
    let sending = async || server.get("/readyz", None).await.body["checks"]["sending"].clone();
    assert_eq!(sending().await["detail"]["paused"], false);
    let body = Some(json!({ "reason": "a secret plan" }));
    assert_eq!(server.call(Method::PUT, "/v1/pause", None, body).await.status, 201);
    let paused = sending().await;
    assert_eq!((&paused["ok"], &paused["detail"]["paused"]), (&json!(true), &json!(true)));
    assert_eq!(paused["detail"]["since"], "2026-11-24T12:00:00Z");
    // `/readyz` requires no token, so it must not contain the reason.
    assert!(!paused.to_string().contains("secret"));
}
