//! The audit log.

use bday::model::Scope;
use bday::store::{ApiWrite, ApiWriteFilter};
use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Executor as _;

use super::{TestServer, ada};
use crate::support::world::instant;

/// Returns all rows, the oldest first.
async fn kept(server: &TestServer) -> Vec<ApiWrite> {
    let mut rows = server.store.api_writes(&ApiWriteFilter::default(), None, 10_000).await.unwrap();
    rows.sort_by_key(|row| row.id);
    rows
}

fn short(row: &ApiWrite) -> String {
    let token = row.token_name.as_deref().unwrap_or("-");
    let status = row.status.map_or("-".to_owned(), |status| status.to_string());
    format!("{token} {} {} {status}", row.method, row.path)
}

#[tokio::test]
async fn audit_rows_have_the_token_and_the_id_and_no_personal_data() {
    let server = TestServer::guarded().await;
    let writer = server.token("hr", Scope::Write).await;
    let user = ada();
    let created = server.call(Method::POST, "/v1/users", Some(&writer), Some(user.clone())).await;
    let id = created.body["id"].as_str().unwrap().to_owned();
    let one = format!("/v1/users/{id}");
    let other = "/v1/users/by-external-id/ada.lovelace@example.com";
    for (method, path, body) in [
        (Method::PATCH, one.as_str(), Some(json!({ "firstName": "Augusta" }))),
        (Method::PATCH, &one, Some(json!({ "birthDate": "no date" }))),
        (Method::PUT, other, Some(user)),
        (Method::DELETE, other, None),
        (Method::DELETE, &one, None),
        (Method::DELETE, &one, None),
        (Method::GET, "/v1/users", None),
    ] {
        server.call(method, path, Some(&writer), body).await;
    }
    let rows = kept(&server).await;
    assert_eq!(
        rows.iter().map(short).collect::<Vec<_>>(),
        [
            "hr POST /v1/users 201",
            "hr PATCH /v1/users/{id} 200",
            "hr PATCH /v1/users/{id} 422",
            "hr PUT /v1/users/by-external-id/{externalId} 201",
            "hr DELETE /v1/users/by-external-id/{externalId} 204",
            "hr DELETE /v1/users/{id} 204",
            "hr DELETE /v1/users/{id} 404",
        ]
    );
    let targets: Vec<bool> =
        rows.iter().map(|row| row.target_id.is_some_and(|target| target.to_string() == id)).collect();
    assert_eq!(targets, [true, true, true, false, false, true, true]);
    assert!(rows[3].target_id.is_some() && rows[3].target_id == rows[4].target_id);
    assert_eq!(created.header("x-request-id"), rows[0].id.to_string());
    assert!(rows.iter().all(|row| row.remote.0.is_some_and(|ip| ip.is_loopback())));
    let all = serde_json::to_string(&rows).unwrap().to_lowercase();
    // None of these can occur in a hexadecimal id by chance.
    for private in ["\"ada\"", "lovelace", "augusta", "1815-12-", "example.com"] {
        assert!(!all.contains(private), "{private} is in {all}");
    }
}

#[tokio::test]
async fn rejected_writes_have_an_audit_row_and_reads_have_none() {
    let server = TestServer::guarded().await;
    let reader = server.token("looker", Scope::Read).await;
    server.call(Method::POST, "/v1/users", None, Some(ada())).await.expect_problem(401);
    server.call(Method::POST, "/v1/users", Some(&reader), Some(ada())).await.expect_problem(403);
    server.call(Method::PUT, "/v1/pause", Some(&reader), None).await.expect_problem(403);
    server.get("/v1/users", None).await.expect_problem(401);
    let rows: Vec<String> = kept(&server).await.iter().map(short).collect();
    assert_eq!(rows, ["- POST /v1/users 401", "looker POST /v1/users 403", "looker PUT /v1/pause 403"]);
}

#[tokio::test]
async fn a_write_fails_if_its_audit_row_cannot_be_written() {
    let server = TestServer::open().await;
    let pool = server.database.pool().await;
    pool.execute("ALTER TABLE api_writes RENAME TO elsewhere").await.unwrap();
    let answer = server.call(Method::POST, "/v1/users", None, Some(ada())).await;
    answer.expect_problem(503);
    let users = server.get("/v1/users", None).await.body;
    assert_eq!(users["items"], json!([]));
    pool.execute("ALTER TABLE elsewhere RENAME TO api_writes").await.unwrap();
    assert_eq!(server.call(Method::POST, "/v1/users", None, Some(ada())).await.status, 201);
}

