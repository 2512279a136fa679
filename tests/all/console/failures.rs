//! Groups of failures, their events, and the redrive in two steps.

use bday::model::EventState::{Cancelled, Dead, Delivered, Skipped};
use bday::model::Scope;
use bday::store::UserRef;
use serde_json::json;
use uuid::Uuid;

use super::failing::{self, NINE, check_look, check_looks, notice};
use crate::support::browser::{Look, Page};
use crate::support::console::{Reply, Site, finish};
use crate::support::receiver::Behaviour;
use crate::support::world::instant;

const GROUP: &str = "/failures?reason=status&channel=webhook&status=503";
const DAY_OVER: &str = "2026-05-03T01:00:00Z";

async fn text(page: &mut Page, selector: &str) -> String {
    let text = page.evaluate(&format!("document.querySelector({selector:?})?.innerText ?? ''")).await;
    text.as_str().unwrap().to_owned()
}

async fn another(site: &Site) -> String {
    let token = site.token_named("another", Scope::Admin).await;
    let cookie = site.sign_in_with(token.expose()).await.cookie("bday_session").unwrap();
    format!("bday_session={cookie}")
}

/// Sends the form of a step for all failures, or for those with these ids.
async fn step(site: &Site, cookie: &str, step: &str, ids: &[Uuid], more: &[(&str, &str)]) -> Reply {
    let ids: Vec<String> = ids.iter().map(Uuid::to_string).collect();
    let mut fields = vec![("step", step), ("back", GROUP)];
    fields.extend(ids.iter().map(|id| ("id", id.as_str())));
    if ids.is_empty() {
        fields.push(("which", "all"));
    }
    fields.extend(more);
    site.post("/failures/redrive", cookie, &fields).await
}

#[tokio::test]
async fn failures_are_grouped_by_reason_channel_and_status_with_a_sample_and_its_age() {
    let site = failing::site().await;
    let gone = failing::add(&site, "gone").await;
    site.world.receiver.script_for(&gone.to_string(), [Behaviour::Status(410)]);
    let busy = failing::fail(&site, &["a", "b"]).await;
    site.world.set("2026-05-02T12:00:00Z");
    let mut page = site.browse(Scope::Read, "/failures", Look::default()).await;
    let rows = page
        .evaluate(
            "[...document.querySelectorAll('tbody[data-rows] tr')].map((row) => [...row.cells].map((cell) => cell.innerText))",
        )
        .await;
    assert_eq!(rows.as_array().unwrap().len(), 2, "{rows}");
    let cells = |row: usize| rows[row].as_array().unwrap().clone();
    assert_eq!(cells(0)[..4], [json!("status"), json!("webhook"), json!("503"), json!("2")]);
    assert_eq!(cells(1)[..4], [json!("gone"), json!("webhook"), json!("410"), json!("1")]);
    assert_eq!(cells(0)[5..], [json!("3 h"), json!("3 h")]);
    let sample = page.evaluate("document.querySelector('td.sample a').pathname").await;
    assert!(busy.iter().any(|event| sample == format!("/events/{event}")), "{sample}");
    page.follow("tbody[data-rows] th a").await;
    assert_eq!(page.evaluate("location.pathname + location.search").await, GROUP);
    assert_eq!(page.evaluate("document.querySelectorAll('tbody[data-rows] tr').length").await, 2);
    assert_eq!(page.evaluate("document.querySelectorAll('main form[method=post] button').length").await, 0);
    finish(page, site).await;
}

