//! The list of events.

use std::collections::BTreeSet;

use bday::model::Scope;
use bday::store::UserRef;
use uuid::Uuid;

use super::failing::{self, NINE, check_looks};
use crate::support::browser::Look;
use crate::support::console::finish;
use crate::support::world::{instant, person};

/// Returns the events that a page links to.
fn events(html: &str) -> Vec<Uuid> {
    let links = html.split("href=\"/events/").skip(1);
    links.filter_map(|rest| Uuid::try_parse(rest.get(..36)?).ok()).collect()
}

/// Returns the path of the next page.
fn next(html: &str) -> Option<String> {
    let before = html.split_once("\" rel=\"next\"")?.0;
    Some(before.rsplit_once("href=\"")?.1.replace("&#38;", "&"))
}

#[tokio::test]
async fn events_of_the_same_instant_are_on_one_page_each_and_filters_are_kept() {
    let site = failing::site().await;
    failing::add_many(&site, 120).await;
    let cookie = site.sign_in(Scope::Read).await;
    let mut path = "/events?state=pending&from=2026-05-02&order=asc".to_owned();
    let (mut found, mut pages) = (Vec::new(), 0);
    loop {
        let reply = site.get(&path, &cookie).await;
        assert_eq!(reply.status, 200);
        assert!(reply.text.len() < 60_000, "{} bytes", reply.text.len());
        found.extend(events(&reply.text));
        pages += 1;
        let Some(next) = next(&reply.text) else { break };
        assert!(next.starts_with("/events?state=pending&from=2026-05-02&order=asc&cursor="), "{next}");
        path = next;
    }
    assert_eq!((pages, found.len(), found.iter().collect::<BTreeSet<_>>().len()), (3, 120, 120));
    assert!(found.is_sorted(), "by id where the instant is the same");
    let none = site.get("/events?state=delivered&state=dead", &cookie).await.text;
    assert!(events(&none).is_empty() && none.contains("No event matches the filter."));
}

#[tokio::test]
async fn events_of_a_local_date_are_listed_in_all_zones() {
    let site = failing::site().await;
    let mut expected = BTreeSet::new();
    for zone in ["Pacific/Kiritimati", "UTC", "Pacific/Pago_Pago"] {
        let user = site.world.write(zone, "1990-05-03", zone).await;
        expected.insert(site.world.event_of(user).await);
        site.world.write(&format!("{zone} before"), "1990-05-02", zone).await;
        site.world.write(&format!("{zone} after"), "1990-05-04", zone).await;
    }
    let cookie = site.sign_in(Scope::Read).await;
    let html = site.get("/events?date=2026-05-03", &cookie).await.text;
    assert_eq!(events(&html).into_iter().collect::<BTreeSet<_>>(), expected);
    assert!(html.contains("bday event list --date 2026-05-03"), "the command has the filter");
}

#[tokio::test]
async fn events_are_filtered_by_due_time_and_person() {
    let site = failing::site().await;
    let (mut users, mut all) = (Vec::new(), Vec::new());
    // Due at 03:30, 09:00 and 16:00 UTC.
    for zone in ["Asia/Kolkata", "UTC", "America/Los_Angeles"] {
        users.push(site.world.write(zone, "1990-05-02", zone).await);
        all.push(site.world.event_of(*users.last().unwrap()).await);
    }
    let cookie = site.sign_in(Scope::Read).await;
    let listed = async |query: String| {
        let html = site.get(&format!("/events?order=asc&{query}"), &cookie).await.text;
        let mut found = events(&html);
        found.dedup();
        found
    };
    assert_eq!(listed(format!("from={NINE}")).await, all[1..]);
    assert_eq!(listed(format!("to={NINE}")).await, all[..1]);
    assert_eq!(listed(format!("user={}", users[1])).await, all[1..2]);
}