#[tokio::test]
async fn a_change_and_its_audit_row_are_committed_together() {
    let server = TestServer::open().await;
    let pool = server.database.pool().await;
    let created = server.call(Method::POST, "/v1/users", None, Some(ada())).await;
    let one = format!("/v1/users/{}", created.body["id"].as_str().unwrap());
    // A deferred trigger fails at the commit, after all statements of the transaction.
    sqlx::raw_sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
         CREATE CONSTRAINT TRIGGER refuse AFTER INSERT OR DELETE ON users DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION refuse();",
    )
    .execute(&pool)
    .await
    .unwrap();
    for (method, path, body) in [(Method::POST, "/v1/users", Some(ada())), (Method::DELETE, &one, None)] {
        server.call(method, path, None, body).await.expect_problem(503);
    }
    let users = server.get("/v1/users", None).await.body;
    assert_eq!(users["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        kept(&server).await.iter().map(short).collect::<Vec<_>>(),
        ["- POST /v1/users 201", "- POST /v1/users 503", "- DELETE /v1/users/{id} 503"]
    );
}

#[tokio::test]
async fn an_import_has_its_audit_row_before_it_begins() {
    let server = TestServer::open().await;
    let pool = server.database.pool().await;
    let mut lock = pool.begin().await.unwrap();
    lock.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let watch = async {
        let row = crate::support::wait::eventually("its row", async || kept(&server).await.pop()).await;
        assert_eq!(short(&row), "- POST /v1/users/import -", "in flight");
        lock.rollback().await.unwrap();
    };
    let file = "first_name,last_name,birth_date,time_zone\nAda,,1815-12-10,UTC\n";
    let request = server
        .client
        .post(format!("http://{}/v1/users/import", server.address))
        .header("content-type", "text/csv")
        .body(file);
    let (imported, ()) = tokio::join!(server.send(request), watch);
    assert_eq!(imported.status, 200);
    let rows: Vec<String> = kept(&server).await.iter().map(short).collect();
    assert_eq!(rows, ["- POST /v1/users/import 200"]);
}

#[tokio::test]
async fn requests_without_a_token_cannot_fill_the_database() {
    let server = TestServer::guarded().await;
    for _ in 0..150 {
        server.call(Method::DELETE, "/v1/pause", None, None).await.expect_problem(401);
    }
    assert_eq!(kept(&server).await.len(), 100);
    server.clock.advance(TimeDelta::seconds(6));
    for _ in 0..5 {
        server.call(Method::DELETE, "/v1/pause", None, None).await.expect_problem(401);
    }
    assert_eq!(kept(&server).await.len(), 101);
}

#[tokio::test]
async fn only_old_audit_rows_are_deleted_and_in_batches() {
    let server = TestServer::open().await;
    let pool = server.database.pool().await;
    pool.execute(
        "INSERT INTO api_writes (id, at, method, path)
         SELECT gen_random_uuid(), '2026-08-01T00:00:00Z'::timestamptz + n * interval '1 minute', 'PUT', '/v1/pause'
         FROM generate_series(1, 2500) n",
    )
    .await
    .unwrap();
    assert_eq!(server.call(Method::POST, "/v1/users", None, Some(ada())).await.status, 201);
    server.store.forget_api_writes(instant("2026-08-26T12:00:00Z")).await.unwrap();
    assert_eq!(kept(&server).await.len(), 1);
}

#[tokio::test]
async fn the_audit_log_can_be_filtered() {
    let server = TestServer::guarded().await;
    let (one, two) = (server.token("one", Scope::Admin).await, server.token("two", Scope::Admin).await);
    for (token, secs) in [(&one, 0), (&two, 60), (&one, 60)] {
        server.clock.advance(TimeDelta::seconds(secs));
        server.call(Method::PUT, "/v1/pause", Some(token), Some(json!({}))).await;
    }
    let list = async |since: Option<&str>, token: Option<&str>| {
        let (from, token) = (since.map(instant), token.map(str::to_owned));
        let filter = ApiWriteFilter { from, token, ..ApiWriteFilter::default() };
        let rows = server.store.api_writes(&filter, None, 10).await.unwrap();
        rows.iter().map(|row| json!(row)["at"].clone()).collect::<Vec<Value>>()
    };
    let (zero, first, second) = ("2026-11-24T12:00:00Z", "2026-11-24T12:01:00Z", "2026-11-24T12:02:00Z");
    assert_eq!(list(None, None).await, [second, first, zero]);
    assert_eq!(list(Some(first), None).await, [second, first]);
    assert_eq!(list(None, Some("one")).await, [second, zero]);
    assert_eq!(list(Some(first), Some("one")).await, [second]);
    assert!(list(None, Some("nobody")).await.is_empty());
}