#[tokio::test]
async fn selected_failures_are_checked_and_redriven_with_and_without_script() {
    for has_no_script in [false, true] {
        let site = failing::site().await;
        let events = failing::fail(&site, &["a", "b", "c"]).await;
        let mut page = site.browse(Scope::Admin, GROUP, Look { has_no_script, ..Look::default() }).await;
        let shown = page.evaluate("document.querySelector('label.inline').checkVisibility()").await;
        assert_eq!(shown, !has_no_script, "the box that selects all needs script");
        for event in &events[..2] {
            page.evaluate(&format!("document.querySelector('input[value=\"{event}\"]').click()")).await;
        }
        page.follow("button[value=selected]").await;
        assert_eq!(text(&mut page, "h1").await, "Redrive 2 selected events?");
        let summary = "2 would be sent, 0 skipped: day over, 0 cancelled: user deleted.";
        assert_eq!(text(&mut page, "#summary").await, summary);
        let command = format!("bday dlq redrive --event {} {}", events[0], events[1]);
        let command_of_page = text(&mut page, ".command").await;
        let mut words: Vec<&str> = command_of_page.split(' ').collect();
        words[4..].sort_unstable();
        assert_eq!(words.join(" "), command);
        assert_eq!(site.world.count(Dead).await, 3, "a check changes nothing");
        failing::accept(&site, &events);
        assert_eq!(text(&mut page, "button.primary").await, "Redrive 2 events");
        page.follow("button.primary").await;
        let banner = text(&mut page, "main > .banner").await;
        assert_eq!(banner, "2 events are redriven, 0 skipped: day over, 0 cancelled: user deleted.");
        assert_eq!(page.evaluate("location.pathname + location.search").await, GROUP, "the filter is kept");
        assert_eq!(page.evaluate("document.querySelectorAll('tbody[data-rows] tr').length").await, 1);
        site.world.minute().await;
        assert_eq!((site.world.greetings(), site.world.count(Dead).await), (2, 1));
        finish(page, site).await;
    }
}

#[tokio::test]
async fn all_that_match_are_redriven_but_not_more_than_the_check_counted() {
    let site = failing::site().await;
    let gone = failing::add(&site, "gone").await;
    site.world.receiver.script_for(&gone.to_string(), [Behaviour::Status(410)]);
    failing::fail(&site, &["a", "b"]).await;
    let mut page = site.browse(Scope::Admin, GROUP, Look::default()).await;
    page.follow("button[value=all]").await;
    let title = "Redrive all failures with reason status, channel webhook, last status 503?";
    assert_eq!(text(&mut page, "h1").await, title);
    let command = "bday dlq redrive --reason status --channel webhook --status 503";
    assert_eq!(text(&mut page, ".command").await, command);
    failing::fail(&site, &["later"]).await;
    page.follow("button.primary").await;
    let banner = text(&mut page, "main > .banner").await;
    let expected = "2 events are redriven, 0 skipped: day over, 0 cancelled: user deleted. More events match: repeat the \
                    redrive for them.";
    assert_eq!(banner, expected);
    assert_eq!(site.world.count(Dead).await, 2, "the one of the other group, and the later one");
    finish(page, site).await;
}

#[tokio::test]
async fn events_whose_day_is_over_are_redriven_only_with_force() {
    let site = failing::site().await;
    let events = failing::fail(&site, &["a", "b"]).await;
    failing::fail(&site, &["deleted"]).await;
    site.world.set(DAY_OVER);
    site.world.store.delete_user(instant(DAY_OVER), UserRef::External("deleted"), None, None).await.unwrap();
    let mut page = site.browse(Scope::Admin, "/failures", Look::default()).await;
    page.follow("main form button").await;
    let summary = "0 would be sent, 2 skipped: day over, 1 cancelled: user deleted.";
    assert_eq!(text(&mut page, "#summary").await, summary);
    assert_eq!(text(&mut page, "button.primary").await, "Skip 2 and cancel 1 event");
    page.follow("form:nth-of-type(2) button").await;
    let summary = "2 would be sent, 0 skipped: day over, 1 cancelled: user deleted.";
    assert_eq!(text(&mut page, "#summary").await, summary);
    assert_eq!(text(&mut page, ".command").await, "bday dlq redrive --force");
    failing::accept(&site, &events);
    page.follow("button.primary").await;
    site.world.minute().await;
    assert_eq!((site.world.greetings(), site.world.count(Cancelled).await), (2, 1));
    assert_eq!((site.world.count(Skipped).await, site.world.count(Dead).await), (0, 0));
    finish(page, site).await;
}

