//! `/import`: upload, dry run, import.

use bday::model::Scope;
use bday::store::UserFilter;
use chrono::TimeDelta;
use serde_json::json;
use uuid::Uuid;

use crate::support::browser::{Look, Page};
use crate::support::console::{Reply, Site, check_looks, finish};
use crate::support::world::instant;

const NOW: &str = "2026-11-24T12:00:00Z";
const HEADER: &str = "first_name,last_name,birth_date,time_zone,external_id";
const BAD: &str = "<b>Bad</b>,Row,1990-13-01,UTC,hr-19";

fn people() -> String {
    format!(
        "{HEADER}\nAda,Lovelace,1815-12-10,Europe/London,hr-17\nGrace,Hopper,--12-09,America/New_York,hr-18\n{BAD}\n"
    )
}

/// Sends a file as the form of the page does.
async fn upload(site: &Site, cookie: &str, name: &str, fields: &[(&str, &str)], text: &str) -> Reply {
    let mut body = String::new();
    for (field, value) in fields {
        body =
            format!("{body}--limit\r\ncontent-disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n");
    }
    body = format!(
        "{body}--limit\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n{text}\r\n--limit--\r\n"
    );
    let request = site.http.post(format!("{}/import", site.base)).header("cookie", cookie);
    let request = request.header("content-type", "multipart/form-data; boundary=limit");
    Site::send(request.header("sec-fetch-site", "same-origin").body(body)).await
}

/// Uploads a file, and returns the path of its page.
async fn checked(site: &Site, cookie: &str, name: &str, text: &str) -> String {
    let reply = upload(site, cookie, name, &[], text).await;
    assert_eq!(reply.status, 303, "{}", reply.text);
    reply.location().to_owned()
}

async fn names(site: &Site) -> Vec<String> {
    let page = site.world.store.list_users(&UserFilter::default(), Uuid::nil(), 100).await.unwrap();
    page.users.into_iter().map(|user| user.first_name).collect()
}

async fn stored(site: &Site) -> (i64, i64) {
    let sql = "SELECT (SELECT count(*) FROM uploads), (SELECT count(*) FROM upload_chunks)";
    sqlx::query_as(sql).fetch_one(&site.world.database.pool().await).await.unwrap()
}

async fn figures(page: &mut Page) -> serde_json::Value {
    page.evaluate("[...document.querySelectorAll('.figures dd')].map((figure) => figure.textContent)").await
}

/// Puts a file into the form, as a person does who chooses or drops one.
async fn choose(page: &mut Page, name: &str, text: &str, is_dropped: bool) {
    let (name, text) = (json!(name), json!(text));
    let transfer =
        format!("const transfer = new DataTransfer(); transfer.items.add(new File([{text}], {name}));");
    let chosen = "document.querySelector('input[type=file]').files = transfer.files;";
    let dropped = "document.querySelector('[data-drop]').dispatchEvent(new DragEvent('drop', {dataTransfer: transfer, cancelable: true}));";
    page.evaluate(&format!("(() => {{ {transfer} {} }})()", if is_dropped { dropped } else { chosen })).await;
}

#[tokio::test]
async fn a_file_is_checked_and_imported_with_and_without_script() {
    for has_no_script in [false, true] {
        let site = Site::at(NOW).await;
        let look = Look { has_no_script, ..Look::default() };
        let mut page = site.browse(Scope::Write, "/import", look).await;
        choose(&mut page, "people.csv", &people(), false).await;
        page.follow(".drop button").await;
        assert_eq!(figures(&mut page).await, json!(["2", "0", "0", "1"]));
        assert!(names(&site).await.is_empty(), "a dry run writes nothing");
        let bad = page.evaluate("document.querySelector('[aria-labelledby=bad] tbody').innerText").await;
        assert!(bad.as_str().unwrap().starts_with("4\tbirth_date: invalid date"), "{bad}");
        let rows = page.evaluate("document.querySelector('[aria-labelledby=rows] tbody').innerText").await;
        assert!(rows.as_str().unwrap().contains("Ada Lovelace"), "{rows}");
        let button = "main form button.primary";
        assert_eq!(
            page.evaluate(&format!("document.querySelector('{button}').textContent")).await,
            "Import 2 people"
        );
        page.follow(button).await;
        assert_eq!(figures(&mut page).await, json!(["2", "0", "0", "1"]));
        assert_eq!(page.evaluate("document.querySelector('h1').textContent").await, "Imported people.csv");
        assert_eq!(names(&site).await, ["Ada", "Grace"]);
        finish(page, site).await;
    }
}

