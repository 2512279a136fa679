//! Tokens and the audit log by the API.

use bday::model::Scope;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, NOON, TestServer, ada};
use crate::support::world::instant;

const TOKENS: &str = "/v1/tokens";
const AUDIT: &str = "/v1/audit";

async fn create(server: &TestServer, admin: &str, body: Value) -> Answer {
    server.call(Method::POST, TOKENS, Some(admin), Some(body)).await
}

/// Returns a field of each item of a list.
fn each(list: &Answer, field: &str) -> Vec<Value> {
    list.body["items"].as_array().unwrap().iter().map(|item| item[field].clone()).collect()
}

#[tokio::test]
async fn a_token_created_by_the_api_is_shown_once_and_works_at_once() {
    let server = TestServer::guarded().await;
    let admin = server.token("ops", Scope::Admin).await;
    let made = create(&server, &admin, json!({ "name": "hr", "scope": "write", "expiresInDays": 30 })).await;
    assert_eq!((made.status, made.header("cache-control")), (201, "no-store"));
    let (token, id) = (made.body["token"].as_str().unwrap(), made.body["id"].as_str().unwrap());
    let shown = json!({
        "id": id, "name": "hr", "scope": "write", "state": "live", "token": token, "createdAt": NOON, "lastUsedAt": null,
        "expiresAt": "2026-12-24T12:00:00Z", "revokedAt": null,
    });
    assert_eq!(made.body, shown);
    assert_eq!(server.call(Method::POST, "/v1/users", Some(token), Some(ada())).await.status, 201);
    let list = server.get(TOKENS, Some(&admin)).await;
    assert_eq!((list.status, each(&list, "name")), (200, vec!["hr".into(), "ops".into()]));
    assert_eq!(list.body["items"][0]["lastUsedAt"], NOON);
    assert!(!list.body.to_string().contains(&token[5..]));

    let path = format!("{TOKENS}/{id}");
    assert_eq!(server.call(Method::DELETE, &path, Some(&admin), None).await.status, 204);
    server.call(Method::DELETE, &path, Some(&admin), None).await.expect_problem(404);
    server.clock.advance(chrono::TimeDelta::seconds(5));
    server.get("/v1/users", Some(token)).await.expect_problem(401);
    assert_eq!(each(&server.get(TOKENS, Some(&admin)).await, "name"), ["ops"]);
    let all = server.get("/v1/tokens?all=true", Some(&admin)).await;
    assert_eq!(each(&all, "state"), ["revoked", "live"]);
}

#[tokio::test]
async fn an_invalid_token_request_names_each_field() {
    let server = TestServer::guarded().await;
    let admin = server.token("ops", Scope::Admin).await;
    for (body, fields) in [
        (json!({}), vec!["name", "scope"]),
        (json!({ "name": "no blanks", "scope": "root" }), vec!["name", "scope"]),
        (json!({ "name": "a", "scope": "read", "expiresInDays": 0 }), vec!["expiresInDays"]),
        (json!({ "name": "a", "scope": "read", "expiresAt": NOON }), vec!["expiresAt"]),
        (json!({ "name": "a", "expiresInDays": 1, "expiresAt": "2027-01-01" }), vec!["scope", "expiresAt"]),
        (json!({ "name": "a", "scope": "read", "hash": "x" }), vec!["hash"]),
    ] {
        let answer = create(&server, &admin, body.clone()).await;
        answer.expect_problem(422);
        let errors = answer.body["errors"].as_array().unwrap();
        let named: Vec<&str> = errors.iter().map(|error| error["field"].as_str().unwrap()).collect();
        assert_eq!(named, fields, "{body}");
    }
    let taken = create(&server, &admin, json!({ "name": "ops", "scope": "read" })).await;
    taken.expect_problem(409);
    assert!(taken.detail().contains("\"ops\" exists"), "{taken:?}");
    server.get("/v1/tokens?all=yes", Some(&admin)).await.expect_problem(400);
}