#[tokio::test]
async fn invalid_filters_are_named_beside_their_field() {
    let site = failing::site().await;
    let cookie = site.sign_in(Scope::Read).await;
    for (query, text) in [
        ("state=lost", "unknown state &#34;lost&#34;"),
        ("from=soon", "invalid instant &#34;soon&#34;"),
        ("to=2026-02-30", "invalid instant &#34;2026-02-30&#34;"),
        ("date=0000-00-00", "invalid date &#34;0000-00-00&#34;"),
        ("user=ada", "invalid id: expected a UUID"),
        ("user=%00", "invalid id"),
        ("order=up", "unknown order &#34;up&#34;"),
        ("cursor=1", "invalid cursor"),
        ("cursor=9223372036854775807_0198f0c05b7e7cc398c4dc0c0c07398f", "invalid cursor"),
    ] {
        let reply = site.get(&format!("/events?{query}"), &cookie).await;
        assert_eq!(reply.status, 400, "{query}");
        assert!(reply.text.contains(text), "{query}: {}", reply.text);
    }
    for query in ["date=9999-12-31", "date=0001-01-01", "from=2026-05-02T09:00:00%2B02:00&to=", "other=1"] {
        assert_eq!(site.get(&format!("/events?{query}"), &cookie).await.status, 200, "{query}");
    }
}

#[tokio::test]
async fn a_name_that_is_a_script_is_text_and_leads_to_its_person() {
    let site = failing::site().await;
    let name = "<script>alert(1)</script>";
    let user =
        bday::model::NewUser { first_name: name.to_owned(), ..person("<b>x</b>", "1990-05-02", "UTC") };
    let user = site.world.write_user(user).await;
    let mut page = site.browse(Scope::Read, "/events", Look::default()).await;
    let person = "document.querySelector('tbody[data-rows] td a')";
    assert_eq!(page.evaluate(&format!("{person}.textContent")).await, format!("{name} <b>x</b>"));
    assert_eq!(page.evaluate(&format!("{person}.pathname")).await, format!("/people/{user}"));
    finish(page, site).await;
}

#[tokio::test]
async fn the_event_of_a_deleted_person_has_no_name() {
    let site = failing::site().await;
    let user = site.world.write("gone", "1990-05-02", "UTC").await;
    site.world.set(NINE);
    site.world.store.delete_user(instant(NINE), UserRef::Id(user), None, None).await.unwrap();
    let cookie = site.sign_in(Scope::Read).await;
    let html = site.get("/events", &cookie).await.text;
    assert_eq!(events(&html).len(), 1);
    assert!(html.contains("<span class=\"muted\">deleted</span>") && !html.contains("/people/"), "{html}");
    let event = events(&html)[0];
    let reply = site.get(&format!("/events/{event}"), &cookie).await;
    assert_eq!(reply.status, 200);
    assert!(reply.text.contains("Deleted person: birthday 2026"), "{}", reply.text);
}

#[tokio::test]
async fn a_list_without_events_says_what_to_do_first() {
    let site = failing::site().await;
    let cookie = site.sign_in(Scope::Write).await;
    assert!(site.get("/events", &cookie).await.text.contains("<a href=\"/import\">import people</a> first"));
}

#[tokio::test]
async fn events_are_filtered_in_the_browser_with_and_without_script() {
    for has_no_script in [false, true] {
        let site = failing::site().await;
        failing::fail(&site, &["dead"]).await;
        failing::add(&site, "pending").await;
        let mut page = site.browse(Scope::Read, "/events", Look { has_no_script, ..Look::default() }).await;
        assert_eq!(page.evaluate("document.querySelectorAll('tbody[data-rows] tr').length").await, 2);
        page.evaluate("document.querySelector('input[name=state][value=dead]').click()").await;
        page.follow("form[role=search] button").await;
        let cells = "[...document.querySelector('tbody[data-rows] tr').cells].map((cell) => cell.innerText)";
        let cells = page.evaluate(cells).await;
        assert_eq!((&cells[3], &cells[4]), (&"dead".into(), &"status".into()), "{cells}");
        assert_eq!(page.evaluate("document.querySelectorAll('tbody[data-rows] tr').length").await, 1);
        assert_eq!(page.evaluate("document.querySelector('input[value=dead]').checked").await, true);
        finish(page, site).await;
    }
}

#[tokio::test]
async fn the_list_is_accessible_in_every_look() {
    let site = failing::site().await;
    failing::fail(&site, &["a", "b"]).await;
    let cookie = site.sign_in(Scope::Admin).await;
    let mut page = site.browse_as(&cookie, "/events", Look::default()).await;
    check_looks(&mut page, &site, &["/events", "/events?state=skipped"]).await;
    finish(page, site).await;
}
