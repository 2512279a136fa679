//! `/people`: search, add, export.

use std::collections::BTreeSet;

use bday::model::{NewUser, Scope};
use bday::store::{UserFilter, UserKey, UserRef};

use crate::support::browser::Look;
use crate::support::console::{Site, check_looks, finish};
use crate::support::world::{World, person};

const NOW: &str = "2026-11-24T12:00:00Z";
const SCRIPT: &str = "<script>document.title = 'x'</script>";

async fn add_people(site: &Site, count: usize) {
    let zone = |n: usize| if n.is_multiple_of(3) { "Asia/Tokyo" } else { "Europe/London" };
    let user = |n| (UserKey::ExternalId, person(&format!("hr-{n:03}"), "1990-12-10", zone(n)));
    let users: Vec<(UserKey, NewUser)> = (0..count).map(user).collect();
    let (store, schedule) = (&site.world.store, site.world.config.schedule());
    store.save_users(&schedule, bday::clock::Clock::now(&*site.world.clock), &users).await.unwrap();
}

/// Returns what is between `before` and the next `after`, at each place.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Vec<&'a str> {
    text.split(before).skip(1).map(|rest| &rest[..rest.find(after).unwrap()]).collect()
}

/// Returns the path of the next page.
fn next(text: &str) -> Option<String> {
    let (before, _) = text.split_once("\" rel=\"next\"")?;
    Some(before.rsplit_once("href=\"")?.1.replace("&#38;", "&"))
}

/// Follows the pages from `path` on, and returns the external ids, which are the last names.
async fn listed(site: &Site, cookie: &str, path: &str) -> Vec<String> {
    let (mut ids, mut path) = (Vec::new(), path.to_owned());
    loop {
        let reply = site.get(&path, cookie).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        assert!(reply.text.len() < 60_000, "{path} has {} bytes", reply.text.len());
        ids.extend(between(&reply.text, "<bdi>Ada ", "</bdi>").into_iter().map(str::to_owned));
        let Some(next) = next(&reply.text) else { return ids };
        path = next;
    }
}

#[tokio::test]
async fn people_are_listed_once_on_stable_pages_and_found_by_name_id_and_zone() {
    let site = Site::at(NOW).await;
    add_people(&site, 130).await;
    let cookie = site.sign_in(Scope::Read).await;
    let all = listed(&site, &cookie, "/people").await;
    assert_eq!((all.len(), all.iter().collect::<BTreeSet<_>>().len()), (130, 130));
    let found = listed(&site, &cookie, "/people?search=HR-0&zone=Europe%2FLondon").await;
    assert_eq!(found.len(), 66, "100 of which every third is in Tokyo");
    assert_eq!(listed(&site, &cookie, "/people?search=ada%20hr-12").await.len(), 10);
    assert_eq!(listed(&site, &cookie, "/people?search=unknown").await.len(), 0);
    let user = site.world.store.list_users(&UserFilter::default(), uuid::Uuid::nil(), 1).await.unwrap();
    let by_id = listed(&site, &cookie, &format!("/people?search={}", user.users[0].id)).await;
    assert_eq!(by_id, [user.users[0].last_name.clone()]);
    site.stop().await;
}

#[tokio::test]
async fn the_list_has_birth_date_zone_next_greeting_and_addresses() {
    let site = Site::at(NOW).await;
    let mut ada = person("hr-17", "--11-25", "Europe/London");
    ada.addresses.insert(bday::model::ContactType::Email, Some("ada@example.org".to_owned()));
    site.world.write_user(ada).await;
    let mut page = site.browse(Scope::Read, "/people", Look::default()).await;
    let cells = page
        .evaluate("[...document.querySelectorAll('tbody[data-rows] > tr > *')].map((cell) => cell.innerText)")
        .await;
    let expected = ["Ada hr-17\nhr-17", "--11-25", "Europe/London", "2026-11-25\ntomorrow", "email"];
    assert_eq!(cells, serde_json::json!(expected));
    page.press("/").await;
    page.type_text("hr-").await;
    page.press_and_load("Enter").await;
    assert_eq!(page.evaluate("location.search").await, "?search=hr-&zone=");
    page.press("j").await;
    page.press_and_load("Enter").await;
    assert_eq!(page.evaluate("document.querySelector('h1').textContent").await, "Ada hr-17");
    finish(page, site).await;
}

