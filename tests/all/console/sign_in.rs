use bday::model::Scope;
use chrono::{TimeDelta, Utc};

use crate::support::browser::{Look, Page};
use crate::support::console::{Site, accessibility_findings, finish};
use crate::support::world::instant;

const NOW: &str = "2026-11-24T12:00:00Z";

fn later(minutes: i64) -> String {
    let at: chrono::DateTime<Utc> = instant(NOW) + TimeDelta::minutes(minutes);
    at.to_rfc3339()
}

#[tokio::test]
async fn a_page_leads_to_the_sign_in_and_back() {
    let site = Site::at(NOW).await;
    let reply = site.get("/?x=1", "").await;
    assert_eq!((reply.status, reply.location()), (303, "/sign-in?next=%2F%3Fx%3D1"));
    let token = site.token(Scope::Read).await;
    let reply = site.post("/sign-in", "", &[("token", token.expose()), ("next", "/?x=1")]).await;
    assert_eq!((reply.status, reply.location()), (303, "/?x=1"));
    let cookie = reply.cookie("bday_session").unwrap();
    let reply = site.get("/", &format!("bday_session={cookie}")).await;
    assert_eq!(reply.status, 200);
    assert!(reply.text.contains("Sign out"));
}

#[tokio::test]
async fn a_form_after_the_session_leads_to_the_sign_in_and_to_its_page() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Admin).await;
    site.world.set(&later(31));
    let page = format!("{}/failures?reason=timeout", site.base);
    let headers = [("sec-fetch-site", "same-origin"), ("referer", page.as_str())];
    let reply = site.post_with("/pause", &cookie, &headers, &[("reason", "lunch")]).await;
    let sign_in = "/sign-in?next=%2Ffailures%3Freason%3Dtimeout&form=unsent";
    assert_eq!((reply.status, reply.location()), (303, sign_in));
    let text = site.get(sign_in, "").await.text;
    assert!(
        text.contains("The form had no effect") && text.contains("value=\"/failures?reason=timeout\""),
        "{text}"
    );
    assert!(site.world.store.pause().await.unwrap().is_none());
    let reply = site.post("/pause", &cookie, &[("reason", "lunch")]).await;
    assert_eq!((reply.status, reply.location()), (303, "/sign-in?next=%2F&form=unsent"));
}

#[tokio::test]
async fn the_sign_in_returns_only_to_this_host() {
    let site = Site::at(NOW).await;
    let token = site.token(Scope::Read).await;
    for next in ["//evil.example", "https://evil.example", "/\\evil.example"] {
        let reply = site.post("/sign-in", "", &[("token", token.expose()), ("next", next)]).await;
        assert_eq!((reply.status, reply.location()), (303, "/"), "{next}");
    }
}

#[tokio::test]
async fn a_session_ends_after_30_minutes_without_use() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Read).await;
    for minutes in [29, 58, 87] {
        site.world.set(&later(minutes));
        assert_eq!(site.get("/", &cookie).await.status, 200, "{minutes}");
    }
    site.world.set(&later(118));
    assert_eq!(site.get("/", &cookie).await.status, 303);
}

#[tokio::test]
async fn the_refresh_of_a_page_is_no_use_of_the_session() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Read).await;
    for minutes in [10, 20, 29] {
        site.world.set(&later(minutes));
        let request = site.http.get(&site.base).header("cookie", &cookie).header("bday-live", "1");
        assert_eq!(Site::send(request).await.status, 200, "{minutes}");
    }
    site.world.set(&later(31));
    assert_eq!(site.get("/", &cookie).await.status, 303);
}

#[tokio::test]
async fn a_session_in_use_ends_after_12_hours() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Read).await;
    for minutes in (25..720).step_by(25) {
        site.world.set(&later(minutes));
        assert_eq!(site.get("/", &cookie).await.status, 200, "{minutes}");
    }
    site.world.set(&later(721));
    assert_eq!(site.get("/", &cookie).await.status, 303);
}

#[tokio::test]
async fn a_revoked_token_ends_its_sessions() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Read).await;
    assert_eq!(site.get("/", &cookie).await.status, 200);
    assert!(site.world.store.revoke_token(instant(NOW), "read").await.unwrap());
    // The tokens in memory are 5 seconds old at most.
    site.world.set("2026-11-24T12:00:06Z");
    assert_eq!(site.get("/", &cookie).await.status, 303);
}

