//! When a token begins, works and ends.

use bday::model::{Scope, Token};
use chrono::TimeDelta;

use super::{Door, NOON, ada};
use crate::support::wait::eventually;
use crate::support::world::instant;

const USERS: &str = "/v1/users";

async fn status(door: &Door, token: &str) -> u16 {
    door.get(USERS, Some(token)).await.status
}

#[tokio::test]
async fn a_token_that_runs_out_is_refused_from_that_moment_on() {
    let door = Door::guarded().await;
    let token = door.token_until("hr", Scope::Read, Some("2026-11-24T12:00:03Z")).await;
    assert_eq!(status(&door, &token).await, 200);
    door.clock.set(instant("2026-11-24T12:00:02.999Z"));
    assert_eq!(status(&door, &token).await, 200);
    // Nothing was read again since.
    door.clock.set(instant("2026-11-24T12:00:03Z"));
    assert_eq!(status(&door, &token).await, 401);
    // Its name is free again.
    door.clock.set(instant("2026-11-24T12:10:00Z"));
    assert!(door.store.live_tokens(instant("2026-11-24T12:10:00Z")).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_idempotency_key_is_that_of_the_token_that_sent_it() {
    let door = Door::open().await;
    let (one, two) = (door.token("one", Scope::Write).await, door.token("two", Scope::Write).await);
    let create = async |token: Option<&str>, name: &str| {
        let mut body = ada();
        body["firstName"] = name.into();
        let mut request = door.client.post(format!("http://{}{USERS}", door.address));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = door.send(request.header("idempotency-key", "1").json(&body)).await;
        (answer.status, answer.body["id"].clone())
    };
    let (status, first) = create(Some(&one), "Ada").await;
    assert_eq!(status, 201);
    // Another request under the same name, and then the same request.
    assert_eq!(create(Some(&two), "Eve").await.0, 201);
    let (status, local) = create(None, "Ada").await;
    assert_eq!(status, 201);
    assert_ne!(local, first);
    assert_eq!(create(Some(&one), "Ada").await, (201, first));
    assert_eq!(create(Some(&two), "Ada").await.0, 422);
}

#[tokio::test]
async fn a_revoked_token_ends_within_five_seconds_and_until_then_no_request_asks_the_database() {
    let door = Door::guarded().await;
    let token = door.token("hr", Scope::Read).await;
    assert_eq!(status(&door, &token).await, 200);
    assert!(door.store.revoke_token(instant(NOON), "hr").await.unwrap());
    door.clock.set(instant("2026-11-24T12:00:04.999Z"));
    assert_eq!(status(&door, &token).await, 200, "from memory");
    door.clock.set(instant("2026-11-24T12:00:05Z"));
    assert_eq!(status(&door, &token).await, 401);
    assert!(!door.store.revoke_token(instant(NOON), "hr").await.unwrap());
}

#[tokio::test]
async fn a_clock_that_is_set_back_keeps_no_revoked_token_alive() {
    let door = Door::guarded().await;
    let token = door.token("hr", Scope::Read).await;
    assert_eq!(status(&door, &token).await, 200);
    door.store.revoke_token(instant(NOON), "hr").await.unwrap();
    door.clock.set(instant("2026-11-24T11:00:00Z"));
    assert_eq!(status(&door, &token).await, 401);
}

#[tokio::test]
async fn a_new_token_works_at_once_whoever_asked_a_moment_before() {
    let door = Door::guarded().await;
    for name in ["first", "second", "third"] {
        door.get(USERS, None).await.expect_problem(401);
        assert_eq!(status(&door, Token::generate().unwrap().expose()).await, 401);
        let token = door.token(name, Scope::Read).await;
        assert_eq!(status(&door, &token).await, 200, "{name}");
    }
}

#[tokio::test]
async fn invented_tokens_share_a_look_into_the_database() {
    let door = Door::guarded().await;
    let token = door.token("hr", Scope::Read).await;
    assert_eq!(status(&door, &token).await, 200);
    let invented = (0..100).map(async |_| status(&door, Token::generate().unwrap().expose()).await);
    let answers = futures_util::future::join_all(invented).await;
    assert!(answers.iter().all(|status| *status == 401));
    // What a connection did is counted when it ends, at the latest.
    door.store.close().await;
    let pool = door.database.pool().await;
    let looks = eventually("the end of the other connections", async || {
        let (others, looks): (i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()),
                    (SELECT seq_scan + idx_scan FROM pg_stat_user_tables WHERE relname = 'api_tokens')",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        (others == 0 && looks > 0).then_some(looks)
    })
    .await;
    assert!(looks < 30, "{looks} scans for 100 requests");
}

#[tokio::test]
async fn what_cannot_be_a_token_is_told_why() {
    let door = Door::guarded().await;
    let token = door.token("hr", Scope::Admin).await;
    let (body, last) = token.split_at(token.len() - 1);
    let wrong = format!("{body}{}", if last == "a" { "b" } else { "a" });
    for (given, reason) in [
        (wrong.as_str(), "checksum"),
        (body, "54 characters"),
        ("hunter2", "bday_"),
        (Token::generate().unwrap().expose(), "unknown token"),
    ] {
        let answer = door.get(USERS, Some(given)).await;
        answer.expect_problem(401);
        assert!(answer.detail().contains(reason), "{given}: {answer:?}");
        assert!(!answer.body.to_string().contains(given), "it is repeated: {answer:?}");
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"bday\", error=\"invalid_token\"");
    }
    let url = format!("http://{}{USERS}", door.address);
    let basic = door.send(door.client.get(&url).basic_auth("hr", Some(&token))).await;
    basic.expect_problem(401);
    let twice = door.client.get(&url).bearer_auth(&token).bearer_auth(&token);
    door.send(twice).await.expect_problem(401);
    let lower = door.client.get(&url).header("authorization", format!("bearer {token}"));
    assert_eq!(door.send(lower).await.status, 200);
}

#[tokio::test]
async fn the_last_use_is_noted_once_a_minute() {
    let door = Door::guarded().await;
    let token = door.token("hr", Scope::Read).await;
    let used = async || {
        let tokens = door.store.tokens().await.unwrap();
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
        door.clock.set(instant(now));
        assert_eq!(status(&door, &token).await, 200);
        assert_eq!(used().await.as_deref(), Some(noted), "{now}");
    }
}

#[tokio::test]
async fn while_the_database_is_away_nobody_writes_and_the_metrics_are_there() {
    let door = Door::guarded().await;
    let token = door.token("hr", Scope::Admin).await;
    assert_eq!(door.get("/metrics", Some(&token)).await.status, 200);
    door.store.close().await;
    door.clock.advance(TimeDelta::seconds(10));
    assert_eq!(door.get("/metrics", Some(&token)).await.status, 200);
    door.clock.advance(TimeDelta::seconds(10));
    door.get(USERS, Some(&token)).await.expect_problem(503);
    door.get("/metrics", Some(Token::generate().unwrap().expose())).await.expect_problem(401);
}
