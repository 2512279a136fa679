//! From alarm to cure by keyboard alone.

use bday::model::EventState::{Dead, Delivered};
use bday::model::Scope;

use super::failing;
use crate::support::browser::Look;
use crate::support::console::finish;

#[tokio::test]
async fn failures_are_found_checked_redriven_and_delivered_by_keyboard_alone() {
    let site = failing::site().await;
    let events = failing::fail(&site, &["a", "b", "c"]).await;
    let mut page = site.browse(Scope::Admin, "/", Look::default()).await;
    page.press_and_load("g f").await;
    page.press("j").await;
    page.press_and_load("Enter").await;
    let group = "/failures?reason=status&channel=webhook&status=503";
    assert_eq!(page.evaluate("location.pathname + location.search").await, group);
    let selected = "document.querySelector('[data-selected-count]').textContent";
    page.press("j x j x").await;
    assert_eq!(page.evaluate(selected).await, "2 selected");
    page.press("k x").await;
    assert_eq!(page.evaluate(selected).await, "1 selected");
    page.press("X").await;
    assert_eq!(page.evaluate(selected).await, "3 selected");
    page.press("a").await;
    page.press_and_load("Enter").await;
    page.wait_for_focus("[autofocus]").await;
    assert_eq!(page.evaluate("document.activeElement.textContent").await, "Redrive 3 events");
    assert_eq!(site.world.count(Dead).await, 3);
    failing::accept(&site, &events);
    page.press_and_load("Enter").await;
    let banner = page.evaluate("document.querySelector('main > .banner').textContent").await;
    assert_eq!(banner, "3 events are redriven, 0 skipped: day over, 0 cancelled: user deleted.");
    site.world.set("2026-05-02T09:01:00Z");
    site.world.minute().await;
    assert_eq!((site.world.greetings(), site.world.count(Delivered).await), (3, 3));
    page.press_and_load("g e").await;
    page.press("j").await;
    page.press_and_load("Enter").await;
    assert_eq!(page.evaluate("document.querySelector('.lead .tag').textContent").await, "delivered");
    finish(page, site).await;
}

#[tokio::test]
async fn enter_on_a_row_opens_its_event_and_on_a_box_checks_the_selected() {
    let site = failing::site().await;
    failing::fail(&site, &["a"]).await;
    let mut page = site.browse(Scope::Admin, "/failures?view=events", Look::default()).await;
    page.press("j").await;
    page.press_and_load("Enter").await;
    assert_eq!(page.evaluate("location.pathname.startsWith('/events/')").await, true);
    page.press("a").await;
    assert_eq!(page.evaluate("document.activeElement.textContent").await, "Retry the event");
    page.go(&format!("{}/failures?view=events", site.base)).await;
    page.evaluate("document.querySelector('input[name=id]').focus()").await;
    page.press("Space").await;
    page.press_and_load("Enter").await;
    assert_eq!(page.evaluate("document.querySelector('h1').textContent").await, "Redrive 1 selected event?");
    finish(page, site).await;
}