#[tokio::test]
async fn pages_of_tokens_and_of_the_audit_log_have_each_row_once() {
    let server = TestServer::guarded().await;
    let admin = server.token("ops", Scope::Admin).await;
    for n in 0..7 {
        // Some rows have equal times.
        server.clock.set(instant(if n < 4 { "2026-11-24T12:00:01Z" } else { "2026-11-24T12:00:02Z" }));
        let body = json!({ "name": format!("t{n}"), "scope": "calendar" });
        assert_eq!(create(&server, &admin, body).await.status, 201);
    }
    for (root, rows) in [(TOKENS, 8), (AUDIT, 7)] {
        let whole = server.get(root, Some(&admin)).await.body["items"].clone();
        let (mut paged, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = server.get(&format!("{root}?limit=3{cursor}"), Some(&admin)).await;
            paged.extend(page.body["items"].as_array().unwrap().clone());
            let Some(next) = page.body["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(paged.len(), rows, "{root}");
        // The last use of a token differs between two lists.
        let id = if root == TOKENS { "id" } else { "requestId" };
        let ids = |items: &[Value]| items.iter().map(|item| item[id].clone()).collect::<Vec<_>>();
        assert_eq!(ids(&paged), ids(whole.as_array().unwrap()), "{root}");
    }
}

#[tokio::test]
async fn the_audit_log_names_who_created_and_revoked_which_token() {
    let server = TestServer::guarded().await;
    let admin = server.token("ops", Scope::Admin).await;
    let made = create(&server, &admin, json!({ "name": "hr", "scope": "read" })).await;
    let id = made.body["id"].as_str().unwrap();
    server.call(Method::DELETE, &format!("{TOKENS}/{id}"), Some(&admin), None).await;
    // Reads are not recorded.
    server.get(TOKENS, Some(&admin)).await;
    let log = server.get(AUDIT, Some(&admin)).await;
    assert_eq!(log.status, 200);
    assert_eq!(each(&log, "method"), ["DELETE", "POST"]);
    assert_eq!(each(&log, "path"), ["/v1/tokens/{id}", TOKENS]);
    assert_eq!(each(&log, "status"), [204, 201]);
    assert_eq!(each(&log, "targetId"), [id, id]);
    assert_eq!(each(&log, "tokenName"), ["ops", "ops"]);
    assert_eq!(each(&log, "requestId")[1], made.header("x-request-id"));
    assert_eq!(log.body["items"][0]["remote"], "127.0.0.1");
}

#[tokio::test]
async fn the_audit_log_of_the_api_can_be_filtered() {
    let server = TestServer::guarded().await;
    let (ops, hr) = (server.token("ops", Scope::Admin).await, server.token("hr", Scope::Write).await);
    let created = server.call(Method::POST, "/v1/users", Some(&hr), Some(ada())).await;
    let user = created.body["id"].as_str().unwrap();
    let path = format!("/v1/users/{user}");
    server.clock.set(instant("2026-11-24T12:01:00Z"));
    server.call(Method::PATCH, &path, Some(&ops), Some(json!({ "lastName": "King" }))).await;
    server.clock.set(instant("2026-11-24T12:02:00Z"));
    server.call(Method::PUT, "/v1/pause", Some(&ops), Some(json!({}))).await;
    server.call(Method::PUT, "/v1/pause", Some(&hr), Some(json!({}))).await.expect_problem(403);
    let list = async |query: &str| {
        let answer = server.get(&format!("{AUDIT}?{query}"), Some(&ops)).await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        let methods = each(&answer, "method").into_iter().zip(each(&answer, "status"));
        methods.map(|(method, status)| format!("{} {status}", method.as_str().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(list("token=ops").await, ["PUT 201", "PATCH 200"]);
    assert_eq!(list(&format!("targetId={user}")).await, ["PATCH 200", "POST 201"]);
    assert_eq!(list("method=PUT").await, ["PUT 403", "PUT 201"]);
    assert_eq!(list("from=2026-11-24T12:01:00Z&to=2026-11-24T12:02:00Z").await, ["PATCH 200"]);
    assert_eq!(list("token=hr&method=POST").await, ["POST 201"]);
    assert!(list("token=unknown").await.is_empty());
    for wrong in ["method=GET", "method=put", "token=a%20b", "targetId=7", "from=soon", "cursor=x", "user=1"]
    {
        server.get(&format!("{AUDIT}?{wrong}"), Some(&ops)).await.expect_problem(400);
    }
}

#[tokio::test]
async fn a_calendar_token_reads_nothing_else() {
    let server = TestServer::guarded().await;
    let token = server.token("phone", Scope::Calendar).await;
    for path in ["/v1/users", "/v1/events", "/v1/forecast", TOKENS, AUDIT, "/metrics"] {
        let answer = server.get(path, Some(&token)).await;
        answer.expect_problem(403);
        assert!(answer.detail().contains("has calendar"), "{answer:?}");
    }
}
