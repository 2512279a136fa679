//! The API on a real database, without sockets.

mod calendar_feed;
mod dead_letters;
mod description;
mod dry_run;
mod events;
mod files;
mod foresight;
mod lists;
mod tester;
mod users;
mod vcards;
mod versions;

use serde_json::{Value, json};

use crate::support::api::Server;
use crate::support::world::instant;

/// Returns a request body that creates a user.
fn ada() -> Value {
    json!({
        "firstName": "Ada",
        "lastName": "Lovelace",
        "birthDate": "1815-12-10",
        "timeZone": "Europe/London",
    })
}

/// Creates a user with `fields` and returns its id.
async fn create(server: &Server, fields: &Value) -> String {
    let mut user = ada();
    for (name, value) in fields.as_object().unwrap() {
        user[name] = value.clone();
    }
    let answer = server.json("POST", "/v1/users", &user).await.expect(201);
    answer["id"].as_str().unwrap().to_owned()
}

/// Returns the user at `path`, who has no contacts, as lists have it.
async fn read(server: &Server, path: &str) -> Value {
    let mut user = server.get(path).await.expect(200);
    assert_eq!(user.as_object_mut().unwrap().remove("contacts"), Some(json!([])));
    user
}

/// Returns the `ETag` of the `n`th version of a user created at the start of the test.
fn tag(n: u32) -> String {
    format!("\"{n}-{:x}\"", instant("2026-11-24T12:00:00Z").timestamp_micros())
}
