//! The route to unsubscribe: public, with one click, and only with a token of this installation.

use axum::body::Body;

use crate::support::api::Server;

async fn suppressions(server: &Server) -> Vec<(Vec<u8>, String, String, String)> {
    sqlx::query_as("SELECT address_hash, channel, kind, status FROM suppressions")
        .fetch_all(&server.pool().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_post_unsubscribes_at_once_and_a_get_only_asks() {
    let server = Server::start().await;
    let store = server.store();
    let hash = store.installation_key().await.unwrap().address_hash("ada@example.org");
    let path = format!("/unsubscribe/{}", store.installation_key().await.unwrap().unsubscribe_token(&hash));

    let page = server.get(&path).await;
    assert_eq!(page.status, 200);
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(text.contains("<form method=\"post\"><button>Unsubscribe</button></form>"), "{text}");
    assert!(!text.contains("<script") && !text.contains("http"), "{text}");
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("script"), "{policy}");
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(page.headers[name], value);
    }
    assert_eq!(suppressions(&server).await, [], "a program that scans mail opened the link");

    // As mail programs send it (RFC 8058), as the page does, and repeated.
    let form = [("content-type", "application/x-www-form-urlencoded")];
    for body in ["List-Unsubscribe=One-Click", "", "anything"] {
        let answer = server.call("POST", &path, &form, Body::from(body)).await;
        assert_eq!(answer.status, 200);
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(text.contains("You are unsubscribed"), "{text}");
        let expected = (hash.to_vec(), "mail".to_owned(), String::new(), "opted_out".to_owned());
        assert_eq!(suppressions(&server).await, [expected]);
    }
}

#[tokio::test]
async fn a_wrong_token_is_not_found() {
    let server = Server::start().await;
    let key = server.store().installation_key().await.unwrap().clone();
    let token = key.unsubscribe_token(&[7; 32]);
    let mut changed = token.clone().into_bytes();
    changed[0] = if changed[0] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).unwrap();
    for wrong in ["x", &changed, &token[1..], &format!("{token}A"), "%ff", &"A".repeat(64), &"A".repeat(5000)]
    {
        for method in ["GET", "POST"] {
            let answer = server.call(method, &format!("/unsubscribe/{wrong}"), &[], Body::empty()).await;
            let expected = if wrong == "%ff" { 400 } else { 404 };
            assert_eq!(answer.status, expected, "{method} {wrong}");
        }
    }
    assert_eq!(suppressions(&server).await, []);
    assert_eq!(server.call("DELETE", &format!("/unsubscribe/{token}"), &[], Body::empty()).await.status, 405);
}
