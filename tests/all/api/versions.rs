//! Versions, idempotency keys and concurrent requests.

use axum::body::Body;
use axum::http::HeaderMap;
use bday::clock::Clock as _;
use serde_json::{Value, json};

use super::{ada, create, read, tag};
use crate::support::api::Server;

#[tokio::test]
async fn a_request_with_an_outdated_version_is_rejected() {
    fn with(tag: &str) -> [(&str, &str); 1] {
        [("if-match", tag)]
    }

    let server = Server::start().await;
    let path = format!("/v1/users/{}", create(&server, &json!({})).await);
    let change = json!({ "lastName": "King" });
    let (one, two) = (tag(1), tag(2));
    let list = format!("{one}, \"x\"");
    let answer = server.json_with("PATCH", &path, &with(&one), &change).await;
    answer.expect(200);
    assert_eq!(answer.header("etag"), two);
    server.json_with("PATCH", &path, &with(&one), &change).await.expect(412);
    server.json_with("PUT", &path, &with(&list), &ada()).await.expect(412);
    server.call("DELETE", &path, &with(&one), Body::empty()).await.expect(412);
    assert_eq!(server.get(&path).await.expect(200)["lastName"], "King");
    server.json_with("PATCH", &path, &with("*"), &change).await.expect(200);
    server.call("DELETE", &path, &with(&two), Body::empty()).await.expect(204);
    server.call("DELETE", &path, &with(&two), Body::empty()).await.expect(404);
}

#[tokio::test]
async fn an_edit_that_changes_nothing_keeps_the_version() {
    let server = Server::start().await;
    let path = format!("/v1/users/{}", create(&server, &json!({})).await);
    assert_eq!(server.json("PUT", &path, &ada()).await.header("etag"), tag(1));
    let change = json!({ "occasions": { "work_anniversary": "2019-05-02" } });
    assert_eq!(server.json("PATCH", &path, &change).await.header("etag"), tag(2));
    let read = server.call("GET", &path, &[("if-none-match", &format!("W/{}", tag(2)))], Body::empty()).await;
    assert_eq!((read.status.as_u16(), read.body.len()), (304, 0));
}

#[tokio::test]
async fn a_recreated_user_rejects_versions_of_the_deleted_user() {
    let server = Server::start().await;
    let path = "/v1/users/by-external-id/hr-1";
    let first = server.json("PUT", path, &ada()).await;
    first.expect(201);
    let before = first.header("etag");
    server.call("DELETE", path, &[], Body::empty()).await.expect(204);
    server.clock.advance(chrono::TimeDelta::microseconds(1));
    let mut back = ada();
    back["lastName"] = json!("Byron");
    let second = server.json("PUT", path, &back).await;
    let user = second.expect(201);
    assert_eq!(user["id"], first.json()["id"]);
    assert_ne!(second.header("etag"), before);

    server.call("GET", path, &[("if-none-match", before)], Body::empty()).await.expect(200);
    assert_eq!(read(&server, path).await, user);
    let only_before = [("if-match", before)];
    let by_id = format!("/v1/users/{}", user["id"].as_str().unwrap());
    for path in [path, &by_id] {
        server.json_with("PUT", path, &only_before, &ada()).await.expect(412);
        server.call("DELETE", path, &only_before, Body::empty()).await.expect(412);
    }
    let change = json!({ "lastName": "King" });
    server.json_with("PATCH", &by_id, &only_before, &change).await.expect(412);
    let now = [("if-match", second.header("etag"))];
    server.call("DELETE", &by_id, &now, Body::empty()).await.expect(204);
}

#[tokio::test]
async fn a_put_by_external_id_can_be_create_only_or_update_only() {
    let server = Server::start().await;
    let path = "/v1/users/by-external-id/hr-1";
    server.json_with("PUT", path, &[("if-match", "*")], &ada()).await.expect(412);
    server.json_with("PUT", path, &[("if-none-match", "*")], &ada()).await.expect(201);
    server.json_with("PUT", path, &[("if-none-match", "*")], &ada()).await.expect(412);
    server.json_with("PUT", path, &[("if-match", &tag(1))], &ada()).await.expect(200);
}