#[tokio::test]
async fn invalid_filters_are_named_on_the_page() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Read).await;
    for (query, message) in [
        ("zone=Europe/Berln", "did you mean Europe/Berlin?"),
        ("search=a%00b", "has a control character"),
        ("search=hr&cursor=x", "The link to this page of the list is invalid"),
        // The cursor of a list without search.
        ("search=hr&cursor=0198f0c05b7e7cc398c4dc0c0c07398f", "The link to this page of the list is invalid"),
    ] {
        let reply = site.get(&format!("/people?{query}"), &cookie).await;
        assert_eq!(reply.status, 400, "{query}");
        assert!(reply.text.contains(message) && reply.text.contains("<h1>People"), "{query}: {}", reply.text);
    }
    assert_eq!(site.get("/people/export?format=xml", &cookie).await.status, 400);
    site.stop().await;
}

#[tokio::test]
async fn without_people_the_page_says_what_to_do_first() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Write).await;
    let text = site.get("/people", &cookie).await.text;
    for part in ["No people yet: import a file", "href=\"/import\"", "href=\"/people/new\"", "bday doctor"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let reader = site.sign_in(Scope::Read).await;
    let text = site.get("/people", &reader).await.text;
    assert!(text.contains("No people yet") && !text.contains("/people/new"), "{text}");
    site.stop().await;
}

#[tokio::test]
async fn a_person_is_added_with_and_without_script() {
    for has_no_script in [false, true] {
        let world = World::with(NOW, &[("kinds.work_anniversary.message", "Thanks, {{ first_name }}")]).await;
        let site = Site::on(world);
        let look = Look { has_no_script, ..Look::default() };
        let mut page = site.browse(Scope::Write, "/people", look).await;
        page.follow("a[href='/people/new']").await;
        for (field, value) in [
            ("firstName", SCRIPT),
            ("birthDate", "--02-29"),
            ("timeZone", "Europe/Berln"),
            ("sendAt", "07:30"),
            ("leapDay", "mar1"),
            ("email", "ada@example.org"),
            ("occasions.work_anniversary", "2019-05-02"),
        ] {
            page.fill(&format!("[name='{field}']"), value).await;
        }
        page.follow("form[action='/people'] button").await;
        assert_eq!(page.take_problems().len(), 1, "the status 422");
        let zone = "document.querySelector('[name=timeZone]')";
        let error = page.evaluate(&format!("document.getElementById({zone}.getAttribute('aria-describedby').split(' ').pop()).textContent")).await;
        assert!(error.as_str().unwrap().contains("did you mean Europe/Berlin?"), "{error}");
        assert_eq!(page.evaluate(&format!("{zone}.getAttribute('aria-invalid')")).await, "true");
        assert_eq!(page.evaluate("document.querySelector('[name=firstName]').value").await, SCRIPT);
        page.fill("[name=timeZone]", "Europe/Berlin").await;
        page.follow("form[action='/people'] button").await;
        assert_eq!(page.evaluate("document.querySelector('h1').textContent").await, SCRIPT);
        let users = site.world.store.list_users(&UserFilter::default(), uuid::Uuid::nil(), 10).await.unwrap();
        let user = &users.users[0];
        assert_eq!((user.first_name.as_str(), user.birth_date.to_string().as_str()), (SCRIPT, "--02-29"));
        assert_eq!(
            (user.send_at.unwrap().to_string().as_str(), user.time_zone.name()),
            ("07:30", "Europe/Berlin")
        );
        assert_eq!(user.occasions["work_anniversary"].to_string(), "2019-05-02");
        assert_eq!(user.email.as_deref(), Some("ada@example.org"));
        let writes =
            site.world.store.api_writes(&bday::store::ApiWriteFilter::default(), None, 1).await.unwrap();
        assert_eq!((writes[0].path.as_str(), writes[0].target_id), ("/people", Some(user.id)));
        page.go(&format!("{}/people", site.base)).await;
        assert_eq!(page.evaluate("document.querySelector('tbody a').textContent").await, SCRIPT);
        assert_ne!(page.evaluate("document.title").await, "x");
        finish(page, site).await;
    }
}