#[tokio::test]
async fn two_operators_redrive_the_same_failures_once_and_get_honest_counts() {
    let site = failing::site().await;
    let events = failing::fail(&site, &["a", "b", "c", "d"]).await;
    failing::accept(&site, &events);
    let (one, two) = (site.sign_in(Scope::Admin).await, another(&site).await);
    for cookie in [&one, &two] {
        let check = step(&site, cookie, "check", &[], &[]).await;
        assert!(check.text.contains(">Redrive 4 events</button>"), "{}", check.text);
    }
    let announced = [("announced", "4")];
    let (first, second) = tokio::join!(
        step(&site, &one, "commit", &[], &announced),
        step(&site, &two, "commit", &events, &announced)
    );
    let mut redriven = 0;
    for reply in [&first, &second] {
        let notice = notice(reply);
        let own: u32 = notice.split(' ').next().unwrap().parse().unwrap_or(0);
        redriven += own;
        let missing = 4 - own;
        let faster = "no longer dead: another operator or process was faster.";
        assert_eq!(notice.contains(faster), missing > 0, "{notice}");
        assert!(missing == 0 || notice.contains(&format!("Of the 4 announced, {missing} w")), "{notice}");
        assert_eq!(reply.location(), GROUP);
    }
    assert_eq!(redriven, 4);
    site.world.minute().await;
    assert_eq!((site.world.greetings(), site.world.count(Delivered).await), (4, 4));
}

#[tokio::test]
async fn an_operator_is_told_what_another_has_redriven_meanwhile() {
    let site = failing::site().await;
    let events = failing::fail(&site, &["a", "b", "c"]).await;
    let (one, two) = (site.sign_in(Scope::Admin).await, another(&site).await);
    let reply = step(&site, &one, "commit", &events[..2], &[("announced", "2")]).await;
    assert_eq!(notice(&reply), "2 events are redriven, 0 skipped: day over, 0 cancelled: user deleted.");
    let reply = step(&site, &two, "commit", &[], &[("announced", "3")]).await;
    let expected = "1 event is redriven, 0 skipped: day over, 0 cancelled: user deleted. Of the 3 announced, 2 were no longer \
                    dead: another operator or process was faster.";
    assert_eq!(notice(&reply), expected);
    let reply = step(&site, &one, "check", &events, &[]).await;
    let expected = "None of these events is dead any more: another operator or process was faster.";
    assert_eq!((reply.status, notice(&reply).as_str()), (303, expected));
}

#[tokio::test]
async fn invalid_selections_change_nothing() {
    let site = failing::site().await;
    failing::fail(&site, &["a"]).await;
    let cookie = site.sign_in(Scope::Admin).await;
    let post = async |fields: &[(&str, &str)]| site.post("/failures/redrive", &cookie, fields).await;
    let none = post(&[("step", "commit")]).await;
    assert_eq!(notice(&none), "No event is selected: select events, or use all that match.");
    for fields in [
        [("step", "commit"), ("id", "x")],
        [("which", "all"), ("reason", "lost")],
        [("which", "all"), ("status", "abc")],
        [("which", "all"), ("cursor", "1")],
    ] {
        let reply = post(&fields).await;
        assert!(notice(&reply).starts_with("Nothing was changed: "), "{fields:?}");
        assert_eq!((reply.status, reply.location()), (303, "/failures"));
    }
    let reply = post(&[("step", "commit"), ("which", "all"), ("announced", "-1")]).await;
    assert_eq!(reply.status, 400);
    assert_eq!(site.world.count(Dead).await, 1);
}

#[tokio::test]
async fn invalid_filters_are_named() {
    let site = failing::site().await;
    let cookie = site.sign_in(Scope::Read).await;
    for (query, text) in [
        ("reason=lost", "unknown reason &#34;lost&#34;"),
        ("channel=fax", "unknown channel &#34;fax&#34;"),
        ("status=1", "invalid status &#34;1&#34;"),
        ("kind=a%00", "invalid name"),
        ("since=soon", "invalid instant &#34;soon&#34;"),
        ("cursor=x", "invalid cursor"),
    ] {
        let reply = site.get(&format!("/failures?{query}"), &cookie).await;
        assert_eq!(reply.status, 400, "{query}");
        assert!(reply.text.contains(text), "{query}: {}", reply.text);
    }
    let empty = site.get("/failures", &cookie).await;
    assert!(empty.text.contains("No failures: every event that was due is sent"), "{}", empty.text);
    assert_eq!(site.get("/failures?view=events&until=2020-01-01", &cookie).await.status, 200);
}

