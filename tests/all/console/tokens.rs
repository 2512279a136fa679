use bday::model::Scope;

use crate::support::browser::Look;
use crate::support::console::{Site, finish};

const NOW: &str = "2026-11-24T12:00:00Z";

#[tokio::test]
async fn a_token_is_created_shown_once_used_and_revoked_with_and_without_script() {
    for has_no_script in [false, true] {
        let site = Site::at(NOW).await;
        let look = Look { has_no_script, ..Look::default() };
        let mut page = site.browse(Scope::Admin, "/tokens", look).await;
        page.fill("#name", "hr").await;
        page.fill("#days", "30").await;
        page.follow("form[action='/tokens'] button").await;
        let secret = page.evaluate("document.getElementById('secret').textContent").await;
        let request = site.http.get(format!("{}/v1/users", site.base)).bearer_auth(secret.as_str().unwrap());
        assert_eq!(Site::send(request).await.status, 200);
        page.go(&format!("{}/tokens", site.base)).await;
        let row = "[...document.querySelectorAll('main tbody tr')].find((row) => row.querySelector('th').textContent === 'hr')";
        let text = page.evaluate(&format!("{row}.innerText.replaceAll(/\\s+/g, ' ')")).await;
        let text = text.as_str().unwrap();
        assert!(text.starts_with("hr read live 2026-11-24 12:00:00 UTC"), "{text}");
        assert!(text.contains("2026-12-24 12:00:00 UTC"), "{text}");
        assert_eq!(page.evaluate("document.getElementById('secret')").await, serde_json::Value::Null);
        page.evaluate(&format!("{row}.querySelector('form').id = 'revoke'")).await;
        page.follow("#revoke button").await;
        assert!(
            site.world
                .store
                .tokens()
                .await
                .unwrap()
                .iter()
                .any(|token| token.name == "hr" && token.revoked_at.is_some())
        );
        finish(page, site).await;
    }
}

#[tokio::test]
async fn a_refused_token_keeps_the_input_and_names_the_fields() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Admin).await;
    let reply =
        site.post("/tokens", &cookie, &[("name", "<b>a b</b>"), ("scope", "read"), ("days", "0")]).await;
    assert_eq!(reply.status, 422);
    assert!(reply.text.contains("value=\"&#60;b&#62;a b&#60;/b&#62;\""), "{}", reply.text);
    assert!(reply.text.contains("invalid number of days &#34;0&#34;: use 1 to 36500"), "{}", reply.text);
    let reply = site.post("/tokens", &cookie, &[("name", "admin"), ("scope", "read")]).await;
    assert!(reply.status == 422 && reply.text.contains("choose another name"), "{}", reply.text);
}

#[tokio::test]
async fn tokens_and_the_audit_log_require_the_scope_admin() {
    let site = Site::at(NOW).await;
    for scope in [Scope::Read, Scope::Write] {
        let cookie = site.sign_in(scope).await;
        for path in ["/tokens", "/audit"] {
            assert_eq!(site.get(path, &cookie).await.status, 403, "{scope} {path}");
        }
        for path in ["/tokens", "/tokens/0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f/revoke", "/calendar/subscribe"]
        {
            assert_eq!(site.post(path, &cookie, &[]).await.status, 403, "{scope} {path}");
        }
        let text = site.get("/", &cookie).await.text;
        assert!(!text.contains("href=\"/tokens\"") && !text.contains("action=\"/pause\""), "{scope}");
    }
}

#[tokio::test]
async fn the_audit_log_says_who_changed_what_and_is_filtered() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Admin).await;
    site.post("/pause", &cookie, &[]).await;
    let other = site.token_named("other", Scope::Admin).await;
    let other = site.sign_in_with(other.expose()).await.cookie("bday_session").unwrap();
    site.post("/resume", &format!("bday_session={other}"), &[]).await;
    let mut page = site.browse_as(&cookie, "/audit", Look::default()).await;
    let rows = "[...document.querySelectorAll('main tbody tr')].map((row) => row.innerText.replaceAll(/\\s+/g, ' '))";
    let text = page.evaluate(rows).await;
    assert_eq!(text.as_array().unwrap().len(), 2, "{text}");
    assert!(text[0].as_str().unwrap().contains("other POST /resume 127.0.0.1 303"), "{text}");
    page.press("/").await;
    page.type_text("admin").await;
    page.press_and_load("Enter").await;
    let text = page.evaluate(rows).await;
    assert_eq!(text.as_array().unwrap().len(), 1, "{text}");
    assert!(text[0].as_str().unwrap().contains("admin POST /pause 127.0.0.1 303"), "{text}");
    finish(page, site).await;
}
