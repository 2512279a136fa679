//! Who may subscribe to the calendar feed.

use bday::model::{Scope, Token};
use reqwest::Method;

use super::{NOON, TestServer, ada};
use crate::support::world::instant;

const FEED: &str = "/calendar.ics";

#[tokio::test]
async fn the_feed_accepts_a_token_of_any_scope_in_the_url_or_the_header() {
    let server = TestServer::guarded().await;
    for scope in Scope::ALL {
        let token = server.token(scope.as_str(), scope).await;
        let answer = server.get(&format!("{FEED}?token={token}"), None).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, "text/calendar; charset=utf-8"),
            "{scope}"
        );
        assert_eq!(server.get(FEED, Some(&token)).await.status, 200, "{scope}");
    }
}

#[tokio::test]
async fn the_feed_rejects_missing_unknown_expired_and_revoked_tokens() {
    let server = TestServer::guarded().await;
    server.get(FEED, None).await.expect_problem(401);
    let token = server.token_until("phone", Scope::Calendar, Some("2026-11-24T13:00:00Z")).await;
    let path = format!("{FEED}?token={token}");
    let unknown = Token::generate().unwrap();
    for wrong in ["", "x", &token[1..], unknown.expose()] {
        let answer = server.get(&format!("{FEED}?token={wrong}"), None).await;
        answer.expect_problem(401);
        assert!(wrong.is_empty() || !answer.body.to_string().contains(wrong), "{answer:?}");
    }
    // A valid token in the URL does not help an invalid one in the header.
    server.get(&path, Some("x")).await.expect_problem(401);
    assert_eq!(server.get(&path, None).await.status, 200);
    server.clock.set(instant("2026-11-24T13:00:00Z"));
    server.get(&path, None).await.expect_problem(401);
    server.clock.set(instant(NOON));
    server.store.revoke_token(instant(NOON), "phone").await.unwrap();
    server.clock.set(instant("2026-11-24T12:00:05Z"));
    server.get(&path, None).await.expect_problem(401);
}

#[tokio::test]
async fn the_use_of_a_token_in_the_url_is_recorded() {
    let server = TestServer::guarded().await;
    let token = server.token("phone", Scope::Calendar).await;
    server.clock.set(instant("2026-11-24T12:30:00Z"));
    server.get(&format!("{FEED}?token={token}"), None).await;
    let used = server.store.tokens().await.unwrap()[0].last_used_at;
    assert_eq!(used, Some(instant("2026-11-24T12:30:00Z")));
}

#[tokio::test]
async fn a_token_in_the_url_opens_nothing_but_the_feed() {
    let server = TestServer::guarded().await;
    let admin = server.token("ops", Scope::Admin).await;
    for path in ["/v1/users", "/metrics"] {
        server.get(&format!("{path}?token={admin}"), None).await.expect_problem(401);
    }
    server.call(Method::POST, &format!("{FEED}?token={admin}"), None, Some(ada())).await.expect_problem(405);
}

#[tokio::test]
async fn an_open_server_serves_the_feed_without_a_token() {
    let server = TestServer::open().await;
    assert_eq!(server.get(FEED, None).await.status, 200);
}