#[tokio::test]
async fn a_dropped_file_is_checked_at_once() {
    let site = Site::at(NOW).await;
    let mut page = site.browse(Scope::Write, "/import", Look::default()).await;
    page.follow_after(async |page| choose(page, "people.csv", &people(), true).await).await;
    assert_eq!(figures(&mut page).await, json!(["2", "0", "0", "1"]));
    finish(page, site).await;
}

#[tokio::test]
async fn new_changed_and_equal_people_are_counted_before_and_after_the_import() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Write).await;
    let path = checked(&site, &cookie, "people.csv", &people()).await;
    assert_eq!(site.post(&path, &cookie, &[]).await.location(), path);
    let changed = people().replace("1815-12-10", "1815-12-11").replace(BAD, "Eve,,1990-01-01,UTC,hr-20");
    let path = checked(&site, &cookie, "people.csv", &changed).await;
    let text = site.get(&path, &cookie).await.text;
    for part in [
        "<dt>New</dt><dd>1</dd>",
        "<dt>Changed</dt><dd>1</dd>",
        "<dt>The same</dt><dd>1</dd>",
        "Import 2 people",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    site.post(&path, &cookie, &[]).await;
    let text = site.get(&path, &cookie).await.text;
    assert!(text.contains("Imported") && text.contains("<dt>Changed</dt><dd>1</dd>"), "{text}");
    let path = checked(&site, &cookie, "people.csv", &changed).await;
    let text = site.get(&path, &cookie).await.text;
    assert!(text.contains("There is nothing to import."), "{text}");
    site.stop().await;
}

#[tokio::test]
async fn bad_rows_are_downloaded_as_a_file_of_the_same_format() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Write).await;
    let path = checked(&site, &cookie, "people.csv", &people()).await;
    let cards = "BEGIN:VCARD\r\nFN:Ada\r\nBDAY:18151210\r\nTZ:Europe/London\r\nEND:VCARD\r\n\
                 BEGIN:VCARD\r\nFN:<i>Eve</i>\r\nTZ:UTC\r\nEND:VCARD\r\n";
    let cards = checked(&site, &cookie, "contacts.vcf", cards).await;
    for _ in ["before the import", "after it"] {
        let reply = site.get(&format!("{path}/rejected"), &cookie).await;
        assert_eq!(reply.header("content-disposition"), "attachment; filename=\"rejected.csv\"");
        assert_eq!(reply.text, format!("{HEADER}\n{BAD}\n"));
        let reply = site.get(&format!("{cards}/rejected"), &cookie).await;
        assert_eq!(reply.header("content-disposition"), "attachment; filename=\"rejected.vcf\"");
        assert!(reply.text.contains("<i>Eve</i>") && !reply.text.contains("Ada"), "{}", reply.text);
        site.post(&path, &cookie, &[]).await;
        site.post(&cards, &cookie, &[]).await;
    }
    assert_eq!(names(&site).await.len(), 3);
    site.stop().await;
}

#[tokio::test]
async fn the_zone_of_vcards_is_that_of_the_form() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Write).await;
    let card = "BEGIN:VCARD\r\nFN:Ada\r\nBDAY:--1210\r\nEND:VCARD\r\n";
    let reply = upload(&site, &cookie, "ada", &[("format", "vcard"), ("zone", "Asia/Tokyo")], card).await;
    site.post(reply.location(), &cookie, &[]).await;
    let page = site.world.store.list_users(&UserFilter::default(), Uuid::nil(), 10).await.unwrap();
    assert_eq!(page.users[0].time_zone.name(), "Asia/Tokyo");
    site.stop().await;
}

#[tokio::test]
async fn an_unusable_file_is_refused_with_its_reason() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Write).await;
    for (name, fields, text, message) in [
        ("", vec![], "", "Choose a file, or drop one here."),
        ("people.csv", vec![], "", "the file is empty"),
        ("people.csv", vec![], "name\nAda\n", "unknown column &#34;name&#34;"),
        ("a.vcf", vec![("zone", "Europe/Berln")], "x", "did you mean Europe/Berlin?"),
        ("a.csv", vec![("format", "xml")], "x", "Unknown format &#34;xml&#34;"),
    ] {
        let reply = upload(&site, &cookie, name, &fields, text).await;
        assert_eq!(reply.status, 422, "{name} {text}");
        assert!(reply.text.contains(message), "{message}: {}", reply.text);
    }
    assert_eq!(stored(&site).await, (0, 0));
    let request = site.http.post(format!("{}/import", site.base)).header("cookie", &cookie);
    let request = request.header("sec-fetch-site", "same-origin").body("file=x");
    assert_eq!(Site::send(request).await.status, 400);
    site.stop().await;
}

