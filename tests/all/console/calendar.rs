use bday::model::Scope;
use bday::store::UserRef;

use crate::support::browser::Look;
use crate::support::console::{Site, finish};

const NOW: &str = "2028-02-20T12:00:00Z";

#[tokio::test]
async fn the_year_shows_what_was_sent_and_what_is_ahead_and_leads_to_days() {
    let site = Site::at("2028-02-20T06:00:00Z").await;
    site.world.write("ada", "1990-02-20", "Europe/London").await;
    site.world.write("grace", "1988-02-29", "Europe/London").await;
    site.world.write("alan", "1990-06-23", "Europe/London").await;
    site.world.set("2028-02-20T09:00:00Z");
    site.world.minute().await;
    assert_eq!(site.world.greetings(), 1);
    site.world.set(NOW);
    let mut page = site.browse(Scope::Read, "/calendar", Look::default()).await;
    let titles = "[...document.querySelectorAll('.heat-map title')].map((title) => title.textContent).filter((text) => !/none$|not counted/.test(text))";
    let expected =
        serde_json::json!(["2028-02-20: 1 sent", "2028-02-29: 1 to come", "2028-06-23: 1 to come"]);
    assert_eq!(page.evaluate(titles).await, expected);
    assert_eq!(page.evaluate("document.querySelector('.leap').textContent").await, "29");
    page.fill("input[name=date]", "2028-02-20").await;
    page.follow("form[action='/days'] button").await;
    assert_eq!(page.evaluate("location.pathname").await, "/days/2028-02-20");
    finish(page, site).await;
}

#[tokio::test]
async fn a_subscription_has_a_token_of_its_own() {
    let site = Site::at(NOW).await;
    let id = site.world.write("grace", "1988-02-29", "Europe/London").await;
    assert!(site.world.store.user(UserRef::Id(id)).await.unwrap().is_some());
    let cookie = site.sign_in(Scope::Admin).await;
    let mut page = site.browse_as(&cookie, "/calendar", Look::default()).await;
    page.fill("input[name=name]", "team-calendar").await;
    page.follow("form[action='/calendar/subscribe'] button").await;
    let feed = page.evaluate("document.getElementById('feed').textContent").await;
    let feed = feed.as_str().unwrap().strip_prefix(&site.base).unwrap().to_owned();
    let reply = site.get(&feed, "").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "text/calendar; charset=utf-8"));
    assert!(reply.text.contains("DTSTART;VALUE=DATE:20280229"), "{}", reply.text);
    finish(page, site).await;
}

#[tokio::test]
async fn an_invalid_year_or_date_is_named() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Read).await;
    for (path, text) in [
        ("/calendar?year=1800", "Invalid year &#34;1800&#34;: use a year from 2023 to 2029."),
        ("/days?date=tomorrow", "Invalid date &#34;tomorrow&#34;: write it as YYYY-MM-DD"),
    ] {
        let reply = site.get(path, &cookie).await;
        assert_eq!(reply.status, 400, "{path}");
        assert!(reply.text.contains(text), "{path}: {}", reply.text);
    }
}