#[tokio::test]
async fn a_form_that_is_sent_twice_adds_one_person() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Write).await;
    let keys = |text: &str| -> String { between(text, "name=\"key\" value=\"", "\"")[0].to_owned() };
    let key = keys(&site.get("/people/new", &cookie).await.text);
    let ada = [("key", key.as_str()), ("firstName", "Ada"), ("birthDate", "1990-12-10"), ("timeZone", "UTC")];
    let eve = [ada[0], ("firstName", "Eve"), ada[2], ada[3]];
    let (first, second) =
        tokio::join!(site.post("/people", &cookie, &ada), site.post("/people", &cookie, &ada));
    assert_eq!((first.status, second.status), (303, 303));
    assert_eq!(first.location(), second.location());
    // Back in the browser, and then another name in the same form.
    let other = site.post("/people", &cookie, &eve).await;
    assert!(
        other.status == 422 && other.text.contains("Send it again to add another person"),
        "{}",
        other.text
    );
    let key = keys(&other.text);
    let added = site.post("/people", &cookie, &[("key", &key), eve[1], eve[2], eve[3]]).await;
    assert_eq!(added.status, 303);
    let users = site.world.store.list_users(&UserFilter::default(), uuid::Uuid::nil(), 10).await.unwrap();
    let names: Vec<&str> = users.users.iter().map(|user| user.first_name.as_str()).collect();
    assert_eq!(names, ["Ada", "Eve"]);
    let writes =
        site.world.store.api_writes(&bday::store::ApiWriteFilter::default(), None, 10).await.unwrap();
    let statuses: Vec<_> = writes.iter().map(|write| write.status).collect();
    assert_eq!(statuses, [Some(201), Some(422), Some(201), Some(201)]);
    let ada_id = UserRef::Id(first.location()["/people/".len()..].parse().unwrap());
    site.world
        .store
        .delete_user(bday::clock::Clock::now(&*site.world.clock), ada_id, None, None)
        .await
        .unwrap();
    let repeated = site.post("/people", &cookie, &ada).await;
    assert!(repeated.status == 422 && repeated.text.contains("was deleted"), "{}", repeated.text);
    site.stop().await;
}

#[tokio::test]
async fn an_external_id_of_another_person_is_refused_beside_its_field() {
    let site = Site::at(NOW).await;
    site.world.write("hr-17", "1990-12-10", "UTC").await;
    let cookie = site.sign_in(Scope::Write).await;
    let fields =
        [("firstName", "Eve"), ("birthDate", "1990-04-01"), ("timeZone", "UTC"), ("externalId", "hr-17")];
    let reply = site.post("/people", &cookie, &fields).await;
    assert_eq!(reply.status, 422);
    assert!(reply.text.contains("External id belongs to another person"), "{}", reply.text);
    assert!(reply.text.contains("id=\"externalId-error\""));
    site.stop().await;
}

#[tokio::test]
async fn the_export_is_that_of_the_api() {
    let site = Site::at(NOW).await;
    add_people(&site, 3).await;
    let cookie = site.sign_in(Scope::Read).await;
    let token = site.token_named("api", Scope::Read).await;
    for (format, name) in [("csv", "users.csv"), ("ndjson", "users.ndjson")] {
        let reply = site.get(&format!("/people/export?format={format}"), &cookie).await;
        assert_eq!(reply.header("content-disposition"), format!("attachment; filename=\"{name}\""));
        let url = format!("{}/v1/users/export?format={format}", site.base);
        let of_api = Site::send(site.http.get(url).bearer_auth(token.expose())).await;
        assert_eq!((reply.text.lines().count() >= 3, &reply.text), (true, &of_api.text));
    }
    site.stop().await;
}

#[tokio::test]
async fn a_read_token_sees_no_form_and_adds_nobody() {
    let site = Site::at(NOW).await;
    add_people(&site, 1).await;
    let cookie = site.sign_in(Scope::Read).await;
    let text = site.get("/people", &cookie).await.text;
    assert!(!text.contains("method=\"post\" action=\"/people") && !text.contains("/people/new"), "{text}");
    let fields = [("firstName", "Eve"), ("birthDate", "1990-04-01"), ("timeZone", "UTC")];
    assert_eq!(site.post("/people", &cookie, &fields).await.status, 403);
    let page = site.world.store.list_users(&UserFilter::default(), uuid::Uuid::nil(), 10).await.unwrap();
    assert_eq!(page.users.len(), 1);
    site.stop().await;
}

#[tokio::test]
async fn the_pages_about_people_are_accessible() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Write).await;
    let mut page = site.browse_as(&cookie, "/people", Look::default()).await;
    check_looks(&mut page, &site, &["/people", "/people/new"]).await;
    add_people(&site, 60).await;
    check_looks(&mut page, &site, &["/people", "/people?search=unknown"]).await;
    finish(page, site).await;
}
