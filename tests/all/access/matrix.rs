//! Requests every route with every scope. The routes come from the API description, so new routes are covered.

use bday::http::required_scope;
use bday::model::Scope;
use reqwest::Method;
use serde_json::Value;

use super::TestServer;

/// Returns the method, path and required scope of each operation.
async fn operations(server: &TestServer) -> Vec<(Method, String, Scope)> {
    let description = server.get("/openapi.json", None).await.body;
    let scheme = &description["components"]["securitySchemes"]["token"];
    assert_eq!((&scheme["type"], &scheme["scheme"]), (&"http".into(), &"bearer".into()));
    let mut operations = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let security = operation["security"].as_array().unwrap();
            let [Value::Object(requirement)] = security.as_slice() else {
                panic!("{method} {path}: {security:?}");
            };
            let scope = requirement["token"][0].as_str().unwrap().parse().unwrap();
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            operations.push((method, path.clone(), scope));
        }
    }
    assert!(operations.len() >= 24, "{operations:?}");
    operations
}

/// Returns the path for a user that does not exist.
fn path_without_user(path: &str) -> String {
    path.replace("{id}", "0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f")
        .replace("{externalId}", "nobody")
        .replace("{channel}", "mail")
}

#[tokio::test]
async fn every_route_accepts_only_tokens_with_its_scope() {
    let server = TestServer::guarded().await;
    let mut callers = vec![(None, None)];
    for scope in Scope::ALL {
        callers.push((Some(scope), Some(server.token(scope.as_str(), scope).await)));
    }
    for (method, path, need) in operations(&server).await {
        for (scope, token) in &callers {
            let what = format!("{method} {path} with {scope:?}");
            let answer = server.call(method.clone(), &path_without_user(&path), token.as_deref(), None).await;
            let challenge = answer.header("www-authenticate");
            match scope {
                None => {
                    answer.expect_problem(401);
                    assert_eq!(challenge, "Bearer realm=\"bday\"", "{what}");
                }
                Some(scope) if *scope < need => {
                    answer.expect_problem(403);
                    assert!(challenge.contains(&format!("scope=\"{need}\"")), "{what}: {challenge}");
                    assert!(answer.detail().contains(&format!("scope {need}")), "{what}: {answer:?}");
                }
                Some(_) => assert!(![401, 403].contains(&answer.status), "{what}: {answer:?}"),
            }
        }
        if method == Method::GET {
            let head = server.call(Method::HEAD, &path_without_user(&path), None, None).await;
            assert_eq!(head.status, 401, "HEAD {path}");
        }
    }
}

#[tokio::test]
async fn the_description_documents_the_required_scopes() {
    let server = TestServer::guarded().await;
    let operations = operations(&server).await;
    for (method, path, scope) in &operations {
        assert_eq!(required_scope(method, path), *scope, "{method} {path}");
        let is_administrative = path.starts_with("/v1/tokens") || path.starts_with("/v1/audit");
        let is_feed = path == "/calendar.ics";
        assert_eq!(*scope == Scope::Calendar, is_feed, "{method} {path}");
        let is_read = *method == Method::GET && !is_administrative && !is_feed;
        assert_eq!(*scope == Scope::Read, is_read, "{method} {path}");
    }
    for admin in [
        (Method::PUT, "/v1/pause"),
        (Method::DELETE, "/v1/pause"),
        (Method::GET, "/v1/tokens"),
        (Method::DELETE, "/v1/tokens/{id}"),
        (Method::GET, "/v1/audit"),
    ] {
        let found =
            operations.iter().find(|(method, path, _)| (method, path.as_str()) == (&admin.0, admin.1));
        assert_eq!(found.map(|(.., scope)| *scope), Some(Scope::Admin), "{admin:?}");
    }
}

#[tokio::test]
async fn metrics_require_a_token_health_and_description_do_not() {
    let server = TestServer::guarded().await;
    for open in ["/livez", "/readyz", "/openapi.json", "/docs"] {
        let status = server.get(open, None).await.status;
        assert!(![401, 403].contains(&status), "{open}: {status}");
    }
    // Mail programs unsubscribe without a token, and so does a person who has the link.
    let link = server.store.installation_key().await.unwrap().unsubscribe_token(&[7; 32]);
    for method in [Method::GET, Method::POST] {
        let answer = server.call(method, &format!("/unsubscribe/{link}"), None, None).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    server.get("/metrics", None).await.expect_problem(401);
    let calendar = server.token("calendar", Scope::Calendar).await;
    server.clock.advance(chrono::TimeDelta::seconds(1));
    server.get("/metrics", Some(&calendar)).await.expect_problem(403);
    let token = server.token("prometheus", Scope::Read).await;
    server.clock.advance(chrono::TimeDelta::seconds(1));
    assert_eq!(server.get("/metrics", Some(&token)).await.status, 200);
}
