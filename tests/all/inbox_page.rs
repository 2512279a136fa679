//! The inbox's page in a browser.

use bday::dev::inbox::ResponseRules;
use serde_json::json;

use crate::support::browser::Page;
use crate::support::inbox::{RunningInbox, body, greeting};

const ROWS: &str = "document.querySelectorAll('#rows tr').length";

#[tokio::test]
async fn requests_appear_newest_first_and_a_duplicate_is_marked() {
    let inbox = RunningInbox::responding(ResponseRules::default());
    inbox.post("e-1", body("e-1")).await;
    let mut page = Page::open(&inbox.base).await;
    page.run(&format!("{ROWS} === 1")).await;
    inbox.post("e-2", greeting("e-2", "Hey, Zoë Ångström it's your birthday")).await;
    inbox.post("e-1", body("e-1")).await;
    page.run(&format!("{ROWS} === 3")).await;
    let text = page.run("[...document.querySelectorAll('#rows tr')].map((row) => row.innerText.replaceAll(/\\s+/g, ' ').trim())").await;
    assert_eq!(
        text,
        json!([
            "2026-03-01 07:00:00.412 07:00:00 412 ms Hey, John Doe it's your birthday e-1 2 200 duplicate",
            "2026-03-01 07:00:00.412 07:00:00 412 ms Hey, Zoë Ångström it's your birthday e-2 1 200",
            "2026-03-01 07:00:00.412 07:00:00 412 ms Hey, John Doe it's your birthday e-1 1 200",
        ])
    );
    let totals = page.run("['received', 'events', 'duplicates', 'failed', 'p50'].map((id) => document.getElementById(id).textContent)").await;
    assert_eq!(totals, json!(["3", "2", "1", "0", "412 ms"]));
    page.close().await;
}

#[tokio::test]
async fn markup_in_a_message_is_shown_as_text() {
    let inbox = RunningInbox::responding(ResponseRules::default());
    let message = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">";
    inbox.post("<b>e-1</b>", greeting("<i>e-1</i>", message)).await;
    inbox.post("e-2", format!("{message} is no JSON")).await;
    let mut page = Page::open(&inbox.base).await;
    page.run(&format!("{ROWS} === 2")).await;
    let made = page
        .run("String(document.querySelectorAll('#rows script, #rows img, #rows b, #rows i').length)")
        .await;
    assert_eq!(made, "0");
    assert_eq!(page.run("document.title").await, "2 · bday inbox");
    assert_eq!(page.run("document.querySelector('#rows tr:nth-child(2) .text').textContent").await, message);
    page.close().await;
}

#[tokio::test]
async fn requests_can_be_filtered_paused_and_cleared() {
    let inbox = RunningInbox::responding(ResponseRules::default());
    for n in 1..=150 {
        inbox.post(&format!("e-{n}"), greeting(&format!("e-{n}"), &format!("Hey, Person {n}!"))).await;
    }
    let mut page = Page::open(&inbox.base).await;
    page.run(&format!("{ROWS} === 100")).await;
    page.run("document.getElementById('more').click() || true").await;
    page.run(&format!("{ROWS} === 150")).await;
    page.run("(() => { const filter = document.getElementById('filter'); filter.value = 'PERSON 14'; return filter.dispatchEvent(new Event('input')); })()").await;
    page.run(&format!("{ROWS} === 11")).await; // 14 and 140 to 149
    page.run("document.getElementById('pause').click() || true").await;
    inbox.post("e-151", greeting("e-151", "Hey, Person 14 the second!")).await;
    page.run("document.getElementById('pause').textContent === 'Resume (1 new)'").await;
    page.run(&format!("{ROWS} === 11")).await;
    page.run("document.getElementById('pause').click() || true").await;
    page.run(&format!("{ROWS} === 12")).await;
    page.run("document.getElementById('clear').click() || true").await;
    page.run(
        "document.getElementById('received').textContent === '0' && document.getElementById('table').hidden",
    )
    .await;
    assert_eq!(inbox.log.totals().received, 0);
    page.close().await;
}