#[tokio::test]
async fn a_session_that_was_signed_out_is_over() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Read).await;
    let reply = site.post("/sign-out", &cookie, &[]).await;
    assert_eq!((reply.status, reply.location()), (303, "/sign-in"));
    assert_eq!(reply.cookie("bday_session").as_deref(), Some(""));
    assert_eq!(site.get("/", &cookie).await.status, 303);
}

#[tokio::test]
async fn failed_sign_ins_are_refused_with_the_reason_and_limited() {
    let site = Site::at(NOW).await;
    let other = bday::model::Token::generate().unwrap();
    let reply = site.sign_in_with("secret").await;
    assert_eq!(reply.status, 401);
    assert!(reply.text.contains("invalid token: a token begins with bday_"), "{}", reply.text);
    assert!(!reply.text.contains("secret\""), "the token is not repeated");
    for _ in 1..10 {
        assert_eq!(site.sign_in_with(other.expose()).await.status, 401);
    }
    let token = site.token(Scope::Read).await;
    assert_eq!(site.sign_in_with(token.expose()).await.status, 429);
    site.world.set("2026-11-24T12:00:30Z");
    assert_eq!(site.sign_in_with(token.expose()).await.status, 303);
}

#[tokio::test]
async fn forms_of_other_sites_are_refused() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Admin).await;
    let token = site.token_named("other", Scope::Admin).await;
    let other_site = [("sec-fetch-site", "cross-site")];
    let other_origin = [("origin", "http://evil.example")];
    for headers in [&other_site[..], &other_origin[..], &[]] {
        for path in ["/pause", "/sign-out"] {
            assert_eq!(site.post_with(path, &cookie, headers, &[]).await.status, 403, "{path} {headers:?}");
        }
        let reply = site.post_with("/sign-in", "", headers, &[("token", token.expose())]).await;
        assert_eq!((reply.status, reply.cookie("bday_session")), (403, None));
    }
    assert!(site.world.store.pause().await.unwrap().is_none());
    let origin = [("origin", site.base.as_str())];
    assert_eq!(site.post_with("/pause", &cookie, &origin, &[]).await.status, 303);
}

#[tokio::test]
async fn the_api_does_not_accept_a_session() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Admin).await;
    for path in ["/v1/users", "/v1/pause", "/metrics"] {
        assert_eq!(site.get(path, &cookie).await.status, 401, "{path}");
    }
    let delete = site.http.delete(format!("{}/v1/pause", site.base)).header("cookie", &cookie);
    assert_eq!(Site::send(delete).await.status, 401);
}

#[tokio::test]
async fn a_form_is_recorded_with_the_token_of_its_session() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Admin).await;
    site.post("/pause", &cookie, &[("reason", "the receiver is being moved")]).await;
    let reader = site.sign_in(Scope::Read).await;
    assert_eq!(site.post("/resume", &reader, &[]).await.status, 403);
    let rows = site.world.store.api_writes(&bday::store::ApiWriteFilter::default(), None, 10).await.unwrap();
    let rows: Vec<_> = rows
        .iter()
        .map(|row| (row.token_name.as_deref(), row.method.as_str(), row.path.as_str(), row.status))
        .collect();
    assert_eq!(
        rows,
        [(Some("read"), "POST", "/resume", Some(403)), (Some("admin"), "POST", "/pause", Some(303))]
    );
}

#[tokio::test]
async fn without_required_tokens_no_sign_in_is_needed_and_forms_of_other_sites_are_refused() {
    let world = crate::support::world::World::at(NOW).await;
    let site = Site::with_auth(world, false);
    assert_eq!(site.get("/", "").await.status, 200);
    assert_eq!(site.post_with("/pause", "", &[("sec-fetch-site", "cross-site")], &[]).await.status, 403);
    assert_eq!(site.post("/pause", "", &[]).await.status, 303);
}

