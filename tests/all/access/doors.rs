//! Without a token: a listener for all, and one on loopback.

use bday::config;
use bday::model::Scope;
use reqwest::Method;

use super::{Door, ada};

#[tokio::test]
async fn as_long_as_there_is_no_token_the_refusal_says_how_to_make_one() {
    let door = Door::guarded().await;
    let answer = door.get("/v1/users", None).await;
    answer.expect_problem(401);
    assert!(
        answer.detail().contains("bday token create NAME --scope admin"),
        "{answer:?}"
    );
    door.token("hr", Scope::Read).await;
    door.clock.advance(chrono::TimeDelta::seconds(1));
    let answer = door.get("/v1/users", None).await;
    answer.expect_problem(401);
    assert!(!answer.detail().contains("there is no token"), "{answer:?}");
}

#[tokio::test]
async fn on_loopback_who_is_on_this_machine_needs_no_token() {
    let door = Door::local().await;
    assert_eq!(
        door.call(Method::POST, "/v1/users", None, Some(ada()))
            .await
            .status,
        201
    );
    assert_eq!(
        door.call(Method::DELETE, "/v1/pause", None, None).await.status,
        404
    );
    assert_eq!(door.get("/metrics", None).await.status, 200);
}

#[tokio::test]
async fn on_loopback_what_a_proxy_or_a_page_sends_needs_one() {
    let door = Door::local().await;
    let token = door.token("proxy", Scope::Read).await;
    let url = format!("http://{}/v1/users", door.address);
    for (name, value) in [
        ("x-forwarded-for", "10.0.0.7"),
        ("forwarded", "for=10.0.0.7"),
        ("via", "1.1 proxy"),
        ("origin", "https://evil.example"),
        ("host", "rebound.example"),
    ] {
        let request = || door.client.get(&url).header(name, value);
        let answer = door.send(request()).await;
        answer.expect_problem(401);
        assert!(answer.detail().contains("this one"), "{name}: {answer:?}");
        let with_token = door.send(request().bearer_auth(&token)).await;
        assert_eq!(with_token.status, 200, "{name}");
    }
}

#[tokio::test]
async fn on_loopback_a_token_is_held_to_its_scope() {
    let door = Door::local().await;
    let token = door.token("reader", Scope::Read).await;
    let answer = door
        .call(Method::POST, "/v1/users", Some(&token), Some(ada()))
        .await;
    answer.expect_problem(403);
    door.get("/v1/users", Some("bday_wrong"))
        .await
        .expect_problem(401);
}

#[test]
fn a_token_is_needed_as_soon_as_the_listener_is_not_loopback() {
    for (listen, auth, needed) in [
        ("127.0.0.1:8080", "auto", false),
        ("[::1]:8080", "auto", false),
        ("[::ffff:127.0.0.1]:8080", "auto", false),
        ("0.0.0.0:8080", "auto", true),
        ("[::]:8080", "auto", true),
        ("10.0.0.7:8080", "auto", true),
        ("127.0.0.1:8080", "required", true),
    ] {
        let variables = [
            ("BDAY__QUEUE__KIND", "postgres"),
            ("BDAY__HTTP__LISTEN", listen),
            ("BDAY__HTTP__AUTH", auth),
        ];
        let variables = variables.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let config = config::load(None, variables.into()).unwrap();
        assert_eq!(config.http.needs_token(), needed, "{listen} {auth}");
    }
}