#[tokio::test]
async fn a_repeated_request_returns_the_stored_response() {
    let server = Server::start().await;
    let key = [("idempotency-key", "request 1")];
    let mut first = server.json_with("POST", "/v1/users", &key, &ada()).await;
    let created = first.expect(201);
    let path = format!("/v1/users/{}", created["id"].as_str().unwrap());
    server.json("PATCH", &path, &json!({ "lastName": "King" })).await.expect(200);
    let mut again = server.json_with("POST", "/v1/users", &key, &ada()).await;
    assert_eq!(again.expect(201), created);
    // The repeat has a request id of its own.
    let own = |headers: &mut HeaderMap| headers.remove("x-request-id").unwrap();
    assert_ne!(own(&mut again.headers), own(&mut first.headers));
    assert_eq!(again.headers, first.headers);
    assert_eq!(server.get("/v1/users").await.expect(200)["items"].as_array().unwrap().len(), 1);
    // A different request with the same key is rejected.
    let mut other = ada();
    other["firstName"] = json!("Eve");
    let taken = server.json_with("POST", "/v1/users", &key, &other).await.expect(422);
    assert_eq!(taken["type"], "urn:bday:problem:idempotency-key-taken");
}

#[tokio::test]
async fn a_failed_request_does_not_use_up_its_idempotency_key() {
    let server = Server::start().await;
    create(&server, &json!({ "externalId": "hr-1" })).await;
    let key = [("idempotency-key", "k")];
    let mut body = ada();
    body["externalId"] = json!("hr-1");
    server.json_with("POST", "/v1/users", &key, &body).await.expect(409);
    body["externalId"] = json!("hr-2");
    server.json_with("POST", "/v1/users", &key, &body).await.expect(201);
    for wrong in ["", "ä", &"x".repeat(256)] {
        server.json_with("POST", "/v1/users", &[("idempotency-key", wrong)], &ada()).await.expect(400);
    }
}

#[tokio::test]
async fn an_idempotency_key_is_deleted_after_a_day() {
    let server = Server::start().await;
    let key = [("idempotency-key", "k")];
    let first = server.json_with("POST", "/v1/users", &key, &ada()).await.expect(201);
    server.clock.advance(chrono::TimeDelta::hours(23));
    assert_eq!(server.json_with("POST", "/v1/users", &key, &ada()).await.expect(201), first);
    server.clock.advance(chrono::TimeDelta::hours(2));
    assert_ne!(server.json_with("POST", "/v1/users", &key, &ada()).await.expect(201)["id"], first["id"]);
    // The cleanup deletes the row without another request.
    let pool = server.pool().await;
    let forgotten = async |hours| -> i64 {
        server.clock.advance(chrono::TimeDelta::hours(hours));
        let store = server.store();
        store.forget_idempotency_keys(server.clock.now()).await.unwrap();
        sqlx::query_scalar("SELECT count(*) FROM idempotency_keys").fetch_one(&pool).await.unwrap()
    };
    assert_eq!(forgotten(23).await, 1);
    assert_eq!(forgotten(2).await, 0);
}

#[tokio::test]
async fn stored_responses_do_not_contain_or_recreate_deleted_users() {
    let server = Server::start().await;
    let key = [("idempotency-key", "k")];
    let mut body = ada();
    body["externalId"] = json!("hr-1");
    let created = server.json_with("POST", "/v1/users", &key, &body).await.expect(201);
    // The stored response about another user must remain.
    let other = [("idempotency-key", "l")];
    let eve = server.json_with("POST", "/v1/users", &other, &ada()).await.expect(201);
    let path = format!("/v1/users/{}", created["id"].as_str().unwrap());
    server.call("DELETE", &path, &[], Body::empty()).await.expect(204);

    let pool = server.pool().await;
    let kept: Vec<String> = sqlx::query_scalar("SELECT k::text FROM idempotency_keys k WHERE answer IS NULL")
        .fetch_all(&pool)
        .await
        .unwrap();
    assert_eq!(kept.len(), 1);
    for personal in ["Ada", "hr-1", created["id"].as_str().unwrap()] {
        assert!(!kept[0].contains(personal), "{}", kept[0]);
    }
    let mut others = ada();
    others["firstName"] = json!("Bob");
    for body in [&body, &others] {
        let gone = server.json_with("POST", "/v1/users", &key, body).await.expect(410);
        assert_eq!(gone["type"], "urn:bday:problem:deleted-since");
    }
    server.get(&path).await.expect(404);
    let again = server.json_with("POST", "/v1/users", &other, &ada()).await;
    assert_eq!(again.expect(201), eve);
    // A new key creates the user again.
    let back = server.json_with("POST", "/v1/users", &[("idempotency-key", "m")], &body).await.expect(201);
    assert_eq!(back["id"], created["id"]);
}

