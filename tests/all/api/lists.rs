//! Pages, filters, search.

use serde_json::{Value, json};

use super::create;
use crate::support::api::Server;

/// The names on all pages of `limit`.
async fn names(server: &Server, query: &str, limit: usize) -> Vec<String> {
    let mut names = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server
            .get(&format!("/v1/users?limit={limit}{query}{cursor}"))
            .await
            .expect(200);
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= limit);
        names.extend(
            items
                .iter()
                .map(|user| user["firstName"].as_str().unwrap().to_owned()),
        );
        match &page["next"] {
            Value::Null => return names,
            next => cursor = format!("&cursor={}", next.as_str().unwrap()),
        }
        assert_eq!(items.len(), limit);
    }
}

#[tokio::test]
async fn pages_have_everybody_once() {
    let server = Server::start().await;
    assert_eq!(
        server.get("/v1/users").await.expect(200),
        json!({ "items": [], "next": null })
    );
    for n in 0..5 {
        create(&server, &json!({ "firstName": format!("n{n}") })).await;
    }
    for limit in [1, 2, 5, 6] {
        assert_eq!(names(&server, "", limit).await, ["n0", "n1", "n2", "n3", "n4"]);
    }
}

#[tokio::test]
async fn a_search_finds_beginnings_of_names_and_external_ids_in_any_case() {
    let server = Server::start().await;
    for (first, last, id, zone) in [
        ("Ada", "Lovelace", "HR-1", "Europe/London"),
        ("Grace", "Hopper", "hr-2", "America/New_York"),
        ("Örjan", "Ådahl", "x_3", "Europe/Stockholm"),
        ("Ad%", "Lo_", "x%4", "Europe/London"),
    ] {
        let fields = json!({ "firstName": first, "lastName": last, "externalId": id, "timeZone": zone });
        create(&server, &fields).await;
    }
    for (query, found) in [
        ("&search=ada", vec!["Ada"]),
        ("&search=ADA%20LOV", vec!["Ada"]),
        ("&search=lo", vec!["Ada", "Ad%"]),
        ("&search=hr-", vec!["Ada", "Grace"]),
        ("&search=%C3%B6r", vec!["Örjan"]),
        // What is a pattern elsewhere is a letter here.
        ("&search=ad%25", vec!["Ad%"]),
        ("&search=x_", vec!["Örjan"]),
        ("&search=ovelace", vec![]),
        ("&timeZone=Europe/London", vec!["Ada", "Ad%"]),
        ("&timeZone=Europe/London&search=ada", vec!["Ada"]),
        ("&timeZone=Europe/Paris", vec![]),
    ] {
        assert_eq!(names(&server, query, 1).await, found, "{query}");
    }
}

#[tokio::test]
async fn every_wrong_parameter_is_named_at_once() {
    let server = Server::start().await;
    let answer = server
        .get("/v1/users?limit=501&timeZone=Mars&search=%00&cursor=7&q=x&limit=2")
        .await;
    answer.expect(400);
    assert_eq!(answer.fields(), ["cursor", "limit", "q", "search", "timeZone"]);
    let answer = server
        .get("/v1/events?state=lost,dead&from=9:00&to=x&userId=1&order=up")
        .await;
    answer.expect(400);
    assert_eq!(answer.fields(), ["from", "order", "state", "to", "userId"]);
}
