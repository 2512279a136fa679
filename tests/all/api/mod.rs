//! The API, one request after the other, on a real database.

mod dead_letters;
mod description;
mod events;
mod files;
mod foresight;
mod lists;
mod tester;
mod users;
mod versions;

use serde_json::{Value, json};

use crate::support::api::Server;
use crate::support::world::instant;

/// A body for a new user.
fn ada() -> Value {
    json!({
        "firstName": "Ada",
        "lastName": "Lovelace",
        "birthDate": "1815-12-10",
        "timeZone": "Europe/London",
    })
}

/// Creates a user with some fields of its own; gives its id.
async fn create(server: &Server, fields: &Value) -> String {
    let mut user = ada();
    for (name, value) in fields.as_object().unwrap() {
        user[name] = value.clone();
    }
    let answer = server.json("POST", "/v1/users", &user).await.expect(201);
    answer["id"].as_str().unwrap().to_owned()
}

/// The `n`th version of who is created while the clock stands as at the start.
fn tag(n: u32) -> String {
    format!("\"{n}-{:x}\"", instant("2026-11-24T12:00:00Z").timestamp_micros())
}
