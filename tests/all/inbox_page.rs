//! The inbox's page in a browser.

use bday::dev::inbox::ResponseRules;
use serde_json::json;

use crate::support::browser::Page;
use crate::support::inbox::{RunningInbox, body, greeting};
use crate::support::mail_sender::Sender;

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
            "2026-03-01 07:00:00.412 webhook 07:00:00 412 ms Hey, John Doe it's your birthday e-1 2 200 duplicate",
            "2026-03-01 07:00:00.412 webhook 07:00:00 412 ms Hey, Zoë Ångström it's your birthday e-2 1 200",
            "2026-03-01 07:00:00.412 webhook 07:00:00 412 ms Hey, John Doe it's your birthday e-1 1 200",
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
async fn mails_and_slack_messages_are_shown_beside_webhooks_and_filtered_by_channel() {
    let inbox = RunningInbox::responding(ResponseRules::default());
    inbox.post("e-1", body("e-1")).await;
    let slack = json!({"channel": "U0ADA", "text": "Hey from Slack"});
    let slack =
        inbox.http.post(format!("{}/api/chat.postMessage", inbox.base)).bearer_auth("demo").json(&slack);
    slack.send().await.unwrap();
    let mut sender = Sender::connect(inbox.smtp).await;
    let html = "<p style='color: rgb(1, 2, 3)'>Hey</p><script>document.title = 'taken'</script>";
    let mail = format!(
        "From: bday@example.org\r\nSubject: <b>Happy</b> birthday\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n\
         --b\r\n\r\nHey from mail\r\n--b\r\nContent-Type: text/html\r\n\r\n{html}\r\n--b--\r\n"
    );
    assert_eq!(sender.send("ada@example.org", &mail).await, 250);
    let mut page = Page::open(&inbox.base).await;
    page.run(&format!("{ROWS} === 3")).await;
    let rows = "[...document.querySelectorAll('#rows tr')].map((row) => \
                [row.querySelector('.channel').innerText, row.querySelector('.message').innerText])";
    assert_eq!(
        page.run(rows).await,
        json!([
            [
                "mail",
                "bday@example.org → ada@example.org\n<b>Happy</b> birthday\nHey from mail\nHTML version"
            ],
            ["Slack", "→ U0ADA\nHey from Slack"],
            ["webhook", "Hey, John Doe it's your birthday\ne-1"],
        ])
    );
    let link = page.run("document.querySelector('#rows a').href").await;
    page.run("(() => { const channel = document.getElementById('channel'); channel.value = 'slack'; return channel.dispatchEvent(new Event('change')); })()").await;
    page.run(&format!("{ROWS} === 1 && document.querySelector('#rows .channel').innerText === 'Slack'"))
        .await;
    assert_eq!(page.run("document.getElementById('shown').textContent").await, "1 of the last 3 match");
    page.close().await;

    let mut mail = Page::open(link.as_str().unwrap()).await;
    mail.run("document.querySelector('p').textContent === 'Hey'").await;
    assert_eq!(mail.run("getComputedStyle(document.querySelector('p')).color").await, "rgb(1, 2, 3)");
    assert_eq!(mail.run("`title ${document.title}`").await, "title ");
    assert_eq!(mail.run("window.origin").await, "null");
    mail.close().await;
}

#[tokio::test]
async fn screen_readers_hear_counts_with_their_singular() {
    let inbox = RunningInbox::responding(ResponseRules::default());
    inbox.post("e-1", body("e-1")).await;
    inbox.post("e-1", body("e-1")).await;
    let mut page = Page::open(&inbox.base).await;
    page.run(&format!("{ROWS} === 2")).await;
    let heard = page.run("document.getElementById('announcement').textContent").await;
    assert_eq!(heard, "2 received, 1 duplicate, 0 failures");
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
