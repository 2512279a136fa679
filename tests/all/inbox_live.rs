//! The inbox's page over sockets: its event stream, its files and its shutdown.

use std::time::Duration;

use bday::dev::inbox::ResponseRules;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::support::inbox::{RunningInbox, body, ids};
use crate::support::wait::{eventually, within};

#[tokio::test]
async fn the_stream_sends_each_request_once_and_resumes_from_its_cursor() {
    let inbox = RunningInbox::responding(ResponseRules::default());
    inbox.post("e-1", body("e-1")).await;
    let mut events = Events::open(&inbox, None).await;
    let (_, first) = events.next().await;
    assert_eq!((ids(&first["arrivals"]), &first["totals"]["received"]), (vec![1], &json!(1)));
    inbox.post("e-2", body("e-2")).await;
    let (cursor, second) = events.next().await;
    assert_eq!((ids(&second["arrivals"]), &second["reset"]), (vec![2], &json!(false)));
    drop(events);

    inbox.post("e-3", body("e-3")).await;
    let (cursor, resumed) = Events::open(&inbox, Some(&cursor)).await.next().await;
    assert_eq!((ids(&resumed["arrivals"]), &resumed["reset"]), (vec![3], &json!(false)));

    inbox.log.clear();
    inbox.post("e-4", body("e-4")).await;
    let (_, cleared) = Events::open(&inbox, Some(&cursor)).await.next().await;
    assert_eq!((ids(&cleared["arrivals"]), &cleared["reset"]), (vec![4], &json!(true)));

    let (_, unknown) = Events::open(&inbox, Some("nonsense")).await.next().await;
    assert_eq!(ids(&unknown["arrivals"]), [4]);
}

#[tokio::test]
async fn a_burst_reaches_the_page_in_few_messages() {
    const BURST: u64 = 3000;
    let inbox = RunningInbox::responding(ResponseRules::default());
    let mut events = Events::open(&inbox, None).await;
    events.next().await;
    let statuses: Vec<u16> = stream::iter(0..BURST)
        .map(async |n: u64| inbox.post(&format!("e-{n}"), body("ignored")).await)
        .buffer_unordered(50)
        .collect()
        .await;
    assert!(statuses.len() as u64 == BURST && statuses.iter().all(|status| *status == 200));
    let totals = inbox.log.totals();
    assert_eq!(
        (totals.received, totals.events, totals.accepted, totals.duplicates),
        (BURST, BURST, BURST, 0)
    );
    let mut messages = 0;
    loop {
        let (_, message) = events.next().await;
        messages += 1;
        if message["totals"]["received"] == BURST {
            break;
        }
    }
    assert!(messages <= BURST / 10, "{messages} messages");
}

#[tokio::test]
async fn open_pages_and_slow_responses_do_not_delay_a_stop() {
    let slow = ResponseRules { latency: Duration::from_hours(1), ..ResponseRules::default() };
    let inbox = RunningInbox::responding(slow);
    let mut events = Events::open(&inbox, None).await;
    events.next().await;
    let log = inbox.log.clone();
    let url = inbox.base.clone();
    let request = inbox.http.post(url).header("webhook-id", "e-1").body(body("e-1")).send();
    let stop = async {
        // An event is counted when its request has been read; the request is counted with its response.
        eventually("the request", async || (log.totals().events == 1).then_some(())).await;
        inbox.stop().await;
    };
    let (response, ()) = tokio::join!(request, stop);
    assert_eq!(response.unwrap().status(), 200);
    assert_eq!(log.totals().accepted, 1);
}

#[tokio::test]
async fn the_page_loads_only_its_own_files_and_runs_no_inline_script() {
    let inbox = RunningInbox::responding(ResponseRules::default());
    for (path, kind) in [("/", "text/html"), ("/inbox.css", "text/css"), ("/inbox.js", "text/javascript")] {
        let response = inbox.http.get(format!("{}{path}", inbox.base)).send().await.unwrap();
        let headers = response.headers().clone();
        assert!(headers["content-type"].to_str().unwrap().starts_with(kind), "{headers:?}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        let text = response.text().await.unwrap();
        for foreign in [
            "http://",
            "https://",
            "//cdn",
            "@import",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "onclick=",
        ] {
            assert!(!text.contains(foreign), "{path} contains {foreign}");
        }
    }
    assert_eq!(inbox.http.get(format!("{}/healthz", inbox.base)).send().await.unwrap().status(), 200);
}

/// An open event stream.
struct Events {
    response: reqwest::Response,
    unread: String,
}

impl Events {
    async fn open(inbox: &RunningInbox, last_event_id: Option<&str>) -> Self {
        let mut request = inbox.http.get(format!("{}/events", inbox.base));
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, unread: String::new() }
    }

    /// Returns the id and the data of the next message.
    async fn next(&mut self) -> (String, Value) {
        loop {
            while let Some((message, rest)) = self.unread.split_once("\n\n") {
                let field = |name| message.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                let read =
                    field("id:").zip(field("data:")).map(|(id, data)| (id.to_owned(), data.to_owned()));
                let rest = rest.to_owned();
                self.unread = rest;
                if let Some((id, data)) = read {
                    return (id, serde_json::from_str(&data).unwrap());
                }
            }
            let chunk = within("a message", self.response.chunk()).await.unwrap().unwrap();
            self.unread += str::from_utf8(&chunk).unwrap();
        }
    }
}
