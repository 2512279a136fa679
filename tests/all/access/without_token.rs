//! Requests without a token: rejected unless `http.auth` is off.

use bday::config;
use bday::model::Scope;
use reqwest::Method;

use super::{TestServer, ada};
use crate::serve::Place;

#[tokio::test]
async fn the_error_says_how_to_create_a_token_if_none_exists() {
    let server = TestServer::guarded().await;
    let answer = server.get("/v1/users", None).await;
    answer.expect_problem(401);
    assert!(answer.detail().contains("bday token create NAME --scope admin"), "{answer:?}");
    server.token("hr", Scope::Read).await;
    server.clock.advance(chrono::TimeDelta::seconds(1));
    let answer = server.get("/v1/users", None).await;
    answer.expect_problem(401);
    assert!(!answer.detail().contains("there is no token"), "{answer:?}");
}

/// Behind `proxy_pass http://127.0.0.1:8080;` of nginx, remote clients have a loopback address.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_on_loopback_with_default_settings_requires_a_token() {
    let place = Place::new().await;
    let daemon = place.bday(&["serve"]).env_remove("BDAY__HTTP__AUTH").start();
    let address = daemon.ready().await;
    let client = reqwest::Client::new();
    for (method, path) in [(Method::GET, "/v1/users"), (Method::PUT, "/v1/pause"), (Method::GET, "/metrics")]
    {
        let request = client.request(method, format!("http://{address}{path}"));
        let request = request.header("host", "127.0.0.1:8080");
        assert_eq!(request.send().await.unwrap().status(), 401, "{path}");
    }
    for path in ["/livez", "/readyz"] {
        let answer = client.get(format!("http://{address}{path}")).send().await;
        assert_eq!(answer.unwrap().status(), 200, "{path}");
    }
}

#[tokio::test]
async fn with_auth_off_no_client_needs_a_token() {
    let server = TestServer::open().await;
    assert_eq!(server.call(Method::POST, "/v1/users", None, Some(ada())).await.status, 201);
    assert_eq!(server.call(Method::DELETE, "/v1/pause", None, None).await.status, 404);
    assert_eq!(server.get("/metrics", None).await.status, 200);
    let url = format!("http://{}/v1/users", server.address);
    let proxied = server.client.get(&url).header("x-forwarded-for", "10.0.0.7");
    assert_eq!(server.send(proxied).await.status, 200);
}

#[tokio::test]
async fn with_auth_off_a_name_that_may_be_rebound_needs_a_token() {
    let server = TestServer::open().await;
    let call = async |method: Method, path: &str, host: &str, token: &str| {
        let url = format!("http://{}{path}", server.address);
        let mut request = server.client.request(method, url).header("host", host).json(&ada());
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        server.send(request).await
    };
    for host in ["localhost:8080", "127.0.0.1", "[::1]:8080"] {
        assert_eq!(call(Method::GET, "/v1/users", host, "").await.status, 200, "{host}");
    }
    for (method, path) in
        [(Method::GET, "/v1/users"), (Method::POST, "/v1/users"), (Method::GET, "/calendar.ics")]
    {
        let answer = call(method, path, "evil.example:8080", "").await;
        answer.expect_problem(403);
        assert!(answer.detail().contains("evil.example:8080"), "{answer:?}");
        assert!(answer.detail().contains("http.public_url"), "{answer:?}");
    }
    let token = server.token("writer", Scope::Write).await;
    assert_eq!(call(Method::POST, "/v1/users", "bday:8080", &token).await.status, 201);
    for open in ["/livez", "/metrics", "/openapi.json"] {
        let status = call(Method::GET, open, "bday:8080", "").await.status;
        assert_ne!(status, 403, "{open}");
    }
}

#[tokio::test]
async fn with_auth_off_a_page_of_another_site_changes_nothing() {
    let server = TestServer::open().await;
    let url = |path: &str| format!("http://{}{path}", server.address);
    let evil = [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")];
    for (name, value) in evil {
        let redrive = server.client.post(url("/v1/dead-letters/redrive")).header(name, value);
        server.send(redrive).await.expect_problem(403);
        let link = server.client.get(url("/v1/users")).header(name, value);
        assert_eq!(server.send(link).await.status, 200, "its answer is not readable there");
    }
    let own = server.client.post(url("/v1/users")).header("sec-fetch-site", "same-origin").json(&ada());
    assert_eq!(server.send(own).await.status, 201);
}

#[tokio::test]
async fn with_auth_off_a_token_is_still_limited_to_its_scope() {
    let server = TestServer::open().await;
    let token = server.token("reader", Scope::Read).await;
    let answer = server.call(Method::POST, "/v1/users", Some(&token), Some(ada())).await;
    answer.expect_problem(403);
    server.get("/v1/users", Some("bday_wrong")).await.expect_problem(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exposed_daemon_without_tokens_logs_a_warning_at_startup() {
    let place = Place::new().await;
    let daemon = |listen: &str| {
        place
            .bday(&["serve", "--role", "api"])
            .env("BDAY__HTTP__AUTH", "off")
            .env("BDAY__HTTP__LISTEN", listen)
            .start()
    };
    let warned =
        |line: &serde_json::Value| line["message"].as_str()?.contains("http.auth is off").then_some(());
    daemon("0.0.0.0:0").log("the warning", warned).await;
    let local = daemon("127.0.0.1:0");
    local.ready().await;
    assert!(!local.logs().iter().any(|line| warned(line).is_some()));
}

#[test]
fn every_listener_requires_a_token_unless_auth_is_off() {
    for (listen, auth, required, exposed) in [
        ("127.0.0.1:8080", None, true, false),
        ("0.0.0.0:8080", None, true, false),
        ("127.0.0.1:8080", Some("required"), true, false),
        ("127.0.0.1:8080", Some("off"), false, false),
        ("[::ffff:127.0.0.1]:8080", Some("off"), false, false),
        ("0.0.0.0:8080", Some("off"), false, true),
        ("[::]:8080", Some("off"), false, true),
        ("10.0.0.7:8080", Some("off"), false, true),
    ] {
        let mut variables = vec![("BDAY__QUEUE__KIND", "postgres"), ("BDAY__HTTP__LISTEN", listen)];
        variables.extend(auth.map(|auth| ("BDAY__HTTP__AUTH", auth)));
        let variables = variables.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
        let http = config::load(None, variables.collect()).unwrap().http;
        assert_eq!((http.requires_token(), http.is_exposed()), (required, exposed), "{listen} {auth:?}");
    }
}
