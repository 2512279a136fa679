//! Creation, expiry, revocation and use of tokens.

use bday::model::{Scope, Token};
use chrono::TimeDelta;

use super::{NOON, TestServer, ada};
use crate::support::wait::eventually;
use crate::support::world::instant;

const USERS: &str = "/v1/users";

async fn status(server: &TestServer, token: &str) -> u16 {
    server.get(USERS, Some(token)).await.status
}

#[tokio::test]
async fn a_token_is_rejected_as_soon_as_it_expires() {
    let server = TestServer::guarded().await;
    let token = server.token_until("hr", Scope::Read, Some("2026-11-24T12:00:03Z")).await;
    assert_eq!(status(&server, &token).await, 200);
    server.clock.set(instant("2026-11-24T12:00:02.999Z"));
    assert_eq!(status(&server, &token).await, 200);
    // The cached token is rejected, without another query.
    server.clock.set(instant("2026-11-24T12:00:03Z"));
    assert_eq!(status(&server, &token).await, 401);
    // Expired tokens are not listed as live.
    server.clock.set(instant("2026-11-24T12:10:00Z"));
    assert!(server.store.live_tokens(instant("2026-11-24T12:10:00Z")).await.unwrap().is_empty());
}

#[tokio::test]
async fn idempotency_keys_of_different_tokens_are_independent() {
    let server = TestServer::open().await;
    let (one, two) = (server.token("one", Scope::Write).await, server.token("two", Scope::Write).await);
    let create = async |token: Option<&str>, name: &str| {
        let mut body = ada();
        body["firstName"] = name.into();
        let mut request = server.client.post(format!("http://{}{USERS}", server.address));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = server.send(request.header("idempotency-key", "1").json(&body)).await;
        (answer.status, answer.body["id"].clone())
    };
    let (status, first) = create(Some(&one), "Ada").await;
    assert_eq!(status, 201);
    // Another request with the same key, then a repeat of the first request.
    assert_eq!(create(Some(&two), "Eve").await.0, 201);
    let (status, local) = create(None, "Ada").await;
    assert_eq!(status, 201);
    assert_ne!(local, first);
    assert_eq!(create(Some(&one), "Ada").await, (201, first));
    assert_eq!(create(Some(&two), "Ada").await.0, 422);
}

#[tokio::test]
async fn a_revocation_takes_effect_within_five_seconds() {
    let server = TestServer::guarded().await;
    let token = server.token("hr", Scope::Read).await;
    assert_eq!(status(&server, &token).await, 200);
    assert!(server.store.revoke_token(instant(NOON), "hr").await.unwrap());
    server.clock.set(instant("2026-11-24T12:00:04.999Z"));
    assert_eq!(status(&server, &token).await, 200, "from memory");
    server.clock.set(instant("2026-11-24T12:00:05Z"));
    assert_eq!(status(&server, &token).await, 401);
    assert!(!server.store.revoke_token(instant(NOON), "hr").await.unwrap());
}

#[tokio::test]
async fn setting_the_clock_back_does_not_restore_a_revoked_token() {
    let server = TestServer::guarded().await;
    let token = server.token("hr", Scope::Read).await;
    assert_eq!(status(&server, &token).await, 200);
    server.store.revoke_token(instant(NOON), "hr").await.unwrap();
    server.clock.set(instant("2026-11-24T11:00:00Z"));
    assert_eq!(status(&server, &token).await, 401);
}

#[tokio::test]
async fn a_new_token_works_immediately_after_rejected_requests() {
    let server = TestServer::guarded().await;
    for name in ["first", "second", "third"] {
        server.get(USERS, None).await.expect_problem(401);
        assert_eq!(status(&server, Token::generate().unwrap().expose()).await, 401);
        let token = server.token(name, Scope::Read).await;
        assert_eq!(status(&server, &token).await, 200, "{name}");
    }
}

/// The token may be new: its client must not throw it away.
#[tokio::test]
async fn a_token_that_cannot_be_read_is_not_reported_as_unknown() {
    let server = TestServer::guarded().await;
    let known = server.token("known", Scope::Read).await;
    assert_eq!(status(&server, &known).await, 200);
    let new = server.token("new", Scope::Read).await;
    let pool = server.database.pool().await;
    let mut lock = pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE api_tokens IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    assert_eq!(status(&server, &new).await, 503);
    lock.rollback().await.unwrap();
    assert_eq!(status(&server, &new).await, 200);
}