#[tokio::test]
async fn without_required_tokens_a_rebound_host_requires_to_sign_in() {
    let world = crate::support::world::World::at(NOW).await;
    let site = Site::with_auth(world, false);
    let get = async |path: &str, host: &str| {
        let request = site.http.get(format!("{}{path}", site.base)).header("accept", "text/html");
        Site::send(request.header("host", host)).await
    };
    assert_eq!(get("/people", "localhost:8080").await.status, 200);
    let page = get("/people", "evil.example:8080").await;
    assert_eq!(page.status, 403);
    assert!(
        page.text.contains("evil.example:8080") && page.text.contains("http.public_url"),
        "{}",
        page.text
    );
    assert!(page.text.contains("href=\"/sign-in\""), "{}", page.text);
    assert_eq!(get("/sign-in", "evil.example:8080").await.status, 200);
    assert_eq!(get("/unknown", "evil.example:8080").await.status, 404);
    // The page of the other host is of the same origin to the browser.
    let headers = [("sec-fetch-site", "same-origin"), ("host", "evil.example:8080")];
    assert_eq!(site.post_with("/pause", "", &headers, &[]).await.status, 403);
    assert!(site.world.store.pause().await.unwrap().is_none());
    let token = site.token(Scope::Read).await;
    let cookie = site.post_with("/sign-in", "", &headers, &[("token", token.expose())]).await;
    let cookie = format!("bday_session={}", cookie.cookie("bday_session").unwrap());
    let request = site.http.get(format!("{}/people", site.base)).header("host", "evil.example:8080");
    assert_eq!(Site::send(request.header("cookie", cookie)).await.status, 200);
    site.stop().await;
}

#[tokio::test]
async fn the_cookie_is_bound_to_the_host_when_the_browser_uses_https() {
    let world =
        crate::support::world::World::with(NOW, &[("http.public_url", "https://bday.example.org")]).await;
    let site = Site::on(world);
    let token = site.token(Scope::Read).await;
    let headers = [("sec-fetch-site", "same-origin"), ("host", "bday.example.org")];
    let reply = site.post_with("/sign-in", "", &headers, &[("token", token.expose())]).await;
    let cookie = reply.header("set-cookie");
    assert!(cookie.starts_with("__Host-bday_session=") && cookie.ends_with("; Secure"), "{cookie}");
}

#[tokio::test]
async fn an_operator_signs_in_with_a_pasted_token_by_keyboard_with_and_without_script() {
    for has_no_script in [false, true] {
        let site = Site::at(NOW).await;
        let token = site.token(Scope::Read).await;
        let mut page = Page::start().await;
        page.set_look(Look { has_no_script, is_narrow: true, ..Look::default() }).await;
        page.go(&format!("{}/calendar", site.base)).await;
        if !has_no_script {
            assert_eq!(accessibility_findings(&mut page).await, Vec::<String>::new());
        }
        // `autofocus` takes effect after the page is loaded.
        page.evaluate("document.getElementById('token').focus()").await;
        page.type_text(token.expose()).await;
        page.press_and_load("Enter").await;
        assert_eq!(page.evaluate("location.pathname").await, "/calendar");
        assert_eq!(page.evaluate("document.cookie").await, "");
        finish(page, site).await;
    }
}

#[tokio::test]
async fn an_operator_whose_session_ended_signs_in_and_is_back_at_the_form() {
    let site = Site::at(NOW).await;
    let token = site.token_named("me", Scope::Admin).await;
    let mut page = site.browse(Scope::Admin, "/calendar?year=2026", Look::default()).await;
    site.world.set(&later(31));
    page.fill("form[action='/calendar/subscribe'] input[name=name]", "team").await;
    page.follow("form[action='/calendar/subscribe'] button").await;
    assert_eq!(page.evaluate("location.pathname").await, "/sign-in");
    let text = page.evaluate("document.querySelector('.card .banner').textContent").await;
    assert!(text.as_str().unwrap().contains("The form had no effect"), "{text}");
    assert_eq!(accessibility_findings(&mut page).await, Vec::<String>::new());
    page.evaluate("document.getElementById('token').focus()").await;
    page.type_text(token.expose()).await;
    page.press_and_load("Enter").await;
    assert_eq!(page.evaluate("location.pathname + location.search").await, "/calendar?year=2026");
    finish(page, site).await;
}
