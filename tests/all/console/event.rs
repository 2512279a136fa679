//! The page of an event, retry and cancel.

use bday::model::{EventState, Scope};
use bday::store::UserRef;
use uuid::Uuid;

use super::failing::{self, NINE, check_looks, notice};
use crate::support::browser::{Look, Page};
use crate::support::console::{Site, finish};
use crate::support::world::instant;

const DAY_OVER: &str = "2026-05-03T01:00:00Z";

async fn state(site: &Site, event: Uuid) -> EventState {
    site.world.store.event(event).await.unwrap().unwrap().state
}

async fn text(page: &mut Page, selector: &str) -> String {
    let text = page.evaluate(&format!("document.querySelector({selector:?})?.innerText ?? ''")).await;
    text.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_dead_event_shows_its_attempts_its_message_and_what_comes_next() {
    let site = failing::site().await;
    let event = failing::fail(&site, &["<i>Lovelace</i>"]).await[0];
    let mut page = site.browse(Scope::Read, &format!("/events/{event}"), Look::default()).await;
    assert_eq!(text(&mut page, "h1").await, "Ada <i>Lovelace</i>: birthday 2026");
    let lead = text(&mut page, ".lead").await;
    assert!(
        lead.starts_with("dead Dead after 5 attempts (reason status): the last attempt failed:"),
        "{lead}"
    );
    let next = text(&mut page, "#event > p:nth-of-type(2)").await;
    assert_eq!(next, "Nothing more is sent unless the event is retried.");
    assert_eq!(page.evaluate("document.querySelectorAll('tbody.attempt').length").await, 5);
    let attempt = text(&mut page, "tbody.attempt:last-of-type").await;
    for part in ["5", "failed", "webhook", "503", "status", "2026-05-02 09:00:00 UTC", "too <b>busy</b>"] {
        assert!(attempt.contains(part), "{part}: {attempt}");
    }
    let message = text(&mut page, "section[aria-labelledby=message] pre").await;
    assert_eq!(message, "Hey, Ada <i>Lovelace</i> it's your birthday");
    assert!(page.evaluate("document.body.innerText.includes('bday does not store messages')").await == true);
    assert_eq!(
        page.evaluate("document.querySelectorAll('main form').length").await,
        0,
        "a reader sees no form"
    );
    finish(page, site).await;
}

#[tokio::test]
async fn a_dead_event_is_retried_with_and_without_script() {
    for has_no_script in [false, true] {
        let site = failing::site().await;
        let events = failing::fail(&site, &["a"]).await;
        let path = format!("/events/{}", events[0]);
        let mut page = site.browse(Scope::Admin, &path, Look { has_no_script, ..Look::default() }).await;
        assert_eq!(text(&mut page, ".command").await, format!("bday event retry {}", events[0]));
        failing::accept(&site, &events);
        page.follow("form[action$='/retry'] button").await;
        let banner = text(&mut page, "main > .banner").await;
        assert_eq!(banner, "The event is redriven: it is sent within seconds.");
        assert_eq!(page.evaluate("location.pathname").await, path);
        site.world.minute().await;
        assert_eq!((state(&site, events[0]).await, site.world.greetings()), (EventState::Delivered, 1));
        finish(page, site).await;
    }
}

#[tokio::test]
async fn a_pending_event_is_cancelled_with_and_without_script() {
    for has_no_script in [false, true] {
        let site = failing::site().await;
        let event = failing::add(&site, "a").await;
        let path = format!("/events/{event}");
        let mut page = site.browse(Scope::Admin, &path, Look { has_no_script, ..Look::default() }).await;
        assert_eq!(text(&mut page, ".lead").await, "pending Due in 9 h, at 2026-05-02T09:00:00Z.");
        let next = text(&mut page, ".lead + p").await;
        assert_eq!(next, "If it is not sent by 2026-05-04 09:00 (+00:00), 09:00 UTC, it is skipped.");
        page.evaluate("document.querySelector('#cancel > summary').click()").await;
        page.follow("form[action$='/cancel'] button").await;
        assert_eq!(text(&mut page, "main > .banner").await, "The event is cancelled: it is never sent.");
        assert_eq!(state(&site, event).await, EventState::Cancelled);
        finish(page, site).await;
    }
}

#[tokio::test]
async fn an_operator_learns_that_another_was_faster() {
    let site = failing::site().await;
    let event = failing::fail(&site, &["a"]).await[0];
    let one = site.sign_in(Scope::Admin).await;
    let token = site.token_named("another", Scope::Admin).await;
    let other = site.sign_in_with(token.expose()).await.cookie("bday_session").unwrap();
    let other = format!("bday_session={other}");
    let retry = format!("/events/{event}/retry");
    let (first, second) = tokio::join!(site.post(&retry, &one, &[]), site.post(&retry, &other, &[]));
    let mut notices = [notice(&first), notice(&second)];
    notices.sort();
    assert!(notices[0].starts_with("Nothing was changed: the event is "), "{notices:?}");
    assert!(notices[0].ends_with("Another operator or process was faster."), "{notices:?}");
    assert_eq!(notices[1], "The event is redriven: it is sent within seconds.");

    failing::accept(&site, &[event]);
    site.world.minute().await;
    let reply = site.post(&format!("/events/{event}/cancel"), &one, &[]).await;
    let expected =
        "Nothing was changed: The event is delivered: only pending and queued events can be cancelled.";
    assert_eq!((reply.status, notice(&reply).as_str()), (303, expected));
    assert_eq!(site.world.greetings(), 1);
}

#[tokio::test]
async fn after_its_day_an_event_is_sent_only_with_force() {
    let site = failing::site().await;
    let event = failing::fail(&site, &["a"]).await;
    site.world.set(DAY_OVER);
    let path = format!("/events/{}", event[0]);
    let mut page = site.browse(Scope::Admin, &path, Look::default()).await;
    assert!(page.evaluate("document.querySelector('input[name=force]').checked").await == false);
    page.follow("form[action$='/retry'] button").await;
    let banner = text(&mut page, "main > .banner").await;
    assert!(banner.starts_with("The event is skipped: its local day is over."), "{banner}");
    assert_eq!(state(&site, event[0]).await, EventState::Skipped);
    failing::accept(&site, &event);
    page.follow("form[action$='/retry'] button").await;
    site.world.minute().await;
    assert_eq!((state(&site, event[0]).await, site.world.greetings()), (EventState::Delivered, 1));
    finish(page, site).await;
}

#[tokio::test]
async fn an_event_of_a_deleted_person_is_cancelled_by_a_retry() {
    let site = failing::site().await;
    failing::fail(&site, &["a"]).await;
    site.world.store.delete_user(instant(NINE), UserRef::External("a"), None, None).await.unwrap();
    let event = site.world.only_event().await;
    let cookie = site.sign_in(Scope::Admin).await;
    let html = site.get(&format!("/events/{event}"), &cookie).await.text;
    assert!(html.contains("The person is deleted: there is no data for a message."), "{html}");
    let reply = site.post(&format!("/events/{event}/retry"), &cookie, &[]).await;
    assert_eq!(notice(&reply), "The event is cancelled: its person or date is deleted.");
}

#[tokio::test]
async fn a_pause_is_named_and_what_is_redriven_waits_for_its_end() {
    let site = failing::site().await;
    let event = failing::fail(&site, &["a"]).await[0];
    site.world.store.set_pause(instant(NINE), "receiver moves").await.unwrap();
    let cookie = site.sign_in(Scope::Admin).await;
    let reply = site.post(&format!("/events/{event}/retry"), &cookie, &[]).await;
    assert_eq!(notice(&reply), "The event is redriven: it is sent after sending is resumed.");
    let html = site.get(&format!("/events/{event}"), &cookie).await.text;
    assert!(html.contains("Sending is paused since 2026-05-02T09:00:00Z (receiver moves)"), "{html}");
    assert!(html.contains("it is skipped if it is not sent by 2026-05-04T09:00:00Z"), "{html}");
}

#[tokio::test]
async fn unknown_and_invalid_ids_are_not_found() {
    let site = failing::site().await;
    let cookie = site.sign_in(Scope::Admin).await;
    let unknown = Uuid::now_v7();
    for (id, text) in [
        (unknown.to_string(), "No event has the id"),
        ("ada".to_owned(), "invalid id: expected a UUID"),
        (unknown.simple().to_string(), "invalid id"),
        ("%00".to_owned(), "invalid id"),
    ] {
        for reply in [
            site.get(&format!("/events/{id}"), &cookie).await,
            site.post(&format!("/events/{id}/retry"), &cookie, &[]).await,
            site.post(&format!("/events/{id}/cancel"), &cookie, &[]).await,
        ] {
            assert_eq!(reply.status, 404, "{id}");
            assert!(reply.text.contains(text) && reply.text.contains("Sign out"), "{id}: {}", reply.text);
        }
    }
}

#[tokio::test]
async fn a_reader_may_not_retry_or_cancel() {
    let site = failing::site().await;
    let dead = failing::fail(&site, &["a"]).await[0];
    let pending = failing::add(&site, "b").await;
    for scope in [Scope::Read, Scope::Write] {
        let cookie = site.sign_in(scope).await;
        for (event, action) in [(dead, "retry"), (pending, "cancel")] {
            let path = format!("/events/{event}");
            assert!(
                !site.get(&path, &cookie).await.text.contains(&format!("/{action}\"")),
                "{scope} {action}"
            );
            assert_eq!(site.post(&format!("{path}/{action}"), &cookie, &[]).await.status, 403, "{scope}");
        }
    }
    assert_eq!(
        (state(&site, dead).await, state(&site, pending).await),
        (EventState::Dead, EventState::Pending)
    );
}

#[tokio::test]
async fn the_page_of_an_event_is_accessible_in_every_look() {
    let site = failing::site().await;
    let dead = failing::fail(&site, &["a"]).await[0];
    let pending = failing::add(&site, "b").await;
    let cookie = site.sign_in(Scope::Admin).await;
    let mut page = site.browse_as(&cookie, "/events", Look::default()).await;
    check_looks(&mut page, &site, &[&format!("/events/{dead}"), &format!("/events/{pending}")]).await;
    finish(page, site).await;
}
