//! What all pages share: headers, keys, refreshes, accessibility.

use bday::dev::postgres::{EmbeddedPostgres, PostgresOptions};
use bday::model::Scope;

use crate::serve::Place;
use crate::support::browser::{Look, Page};
use crate::support::console::{Site, accessibility_findings, finish};
use crate::support::world::instant;

const NOW: &str = "2026-11-24T12:00:00Z";

#[tokio::test]
async fn pages_load_nothing_from_elsewhere_and_allow_no_inline_script() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Admin).await;
    let reply = site.get("/", &cookie).await;
    let policy = reply.header("content-security-policy");
    for directive in [
        "default-src 'none'",
        "script-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ] {
        assert!(policy.contains(directive), "{directive}: {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(
        (reply.header("x-content-type-options"), reply.header("cache-control")),
        ("nosniff", "no-store")
    );
    assert!(!reply.text.contains(" style=") && !reply.text.contains("<style"), "{}", reply.text);
}

#[tokio::test]
async fn static_files_are_kept_by_browsers_and_named_by_their_hash() {
    let site = Site::at(NOW).await;
    let text = site.get("/sign-in", "").await.text;
    let start = text.find("/assets/console.").unwrap();
    let path = &text[start..start + text[start..].find('"').unwrap()];
    let reply = site.get(path, "").await;
    assert_eq!((reply.status, reply.header("cache-control")), (200, "public, max-age=31536000, immutable"));
    assert_eq!(site.get("/assets/console.0000000000000000.css", "").await.status, 404);
}

#[tokio::test]
async fn an_unknown_path_is_a_page_for_browsers_and_a_problem_for_programs() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Read).await;
    let get = async |path: &str, cookie: &str, accept: &str| {
        let request = site.http.get(format!("{}{path}", site.base));
        Site::send(request.header("cookie", cookie).header("accept", accept)).await
    };
    let browser = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";
    let page = get("/peple?x=<b>", &cookie, browser).await;
    assert_eq!((page.status, page.header("content-type")), (404, "text/html; charset=utf-8"));
    for part in ["There is no page &#34;/peple&#34;", "href=\"/\"", "aria-label=\"Pages\""] {
        assert!(page.text.contains(part), "{part}: {}", page.text);
    }
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    let signed_out = get("/peple", "", browser).await;
    assert!(signed_out.status == 404 && !signed_out.text.contains("aria-label=\"Pages\""));
    for (path, accept) in [("/v1/peple", browser), ("/peple", "*/*")] {
        let answer = get(path, &cookie, accept).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (404, "application/problem+json"),
            "{path}"
        );
        assert!(answer.text.contains("see /docs"), "{}", answer.text);
    }
    site.stop().await;
}

#[tokio::test]
async fn the_address_of_a_form_opened_as_a_page_leads_back() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Read).await;
    let page = site.get("/people/1/delete", &cookie).await;
    assert_eq!((page.status, page.header("content-type")), (405, "text/html; charset=utf-8"));
    assert_eq!(page.header("allow"), "POST");
    for part in ["accepts forms only", "href=\"/\"", "aria-label=\"Pages\""] {
        assert!(page.text.contains(part), "{part}: {}", page.text);
    }
    assert_eq!(site.get("/people/1/delete", "").await.status, 303);
    site.stop().await;
}

#[tokio::test]
async fn shortcuts_are_shown_and_lead_to_pages() {
    let site = Site::at(NOW).await;
    let mut page = site.browse(Scope::Admin, "/", Look::default()).await;
    page.press("?").await;
    page.run("document.getElementById('keys').open").await;
    page.press("Escape").await;
    page.run("!document.getElementById('keys').open").await;
    page.press_and_load("g t").await;
    assert_eq!(page.evaluate("location.pathname").await, "/");
    finish(page, site).await;
}

#[tokio::test]
async fn a_page_refreshes_itself_and_says_when_the_database_does_not_answer() {
    let site = Site::at(NOW).await;
    let mut page = site.browse(Scope::Admin, "/", Look::default()).await;
    site.world.store.set_pause(instant(NOW), "from elsewhere").await.unwrap();
    page.evaluate("(() => { const live = document.getElementById('live'); live.value = '5'; live.dispatchEvent(new Event('change')); })()").await;
    page.run("document.querySelector('#state .banner')?.textContent.includes('from elsewhere')").await;
    finish(page, site).await;
}

#[tokio::test]
async fn pages_have_no_accessibility_findings() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Admin).await;
    let mut page = site.browse_as(&cookie, "/", Look::default()).await;
    for (is_dark, is_narrow) in [(false, false), (true, false), (false, true)] {
        page.set_look(Look { is_dark, is_narrow, has_no_script: false }).await;
        for path in ["/", "/calendar", "/tokens", "/audit"] {
            page.go(&format!("{}{path}", site.base)).await;
            let findings = accessibility_findings(&mut page).await;
            assert!(findings.is_empty(), "{path} dark {is_dark} narrow {is_narrow}: {findings:#?}");
            let width = page.evaluate("document.documentElement.scrollWidth").await;
            let most = if is_narrow { 390 } else { 1280 };
            let wide = format!(
                "[...document.querySelectorAll('body *')].filter((element) => element.getBoundingClientRect().right > {most} && \
                 element.closest('.scroll, nav') === null).map((element) => element.outerHTML.slice(0, 100))"
            );
            let wide = page.evaluate(&wide).await;
            assert!(width.as_i64().unwrap() <= most, "{path} is {width} px wide, narrow {is_narrow}: {wide}");
        }
    }
    finish(page, site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_page_says_that_the_database_does_not_answer_and_continues_when_it_does() {
    let place = Place::new().await;
    let server = EmbeddedPostgres::start(PostgresOptions::throwaway()).await.unwrap();
    let daemon = place
        .bday(&["serve"])
        .env("BDAY__DATABASE__URL", server.url())
        .env("BDAY__DATABASE__STATEMENT_TIMEOUT_SECS", "1")
        .env("BDAY__HTTP__AUTH", "off")
        .start();
    let mut page = Page::open(&format!("http://{}/", daemon.ready().await)).await;
    page.run("document.querySelector('h1').textContent === 'Today'").await;
    server.freeze().unwrap();
    page.run("document.getElementById('connection').textContent.includes('The database does not answer')")
        .await;
    let problems = page.take_problems();
    assert!(problems.iter().all(|problem| problem.contains("503")), "{problems:?}");
    server.thaw().unwrap();
    page.run("document.getElementById('connection').hidden").await;
    page.close().await;
}
