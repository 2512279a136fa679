//! `/people/{id}`

use bday::clock::Clock as _;
use bday::model::{ContactStatus, ContactType, Scope};
use bday::store::UserRef;
use uuid::Uuid;

use crate::support::browser::Look;
use crate::support::console::{Site, check_looks, finish};
use crate::support::world::person;

const NOW: &str = "2026-11-24T12:00:00Z";

/// Adds a person who is greeted today in New York, in five minutes.
async fn add_ada(site: &Site) -> Uuid {
    let mut ada = person("<b>hr-17</b>", "1990-11-24", "America/New_York");
    ada.send_at = Some("07:05".parse().unwrap());
    ada.addresses.insert(ContactType::Email, Some("ada@example.org".to_owned()));
    site.world.write_user(ada).await
}

async fn lead(page: &mut crate::support::browser::Page) -> String {
    let text = page.evaluate("document.querySelector('#this-year .lead').textContent").await;
    text.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_page_says_why_in_one_sentence_and_refreshes_it() {
    let site = Site::at(NOW).await;
    site.world.tick().await;
    let id = add_ada(&site).await;
    let mut page = site.browse(Scope::Read, &format!("/people/{id}"), Look::default()).await;
    assert_eq!(
        lead(&mut page).await,
        "The birthday greeting of 2026 is not due yet: due in 5 min, at 2026-11-24T12:05:00Z."
    );
    let now = page.evaluate("document.getElementById('now').textContent").await;
    assert_eq!(now, "It is 2026-11-24 07:00 (-05:00), 12:00 UTC in America/New_York.");
    site.world.set("2026-11-24T12:05:04Z");
    site.world.minute().await;
    page.evaluate("(() => { const live = document.getElementById('live'); live.value = '5'; live.dispatchEvent(new Event('change')); })()").await;
    page.run("document.querySelector('#this-year .lead').textContent.includes('was delivered')").await;
    assert_eq!(
        lead(&mut page).await,
        "The birthday greeting of 2026 was delivered: accepted 4 s after it was due, at attempt 1."
    );
    let event = site.world.event_of(id).await;
    let link = page.evaluate("document.querySelector('#events a').getAttribute('href')").await;
    assert_eq!(link, format!("/events/{event}"));
    finish(page, site).await;
}

#[tokio::test]
async fn a_person_is_edited_opted_out_and_deleted_with_and_without_script() {
    for has_no_script in [false, true] {
        let site = Site::at(NOW).await;
        let id = add_ada(&site).await;
        let look = Look { has_no_script, ..Look::default() };
        let mut page = site.browse(Scope::Write, &format!("/people/{id}"), look).await;
        assert_eq!(page.evaluate("document.querySelector('h1').textContent").await, "Ada <b>hr-17</b>");
        page.follow(&format!("a[href='/people/{id}/edit']")).await;
        page.fill("[name=timeZone]", "Asia/Tokyo").await;
        page.follow("main form button").await;
        let user = site.world.store.user(UserRef::Id(id)).await.unwrap().unwrap();
        assert_eq!((user.time_zone.name(), user.last_name.as_str()), ("Asia/Tokyo", "<b>hr-17</b>"));
        assert_eq!(user.email.as_deref(), Some("ada@example.org"));
        page.follow("form[action$='/contacts/mail'] button[value=opted_out]").await;
        let contacts = site.world.store.contacts(id).await.unwrap();
        assert!(contacts.iter().any(|contact| contact.status == ContactStatus::OptedOut), "{contacts:?}");
        page.follow("form[action$='/contacts/mail'] button[value=active]").await;
        let contacts = site.world.store.contacts(id).await.unwrap();
        assert!(contacts.iter().all(|contact| contact.status == ContactStatus::Active), "{contacts:?}");
        page.follow("form[action$='/delete'] button").await;
        assert_eq!(page.evaluate("location.pathname").await, "/people");
        assert_eq!(site.world.store.user(UserRef::Id(id)).await.unwrap(), None);
        page.go(&format!("{}/people/{id}", site.base)).await;
        assert_eq!(page.evaluate("document.querySelector('h1').textContent").await, "Deleted person");
        finish(page, site).await;
    }
}

#[tokio::test]
async fn an_edit_after_another_edit_keeps_the_input_and_saves_nothing() {
    let site = Site::at(NOW).await;
    let id = add_ada(&site).await;
    let cookie = site.sign_in(Scope::Write).await;
    let store = &site.world.store;
    let version = store.user(UserRef::Id(id)).await.unwrap().unwrap().version().to_string();
    let form = |version: &str, zone: &str| {
        [("version", version), ("firstName", "Ada"), ("birthDate", "1990-11-24"), ("timeZone", zone)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let post = async |version: &str, zone: &str| {
        let fields = form(version, zone);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        site.post(&format!("/people/{id}"), &cookie, &fields).await
    };
    assert_eq!(post(&version, "Asia/Tokyo").await.status, 303);
    let reply = post(&version, "Europe/Paris").await;
    assert_eq!(reply.status, 409, "{}", reply.text);
    assert!(
        reply.text.contains("value=\"Europe/Paris\"")
            && reply.text.contains("Saved meanwhile: <b>Asia/Tokyo</b>")
    );
    let user = store.user(UserRef::Id(id)).await.unwrap().unwrap();
    assert_eq!(user.time_zone.name(), "Asia/Tokyo");
    // The form has the present version: it may be sent again.
    let present = user.version().to_string();
    assert!(reply.text.contains(&format!("name=\"version\" value=\"{present}\"")));
    assert_eq!(post(&present, "Europe/Paris").await.status, 303);
    assert_eq!(post("", "Europe/Paris").await.status, 400);
    let gone = [("version", version.as_str())];
    let reply = site.post(&format!("/people/{id}/delete"), &cookie, &gone).await;
    assert_eq!(reply.location(), format!("/people/{id}"), "deletes no version that was not seen");
    assert!(store.user(UserRef::Id(id)).await.unwrap().is_some());
    site.stop().await;
}

#[tokio::test]
async fn invalid_edits_are_named_beside_their_fields() {
    let site = Site::at(NOW).await;
    let id = add_ada(&site).await;
    site.world.write("hr-18", "1990-12-10", "UTC").await;
    let cookie = site.sign_in(Scope::Write).await;
    let version = site.world.store.user(UserRef::Id(id)).await.unwrap().unwrap().version().to_string();
    let post = async |changed: (&str, &str)| {
        let fields = [
            ("version", &*version),
            changed,
            ("firstName", "Ada"),
            ("birthDate", "1990-11-24"),
            ("timeZone", "UTC"),
        ];
        site.post(&format!("/people/{id}"), &cookie, &fields).await
    };
    for (field, value, message) in [
        ("externalId", "hr-18", "External id belongs to another person"),
        ("birthDate", "2026-11-30", "2026-11-30 is in the future"),
        ("email", "ada", "invalid email address"),
    ] {
        let reply = post((field, value)).await;
        assert_eq!(reply.status, 422, "{field}");
        assert!(reply.text.contains(message), "{field}: {}", reply.text);
        assert!(reply.text.contains(&format!("id=\"{field}-error\"")), "{field}");
    }
    site.stop().await;
}

#[tokio::test]
async fn unknown_people_are_not_found() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Write).await;
    for path in ["/people/x", "/people/x/edit", "/people/0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f"] {
        let reply = site.get(path, &cookie).await;
        assert_eq!(reply.status, 404, "{path}");
        assert!(reply.text.contains("There was never a person with this id"), "{path}: {}", reply.text);
    }
    site.stop().await;
}

#[tokio::test]
async fn a_deleted_person_is_explained_without_personal_data() {
    let site = Site::at(NOW).await;
    site.world.tick().await;
    let id = add_ada(&site).await;
    let now = site.world.clock.now();
    site.world.store.delete_user(now, UserRef::Id(id), None, None).await.unwrap();
    let mut page = site.browse(Scope::Read, &format!("/people/{id}"), Look::default()).await;
    let lead = page.evaluate("document.querySelector('.lead').innerText").await;
    assert!(lead.as_str().unwrap().contains("deleted at 2026-11-24 12:00:00 UTC"), "{lead}");
    let why = page.evaluate("document.querySelector('#this-year .lead').textContent").await;
    assert!(why.as_str().unwrap().starts_with("The birthday greeting of 2026 was cancelled"), "{why}");
    assert!(
        !site.get(&format!("/people/{id}"), &site.sign_in(Scope::Write).await).await.text.contains("hr-17")
    );
    finish(page, site).await;
}

#[tokio::test]
async fn a_read_token_sees_no_form_and_changes_nothing() {
    let site = Site::at(NOW).await;
    let id = add_ada(&site).await;
    let cookie = site.sign_in(Scope::Read).await;
    let text = site.get(&format!("/people/{id}"), &cookie).await.text;
    assert!(!text.contains(&format!("action=\"/people/{id}")) && !text.contains("/edit"), "{text}");
    let version = site.world.store.user(UserRef::Id(id)).await.unwrap().unwrap().version().to_string();
    for (path, fields) in [
        ("", [("version", &*version), ("firstName", "Eve")]),
        ("/delete", [("version", &*version), ("", "")]),
        ("/contacts/mail", [("status", "opted_out"), ("", "")]),
    ] {
        let reply = site.post(&format!("/people/{id}{path}"), &cookie, &fields).await;
        assert_eq!(reply.status, 403, "{path}");
    }
    let user = site.world.store.user(UserRef::Id(id)).await.unwrap().unwrap();
    assert_eq!((user.first_name.as_str(), user.version().to_string()), ("Ada", version));
    assert!(site.world.store.contacts(id).await.unwrap().iter().all(bday::model::Contact::is_active));
    site.stop().await;
}

#[tokio::test]
async fn the_page_of_a_person_is_accessible() {
    let site = Site::at(NOW).await;
    site.world.tick().await;
    let id = add_ada(&site).await;
    let other = site.world.write("hr-18", "--02-29", "Pacific/Apia").await;
    let now = site.world.clock.now();
    site.world.store.delete_user(now, UserRef::Id(other), None, None).await.unwrap();
    let mut page = site.browse(Scope::Write, "/people", Look::default()).await;
    let paths = [format!("/people/{id}"), format!("/people/{id}/edit"), format!("/people/{other}")];
    check_looks(&mut page, &site, &paths.each_ref().map(String::as_str)).await;
    finish(page, site).await;
}
