//! `/v1/events` and the events of a user.

use axum::body::Body;
use serde_json::{Value, json};

use crate::support::api::Server;
use crate::support::receiver::Behaviour;
use crate::support::world::World;

async fn ids(server: &Server, path: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut cursor = String::new();
    loop {
        let mark = if path.contains('?') { '&' } else { '?' };
        let page = server.get(&format!("{path}{mark}limit=1{cursor}")).await.expect(200);
        ids.extend(
            page["items"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap().to_owned()),
        );
        match &page["next"] {
            Value::Null => return ids,
            next => cursor = format!("&cursor={}", next.as_str().unwrap()),
        }
    }
}

#[tokio::test]
async fn events_can_be_filtered_by_state_time_and_user() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    let server = Server::on(&world);
    for (name, date) in [("a", "1990-05-01"), ("b", "1990-05-02"), ("c", "1990-05-03")] {
        world.write(name, date, "UTC").await;
    }
    world.tick().await;
    let gone = world.write("d", "1990-05-02", "UTC").await;
    let path = format!("/v1/users/{gone}");
    assert_eq!(ids(&server, &format!("{path}/events")).await.len(), 1);
    server.call("DELETE", &path, &[], Body::empty()).await.expect(204);
    server.get(&format!("{path}/events")).await.expect(404);

    world.set("2026-05-01T09:00:00Z");
    world.receiver.next([Behaviour::Status(500)]);
    world.minute().await;
    world.clock.advance(chrono::TimeDelta::minutes(10));
    world.minute().await;
    let all = ids(&server, "/v1/events").await;
    assert_eq!(all.len(), 4);
    let mut reversed = ids(&server, "/v1/events?order=desc").await;
    reversed.reverse();
    assert_eq!(reversed, all);
    let count = async |query: &str| ids(&server, &format!("/v1/events?{query}")).await.len();
    assert_eq!(count("state=delivered").await, 1);
    assert_eq!(count("state=pending").await, 2);
    assert_eq!(count("state=pending,cancelled").await, 3);
    assert_eq!(count("state=pending&state=cancelled").await, 3);
    assert_eq!(count("state=dead").await, 0);
    // A deletion reduces the date of the event to its year.
    assert_eq!(count("to=2026-01-01T00:00:01Z").await, 1);
    assert_eq!(count("from=2026-05-02").await, 2);
    assert_eq!(count("from=2026-05-02&to=2026-05-02T09:00:00Z").await, 0);
    assert_eq!(count("to=2026-05-02T09:00:01Z").await, 3);
    // Events of deleted users stay on record.
    assert_eq!(count(&format!("userId={gone}")).await, 1);

    let event = server.get(&format!("/v1/events/{}", all[1])).await.expect(200);
    assert_eq!(
        (&event["state"], &event["attemptCount"], &event["dueAt"]),
        (&json!("delivered"), &json!(2), &json!("2026-05-01T09:00:00Z"))
    );
    let attempts = event["attempts"].as_array().unwrap();
    assert_eq!(
        (&attempts[0]["outcome"], &attempts[0]["status"], &attempts[1]["outcome"]),
        (&json!("failed"), &json!(500), &json!("delivered"))
    );
    server.get(&format!("/v1/events/{gone}")).await.expect(404);
}
