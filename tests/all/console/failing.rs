//! A console with events that failed, and checks of a page in every look.

use bday::model::EventState::Dead;
use bday::store::UserKey;
use uuid::Uuid;

use crate::support::browser::{Look, Page};
use crate::support::console::{Reply, Site, accessibility_findings};
use crate::support::receiver::Behaviour;
use crate::support::world::{World, instant, person};

pub(super) const START: &str = "2026-05-02T00:00:00Z";
pub(super) const NINE: &str = "2026-05-02T09:00:00Z";
const ATTEMPTS: usize = 5;

/// Starts a console on 2 May 2026 whose attempts follow each other without delay.
pub(super) async fn site() -> Site {
    let world = World::with(START, &[("retry.schedule_secs", "0,0,0,0")]).await;
    // After the first tick, users are planned when they are written.
    world.tick().await;
    Site::on(world)
}

/// Adds a person with a birthday on 2 May in UTC, and returns the event.
pub(super) async fn add(site: &Site, name: &str) -> Uuid {
    let user = site.world.write(name, "1990-05-02", "UTC").await;
    site.world.event_of(user).await
}

/// Adds many people with a birthday on 2 May in UTC.
pub(super) async fn add_many(site: &Site, count: usize) {
    let people = (0..count).map(|n| (UserKey::ExternalId, person(&format!("p{n}"), "1990-05-02", "UTC")));
    let people: Vec<_> = people.collect();
    let world = &site.world;
    world.store.save_users(&world.config.schedule(), instant(START), &people).await.unwrap();
}

/// Lets the greetings of these people fail with 503 at 09:00 until they are dead.
pub(super) async fn fail(site: &Site, names: &[&str]) -> Vec<Uuid> {
    let mut events = Vec::new();
    for name in names {
        let event = add(site, name).await;
        let refusal = Behaviour::Answer(503, String::new(), b"too <b>busy</b>".to_vec());
        site.world.receiver.script_for(&event.to_string(), [refusal]);
        events.push(event);
    }
    send_all(site).await;
    for event in &events {
        assert_eq!(site.world.store.event(*event).await.unwrap().unwrap().state, Dead);
    }
    events
}

/// Makes all attempts that are due at 09:00.
pub(super) async fn send_all(site: &Site) {
    site.world.set(NINE);
    for _ in 0..=ATTEMPTS {
        site.world.minute().await;
    }
}

/// Makes the receiver accept these events.
pub(super) fn accept(site: &Site, events: &[Uuid]) {
    for event in events {
        site.world.receiver.script_for(&event.to_string(), [Behaviour::Status(200)]);
    }
}

/// Returns the text of the notice that a form answers with.
pub(super) fn notice(reply: &Reply) -> String {
    let cookie = reply.cookie("bday_notice").unwrap_or_else(|| panic!("no notice: {reply:?}"));
    percent_encoding::percent_decode_str(&cookie[1..]).decode_utf8().unwrap().into_owned()
}

/// Checks that the pages have no accessibility finding and do not scroll sideways: light, dark and narrow.
pub(super) async fn check_looks(page: &mut Page, site: &Site, paths: &[&str]) {
    for (is_dark, is_narrow) in [(false, false), (true, false), (false, true)] {
        page.set_look(Look { is_dark, is_narrow, has_no_script: false }).await;
        for path in paths {
            page.go(&format!("{}{path}", site.base)).await;
            check_look(page, &format!("{path} dark {is_dark} narrow {is_narrow}")).await;
        }
    }
}

/// Checks the page that is shown.
pub(super) async fn check_look(page: &mut Page, what: &str) {
    let findings = accessibility_findings(page).await;
    assert!(findings.is_empty(), "{what}: {findings:#?}");
    let overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth").await;
    assert!(overflow.as_i64().unwrap() <= 0, "{what} scrolls sideways by {overflow}");
}