#[tokio::test]
async fn a_file_over_the_limit_is_read_to_its_end_and_refused() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Write).await;
    let line = "Ada,Lovelace,1815-12-10,Europe/London,hr-17\n";
    let text = format!("{HEADER}\n{}", line.repeat((50 << 20) / line.len() + 1));
    let reply = upload(&site, &cookie, "people.csv", &[], &text).await;
    assert_eq!(reply.status, 413);
    assert!(reply.text.contains("The file has over 50 MB"), "{}", reply.text);
    assert_eq!(stored(&site).await, (0, 0));
    site.stop().await;
}

#[tokio::test]
async fn a_file_of_many_chunks_is_imported_by_another_process() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Write).await;
    let row = |n: usize| format!("{},Lovelace,1815-12-10,Europe/London,hr-{n}\n", "a".repeat(150));
    let rows: String = (0..4000).map(row).collect();
    let path = checked(&site, &cookie, "people.csv", &format!("{HEADER}\n{rows}")).await;
    assert_eq!(stored(&site).await, (1, 3));
    let site = site.restart().await;
    let reply = site.get(&path, &cookie).await;
    assert!(reply.text.contains("Import 4,000 people"), "{}", reply.text);
    site.post(&path, &cookie, &[]).await;
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM users")
        .fetch_one(&site.world.database.pool().await)
        .await
        .unwrap();
    assert_eq!(count, 4000);
    assert_eq!(stored(&site).await, (1, 0), "the file is deleted, its report is kept");
    site.stop().await;
}

#[tokio::test]
async fn an_upload_belongs_to_its_token_and_is_kept_for_an_hour() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Write).await;
    let path = checked(&site, &cookie, "people.csv", &people()).await;
    let other = site.sign_in(Scope::Admin).await;
    for path in [path.clone(), format!("{path}/rejected")] {
        assert_eq!(site.get(&path, &other).await.status, 404, "{path}");
    }
    assert_eq!(site.post(&path, &other, &[]).await.status, 404);
    site.post(&format!("{path}/discard"), &other, &[]).await;
    assert_eq!(stored(&site).await, (1, 1));
    site.world.clock.set(instant(NOW) + TimeDelta::minutes(20));
    assert_eq!(site.get(&path, &cookie).await.status, 200);
    site.world.clock.set(instant(NOW) + TimeDelta::minutes(61));
    let now = bday::clock::Clock::now(&*site.world.clock);
    site.world.store.clean_up(now, now).await.unwrap();
    assert_eq!(stored(&site).await, (0, 0));
    assert!(names(&site).await.is_empty());
    site.stop().await;
}

#[tokio::test]
async fn a_discarded_upload_and_the_oldest_of_four_are_deleted() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Write).await;
    let first = checked(&site, &cookie, "1.csv", &people()).await;
    for name in ["2.csv", "3.csv", "4.csv"] {
        checked(&site, &cookie, name, &people()).await;
    }
    assert_eq!(stored(&site).await, (3, 3));
    assert_eq!(site.get(&first, &cookie).await.status, 404);
    let last = checked(&site, &cookie, "5.csv", &people()).await;
    assert_eq!(site.post(&format!("{last}/discard"), &cookie, &[]).await.location(), "/import");
    assert_eq!(stored(&site).await, (2, 2));
    assert_eq!(site.get(&last, &cookie).await.status, 404);
    site.stop().await;
}

#[tokio::test]
async fn a_read_token_imports_nothing() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Read).await;
    assert!(!site.get("/import", &cookie).await.text.contains("enctype"));
    assert_eq!(upload(&site, &cookie, "people.csv", &[], &people()).await.status, 403);
    let writer = site.sign_in(Scope::Write).await;
    let path = checked(&site, &writer, "people.csv", &people()).await;
    for path in [path.clone(), format!("{path}/discard")] {
        assert_eq!(site.post(&path, &cookie, &[]).await.status, 403, "{path}");
    }
    assert_eq!((stored(&site).await, names(&site).await.len()), ((1, 1), 0));
    site.stop().await;
}

#[tokio::test]
async fn the_pages_of_an_import_are_accessible() {
    let site = Site::at(NOW).await;
    let cookie = site.sign_in(Scope::Write).await;
    let path = checked(&site, &cookie, "people.csv", &people()).await;
    let done = checked(&site, &cookie, "people.csv", &people()).await;
    site.post(&done, &cookie, &[]).await;
    let mut page = site.browse_as(&cookie, "/import", Look::default()).await;
    check_looks(&mut page, &site, &["/import", &path, &done]).await;
    finish(page, site).await;
}