#[tokio::test]
async fn failures_of_the_same_instant_have_pages() {
    let site = failing::site().await;
    failing::add_many(&site, 60).await;
    site.world.receiver.script([Behaviour::Status(410)]);
    failing::send_all(&site).await;
    assert_eq!(site.world.count(Dead).await, 60);
    let cookie = site.sign_in(Scope::Admin).await;
    let first = site.get("/failures?reason=gone&status=410", &cookie).await.text;
    assert!(first.len() < 60_000, "{} bytes", first.len());
    let before = first.split_once("\" rel=\"next\"").unwrap().0;
    let next = before.rsplit_once("href=\"").unwrap().1.replace("&#38;", "&");
    assert!(next.starts_with("/failures?reason=gone&status=410&cursor="), "{next}");
    let second = site.get(&next, &cookie).await.text;
    let boxes = |html: &str| -> Vec<String> {
        html.split("name=\"id\" value=\"").skip(1).map(|rest| rest[..36].to_owned()).collect()
    };
    let mut ids = [boxes(&first), boxes(&second)].concat();
    ids.sort();
    ids.dedup();
    assert_eq!((boxes(&first).len(), boxes(&second).len(), ids.len()), (50, 10, 60));
}

#[tokio::test]
async fn a_reader_sees_no_button_and_may_not_redrive() {
    let site = failing::site().await;
    failing::fail(&site, &["<script>alert(1)</script>"]).await;
    for scope in [Scope::Read, Scope::Write] {
        let cookie = site.sign_in(scope).await;
        for path in ["/failures", GROUP] {
            let html = site.get(path, &cookie).await.text;
            assert!(!html.contains("<button name") && !html.contains("<script>"), "{html}");
            assert!(!html.contains("type=\"checkbox\"") && !html.contains("Check a redrive"), "{html}");
        }
        for name in ["check", "commit"] {
            assert_eq!(step(&site, &cookie, name, &[], &[]).await.status, 403, "{scope} {name}");
        }
    }
    assert_eq!(site.world.count(Dead).await, 1);
}

#[tokio::test]
async fn while_sending_is_paused_the_check_and_the_notice_say_so() {
    let site = failing::site().await;
    let events = failing::fail(&site, &["a"]).await;
    site.world.store.set_pause(instant(NINE), "").await.unwrap();
    let cookie = site.sign_in(Scope::Admin).await;
    let check = step(&site, &cookie, "check", &events, &[]).await;
    assert!(check.text.contains("Sending is paused: redriven events are sent after it is resumed."));
    let commit = step(&site, &cookie, "commit", &events, &[("announced", "1")]).await;
    assert!(notice(&commit).ends_with("Sending is paused: they are sent after it is resumed."));
}

#[tokio::test]
async fn the_pages_of_failures_are_accessible_in_every_look() {
    let site = failing::site().await;
    failing::fail(&site, &["a", "b"]).await;
    let cookie = site.sign_in(Scope::Admin).await;
    let mut page = site.browse_as(&cookie, "/failures", Look::default()).await;
    check_looks(&mut page, &site, &["/failures", GROUP, "/failures?view=events&kind=none"]).await;
    for (is_dark, is_narrow) in [(false, false), (true, false), (false, true)] {
        page.set_look(Look { is_dark, is_narrow, has_no_script: false }).await;
        page.go(&format!("{}{GROUP}", site.base)).await;
        page.follow("button[value=all]").await;
        check_look(&mut page, &format!("check dark {is_dark} narrow {is_narrow}")).await;
    }
    finish(page, site).await;
}