#[tokio::test]
async fn concurrent_identical_requests_create_one_user() {
    let server = Server::start().await;
    let key = [("idempotency-key", "k")];
    let user = ada();
    let requests = (0..8).map(|_| server.json_with("POST", "/v1/users", &key, &user));
    let answers = futures_util::future::join_all(requests).await;
    let ids: Vec<Value> = answers.iter().map(|answer| answer.expect(201)["id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn concurrent_requests_with_one_external_id_create_one_user() {
    let server = Server::start().await;
    let user = ada();
    let path = "/v1/users/by-external-id/hr-1";
    // The external id of a deleted user: all requests derive the same id.
    server.json("PUT", path, &user).await.expect(201);
    server.call("DELETE", path, &[], Body::empty()).await.expect(204);
    let answers = futures_util::future::join_all((0..8).map(|_| server.json("PUT", path, &user))).await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(created, 1);
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        answer.expect(200);
    }
}

#[tokio::test]
async fn a_deadlock_is_retried_and_a_lock_timeout_is_not() {
    let server = Server::start().await;
    let path = format!("/v1/users/{}", create(&server, &json!({})).await);
    let pool = server.pool().await;
    sqlx::raw_sql(
        "CREATE SEQUENCE tries;
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 PERFORM nextval('tries');
                 RAISE EXCEPTION 'no' USING ERRCODE = TG_ARGV[0];
             END $$;",
    )
    .execute(&pool)
    .await
    .unwrap();
    for (code, tries) in [("55P03", 1), ("40P01", 3)] {
        for event in ["UPDATE", "DELETE"] {
            let refuse = format!(
                "ALTER SEQUENCE tries RESTART;
                 CREATE OR REPLACE TRIGGER refuse BEFORE {event} ON users FOR EACH ROW EXECUTE FUNCTION refuse('{code}')"
            );
            sqlx::raw_sql(sqlx::AssertSqlSafe(refuse)).execute(&pool).await.unwrap();
            let answer = if event == "UPDATE" {
                server.json("PATCH", &path, &json!({ "lastName": "King" })).await
            } else {
                server.call("DELETE", &path, &[], Body::empty()).await
            };
            answer.expect(503);
            assert_eq!(answer.header("retry-after"), "1");
            let tried: i64 =
                sqlx::query_scalar("SELECT last_value FROM tries").fetch_one(&pool).await.unwrap();
            assert_eq!(tried, tries, "{code} {event}");
        }
    }
}

#[tokio::test]
async fn many_concurrent_creations_do_not_affect_each_other() {
    let server = Server::start().await;
    // Only the database rejects this user, which fails every statement that includes it.
    let pool = server.pool().await;
    sqlx::query("ALTER TABLE users ADD CONSTRAINT nobody CHECK (first_name <> 'Nobody')")
        .execute(&pool)
        .await
        .unwrap();
    // The day is already planned, so each event is created with its user.
    sqlx::query("INSERT INTO planned_days (local_date, rules) VALUES ('2026-11-25', 'r')")
        .execute(&pool)
        .await
        .unwrap();
    let user = |n: usize| {
        let mut user = ada();
        user["birthDate"] = json!("1990-11-25");
        match n {
            3 => user["firstName"] = json!("Nobody"),
            10..20 => user["externalId"] = json!("the same"),
            20..30 => user["externalId"] = json!(format!("hr-{n}")),
            _ => {}
        }
        user
    };
    let users: Vec<Value> = (0..60).map(user).collect();
    let answers = users.iter().map(|user| server.json("POST", "/v1/users", user));
    let answers = futures_util::future::join_all(answers).await;
    let with = |status: u16| answers.iter().filter(move |answer| answer.status == status);
    assert_eq!((with(201).count(), with(409).count(), with(503).count()), (50, 9, 1));
    assert_eq!(answers[3].status, 503);
    assert!(answers[10..20].iter().all(|answer| answer.status != 503));

    for (user, answer) in users.iter().zip(&answers).filter(|(_, answer)| answer.status == 201) {
        let path = answer.header("location").to_owned();
        let there = read(&server, &path).await;
        assert_eq!(there["externalId"], *user.get("externalId").unwrap_or(&Value::Null));
        assert_eq!(there, answer.json());
        let events = server.get(&format!("{path}/events")).await.expect(200);
        assert_eq!(events["items"][0]["localDate"], "2026-11-25");
    }
}
