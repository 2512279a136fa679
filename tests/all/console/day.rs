//! The greetings of one local date.

use bday::model::Scope;
use serde_json::json;

use super::failing::{self, check_looks};
use crate::support::browser::{Look, Page};
use crate::support::console::finish;
use crate::support::receiver::Behaviour;

async fn figures(page: &mut Page) -> serde_json::Value {
    page.evaluate("[...document.querySelectorAll('.figures dd')].map((figure) => Number(figure.textContent))")
        .await
}

#[tokio::test]
async fn a_day_shows_its_greetings_by_outcome_and_hour_in_all_zones() {
    let site = failing::site().await;
    // Due at 03:30, 09:00 and 16:00 UTC.
    for (name, zone) in [("a", "Asia/Kolkata"), ("c", "America/Los_Angeles")] {
        site.world.write(name, "1990-05-02", zone).await;
    }
    site.world.write("other", "1990-05-03", "UTC").await;
    failing::fail(&site, &["<script>alert(1)</script>"]).await;
    let mut page = site.browse(Scope::Read, "/days/2026-05-02", Look::default()).await;
    assert_eq!(page.evaluate("document.querySelector('h1').textContent").await, "Saturday, 2 May 2026");
    // The one of 03:30 was sent at 09:00.
    assert_eq!(figures(&mut page).await, json!([0, 1, 1, 0, 1]));
    let rows = page
        .evaluate(
            "[...document.querySelectorAll('#hours tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent).join(' '))",
        )
        .await;
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 27, "{rows:?}");
    assert_eq!(rows[8], "02 03:00 +05:30 Dhaka, Delhi 0 1 0 0 0");
    assert_eq!(rows[14], "02 09:00 +00:00 Accra 0 0 1 0 0");
    assert_eq!(rows[21], "02 16:00 -07:00 Los Angeles 0 0 0 0 1");
    assert_eq!(page.evaluate("document.querySelectorAll('svg.chart rect').length").await, 3);
    assert_eq!(page.evaluate("document.querySelectorAll('tbody[data-rows] tr').length").await, 3);
    let text = page.evaluate("document.querySelector('tbody[data-rows]').innerText").await;
    assert!(text.as_str().unwrap().contains("<script>alert(1)</script>"), "{text}");

    let states = page
        .evaluate(
            "[...document.querySelectorAll('.figures a')].map((link) => new URLSearchParams(link.search).getAll('state').join())",
        )
        .await;
    assert_eq!(
        states,
        json!(["delivered", "delivered", "dead", "skipped,cancelled", "pending,queued,delivering"])
    );
    page.follow(".figures div:nth-child(3) a").await;
    assert_eq!(page.evaluate("location.search").await, "?date=2026-05-02&order=asc&state=dead");
    assert_eq!(page.evaluate("document.querySelectorAll('tbody[data-rows] tr').length").await, 1);
    page.go(&format!("{}/days/2026-05-02", site.base)).await;
    page.follow("a[rel=next]").await;
    assert_eq!(page.evaluate("location.pathname").await, "/days/2026-05-03");
    assert_eq!(figures(&mut page).await, json!([0, 0, 0, 0, 1]));
    finish(page, site).await;
}

#[tokio::test]
async fn the_first_events_of_a_day_lead_to_all_of_them() {
    let site = failing::site().await;
    failing::add_many(&site, 30).await;
    site.world.receiver.script([Behaviour::Status(200)]);
    failing::send_all(&site).await;
    let mut page = site.browse(Scope::Read, "/days/2026-05-02", Look::default()).await;
    assert_eq!(figures(&mut page).await, json!([30, 0, 0, 0, 0]));
    assert_eq!(page.evaluate("document.querySelectorAll('tbody[data-rows] tr').length").await, 25);
    page.follow("a[href='/events?date=2026-05-02&order=asc']").await;
    assert_eq!(page.evaluate("document.querySelectorAll('tbody[data-rows] tr').length").await, 30);
    finish(page, site).await;
}

#[tokio::test]
async fn a_day_without_events_leads_to_the_calendar_and_an_invalid_one_is_not_found() {
    let site = failing::site().await;
    let cookie = site.sign_in(Scope::Read).await;
    for date in ["2030-01-01", "0001-01-01", "9999-12-31", "2024-02-29"] {
        let reply = site.get(&format!("/days/{date}"), &cookie).await;
        assert_eq!(reply.status, 200, "{date}");
        assert!(reply.text.contains("No events on this date."), "{date}: {}", reply.text);
    }
    for date in ["2026-02-29", "today", "%00", "2026-5-2"] {
        let reply = site.get(&format!("/days/{date}"), &cookie).await;
        assert_eq!(reply.status, 404, "{date}");
        assert!(reply.text.contains("invalid date"), "{date}: {}", reply.text);
    }
}

#[tokio::test]
async fn the_page_of_a_day_is_accessible_in_every_look() {
    let site = failing::site().await;
    failing::fail(&site, &["a"]).await;
    for zone in ["Asia/Tokyo", "Europe/Berlin", "America/New_York"] {
        site.world.write(zone, "1990-05-02", zone).await;
    }
    let cookie = site.sign_in(Scope::Read).await;
    let mut page = site.browse_as(&cookie, "/events", Look::default()).await;
    check_looks(&mut page, &site, &["/days/2026-05-02", "/days/2030-01-01"]).await;
    finish(page, site).await;
}