#[tokio::test]
async fn concurrent_requests_with_unknown_tokens_share_queries() {
    let server = TestServer::guarded().await;
    let token = server.token("hr", Scope::Read).await;
    assert_eq!(status(&server, &token).await, 200);
    let unknown = (0..100).map(async |_| status(&server, Token::generate().unwrap().expose()).await);
    let answers = futures_util::future::join_all(unknown).await;
    assert!(answers.iter().all(|status| *status == 401));
    // PostgreSQL publishes the scan counts of a connection when it closes, at the latest.
    server.store.close().await;
    let pool = server.database.pool().await;
    let scans = eventually("the end of the other connections", async || {
        let (others, scans): (i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()),
                    (SELECT seq_scan + idx_scan FROM pg_stat_user_tables WHERE relname = 'api_tokens')",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        (others == 0 && scans > 0).then_some(scans)
    })
    .await;
    assert!(scans < 30, "{scans} scans for 100 requests");
}

#[tokio::test]
async fn an_invalid_token_is_rejected_with_the_reason() {
    let server = TestServer::guarded().await;
    let token = server.token("hr", Scope::Admin).await;
    let (body, last) = token.split_at(token.len() - 1);
    let wrong = format!("{body}{}", if last == "a" { "b" } else { "a" });
    for (given, reason) in [
        (wrong.as_str(), "checksum"),
        (body, "54 characters"),
        ("hunter2", "bday_"),
        (Token::generate().unwrap().expose(), "unknown token"),
    ] {
        let answer = server.get(USERS, Some(given)).await;
        answer.expect_problem(401);
        assert!(answer.detail().contains(reason), "{given}: {answer:?}");
        assert!(!answer.body.to_string().contains(given), "the token is in the response: {answer:?}");
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"bday\", error=\"invalid_token\"");
    }
    let url = format!("http://{}{USERS}", server.address);
    let basic = server.send(server.client.get(&url).basic_auth("hr", Some(&token))).await;
    basic.expect_problem(401);
    let twice = server.client.get(&url).bearer_auth(&token).bearer_auth(&token);
    server.send(twice).await.expect_problem(401);
    let lower = server.client.get(&url).header("authorization", format!("bearer {token}"));
    assert_eq!(server.send(lower).await.status, 200);
}

#[tokio::test]
async fn the_last_use_is_recorded_at_most_once_a_minute() {
    let server = TestServer::guarded().await;
    let token = server.token("hr", Scope::Read).await;
    let used = async || {
        let tokens = server.store.tokens().await.unwrap();
        tokens[0].last_used_at.map(|at| at.format("%T").to_string())
    };
    assert_eq!(used().await, None);
    for (now, noted) in [
        ("2026-11-24T12:00:00Z", "12:00:00"),
        ("2026-11-24T12:00:01Z", "12:00:00"),
        ("2026-11-24T12:00:59Z", "12:00:00"),
        ("2026-11-24T12:01:00Z", "12:01:00"),
        ("2026-11-24T12:01:30Z", "12:01:00"),
    ] {
        server.clock.set(instant(now));
        assert_eq!(status(&server, &token).await, 200);
        assert_eq!(used().await.as_deref(), Some(noted), "{now}");
    }
}

#[tokio::test]
async fn without_the_database_metrics_are_served_and_writes_are_rejected() {
    let server = TestServer::guarded().await;
    let token = server.token("hr", Scope::Admin).await;
    assert_eq!(server.get("/metrics", Some(&token)).await.status, 200);
    server.store.close().await;
    server.clock.advance(TimeDelta::seconds(10));
    assert_eq!(server.get("/metrics", Some(&token)).await.status, 200);
    server.clock.advance(TimeDelta::seconds(10));
    server.get(USERS, Some(&token)).await.expect_problem(503);
    server.get("/metrics", Some(Token::generate().unwrap().expose())).await.expect_problem(401);
}
