//! The inbox over sockets: its responses, counts and kept requests.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use bday::dev::inbox::{Inbox, InboxError, InboxOptions, ResponseRules};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::inbox::{DUE, RunningInbox, body, greeting, ids};
use crate::support::process::Bday;
use crate::support::wait::eventually;

#[tokio::test]
async fn a_greeting_is_accepted_and_listed_with_its_lateness() {
    let inbox = RunningInbox::responding(ResponseRules::default());
    assert_eq!(inbox.post("e-1", body("e-1")).await, 200);
    assert_eq!(
        inbox.get("/arrivals").await,
        json!([{
            "id": 1, "arrivedAt": "2026-03-01T07:00:00.412Z", "channel": "webhook", "path": "/hook", "webhookId": "e-1", "attempt": 1,
            "duplicate": false, "sample": false, "status": 200, "latenessMs": 412, "message": "Hey, John Doe it's your birthday",
            "userId": "u-1", "eventId": "e-1", "timestamp": DUE,
        }])
    );
    let lateness = inbox.log.totals().lateness_ms.unwrap();
    assert_eq!(lateness.max, 412);
}

#[tokio::test]
async fn a_request_with_a_foreign_host_gets_no_data_but_may_post() {
    let inbox = RunningInbox::responding(ResponseRules::default());
    let status = async |method: Method, path: &str, host: &str| {
        let request = inbox.http.request(method, format!("{}{path}", inbox.base)).header("host", host);
        request.send().await.unwrap().status().as_u16()
    };
    for host in ["rebound.example:8025", "127.0.0.1.example", "localhost.example:80"] {
        for path in ["/", "/inbox.js", "/events", "/arrivals"] {
            assert_eq!(status(Method::GET, path, host).await, 403, "{path} as {host}");
        }
        assert_eq!(status(Method::DELETE, "/arrivals", host).await, 403, "{host}");
        assert_eq!(status(Method::POST, "/", host).await, 200, "{host}");
        assert_eq!(status(Method::GET, "/healthz", host).await, 200, "{host}");
    }
    for host in ["localhost:8025", "127.0.0.1:8025", "[::1]:8025", "10.0.0.7", "inbox:8025"] {
        assert_eq!(status(Method::GET, "/arrivals", host).await, 200, "{host}");
    }
    assert_eq!(inbox.log.totals().received, 3);
}

#[tokio::test]
async fn a_second_ctrl_c_stops_the_inbox_immediately() {
    let arguments = ["inbox", "--listen", "127.0.0.1:0", "--latency-ms", "60000"];
    let mut inbox = Bday::new(arguments).start();
    let base = eventually("the address of the inbox", async || {
        let line = inbox.lines().into_iter().next()?;
        Some(line.split_whitespace().nth(2)?.to_owned())
    })
    .await;
    let address = base.strip_prefix("http://").unwrap().trim_end_matches('/');
    let mut sender = TcpStream::connect(address).await.unwrap();
    // An unfinished request delays the graceful stop, which would exit with 0.
    sender
        .write_all(b"POST / HTTP/1.1\r\nhost: inbox\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n")
        .await
        .unwrap();
    let mut response = [0; 12];
    sender.read_exact(&mut response).await.unwrap();
    assert_eq!(&response, b"HTTP/1.1 100");
    inbox.interrupt();
    eventually("it to refuse connections", async || TcpStream::connect(address).await.err()).await;
    inbox.interrupt();
    assert_eq!(inbox.exit().await.code(), Some(1));
}

#[tokio::test]
async fn a_repeat_is_a_duplicate_only_after_a_success() {
    let mut inbox = RunningInbox::responding(ResponseRules { fail_first: 2, ..ResponseRules::default() });
    let mut seen = Vec::new();
    for _ in 0..4 {
        let status = inbox.post("e-1", body("e-1")).await;
        let arrival = inbox.next().await;
        seen.push((status, arrival.attempt, arrival.duplicate));
    }
    assert_eq!(seen, [(500, 1, false), (500, 2, false), (200, 3, false), (200, 4, true)]);
    let totals = inbox.log.totals();
    assert_eq!(
        (totals.received, totals.events, totals.accepted, totals.failed, totals.duplicates),
        (4, 1, 2, 2, 1)
    );
}

#[tokio::test]
async fn a_second_sample_is_not_a_duplicate() {
    let inbox = RunningInbox::responding(ResponseRules::default());
    let arguments = ["webhook", "test", "--url", &format!("{}/hook", inbox.base)];
    for _ in 0..2 {
        let sent = Bday::new(arguments).env("BDAY__QUEUE__KIND", "postgres").finish().await;
        assert!(sent.status.success(), "{sent:?}");
    }
    let arrivals = inbox.log.after(0);
    let seen: Vec<_> =
        arrivals.iter().map(|arrival| (arrival.sample, arrival.attempt, arrival.duplicate)).collect();
    assert_eq!(seen, [(true, 1, false); 2]);
    let totals = inbox.log.totals();
    assert_eq!((totals.received, totals.duplicates, totals.lateness_ms), (2, 0, None));
}

#[tokio::test]
async fn without_a_webhook_id_events_are_identified_by_their_body() {
    let inbox = RunningInbox::responding(ResponseRules::default());
    for event in ["e-1", "e-2", "e-2"] {
        inbox.http.post(&inbox.base).body(body(event)).send().await.unwrap();
    }
    let totals = inbox.log.totals();
    assert_eq!((totals.received, totals.events, totals.duplicates), (3, 2, 1));
}

#[tokio::test]
async fn every_path_accepts_a_post_including_those_of_the_page() {
    let inbox =
        RunningInbox::responding(ResponseRules { status: StatusCode::ACCEPTED, ..ResponseRules::default() });
    for path in ["/", "/hook", "/events", "/arrivals", "/healthz", "/inbox.js", "/a/b?c=d"] {
        let response =
            inbox.http.post(format!("{}{path}", inbox.base)).body(body(path)).send().await.unwrap();
        assert_eq!(response.status(), 202, "{path}");
    }
    assert_eq!(inbox.log.totals().accepted, 7);
    let other = inbox.http.get(format!("{}/hook", inbox.base)).send().await.unwrap();
    assert_eq!(other.status(), 404);
    let other = inbox.http.put(format!("{}/", inbox.base)).send().await.unwrap();
    assert_eq!(other.status(), 404);
    assert_eq!(inbox.log.totals().received, 7);
}

#[tokio::test]
async fn a_request_without_a_greeting_is_accepted_as_unreadable() {
    let mut inbox = RunningInbox::responding(ResponseRules::default());
    let bodies: [&[u8]; 5] = [b"", b"<script>", b"\xff\x00", br#"{"message":"Hey"}"#, br#"{"hello":1}"#];
    for body in bodies {
        assert_eq!(inbox.post("e-1", body.to_vec()).await, 200);
        let arrival = inbox.next().await;
        assert!(arrival.content.greeting().is_none() && arrival.lateness_ms.is_none(), "{arrival:?}");
    }
    assert_eq!(inbox.log.totals().unreadable, 5);
    let listed = inbox.get("/arrivals").await;
    assert_eq!(
        (&listed[0]["unreadable"], &listed[1]["body"]),
        (&json!("the body is empty"), &json!("<script>"))
    );
}

#[tokio::test]
async fn a_body_over_64_kib_is_rejected_and_listed() {
    let mut inbox = RunningInbox::responding(ResponseRules::default());
    assert_eq!(inbox.post("e-1", greeting("e-1", &"x".repeat(60_000))).await, 200);
    assert_eq!(inbox.next().await.status, Some(200));
    assert_eq!(inbox.post("e-2", greeting("e-2", &"x".repeat(70_000))).await, 413);
    assert_eq!(inbox.next().await.status, Some(413));
    assert_eq!(inbox.get("/arrivals?after=1").await[0]["unreadable"], "the body is over 64 KiB");
}

#[tokio::test]
async fn a_request_whose_sender_disconnects_counts_as_unanswered() {
    let slow = ResponseRules { latency: Duration::from_hours(1), ..ResponseRules::default() };
    let mut inbox = RunningInbox::responding(slow);
    for attempt in 1..=2 {
        let mut sender = TcpStream::connect(inbox.base.trim_start_matches("http://")).await.unwrap();
        let body = body("e-1");
        let head = format!(
            "POST / HTTP/1.1\r\nhost: x\r\nwebhook-id: e-1\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        sender.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        drop(sender);
        let arrival = inbox.next().await;
        assert_eq!((arrival.attempt, arrival.status, arrival.duplicate), (attempt, None, false));
    }
    let totals = inbox.log.totals();
    assert_eq!((totals.received, totals.unanswered, totals.accepted, totals.lateness_ms), (2, 2, 0, None));
}

#[tokio::test]
async fn only_the_last_requests_are_kept_but_all_are_counted() {
    let inbox = RunningInbox::with(InboxOptions { keep: 3, ..InboxOptions::default() });
    for n in 1..=10 {
        inbox.post(&format!("e-{n}"), body(&format!("e-{n}"))).await;
    }
    assert_eq!(ids(&inbox.get("/arrivals").await), [8, 9, 10]);
    assert_eq!(ids(&inbox.get("/arrivals?after=8").await), [9, 10]);
    assert_eq!(ids(&inbox.get("/arrivals?after=10").await), [0; 0]);
    assert_eq!(inbox.log.totals().events, 10);
}

#[tokio::test]
async fn an_invalid_query_is_rejected() {
    let inbox = RunningInbox::responding(ResponseRules::default());
    for query in ["after=x", "after=-1", "before=3"] {
        let response = inbox.http.get(format!("{}/arrivals?{query}", inbox.base)).send().await.unwrap();
        assert_eq!(response.status(), 400, "{query}");
    }
}

#[tokio::test]
async fn clearing_removes_requests_and_totals_but_reuses_no_id() {
    let inbox = RunningInbox::responding(ResponseRules::default());
    inbox.post("e-1", body("e-1")).await;
    let cleared = inbox.http.delete(format!("{}/arrivals", inbox.base)).send().await.unwrap();
    assert_eq!(cleared.status(), 204);
    assert_eq!(inbox.get("/arrivals").await, json!([]));
    inbox.post("e-1", body("e-1")).await;
    let totals = inbox.log.totals();
    assert_eq!((totals.received, totals.duplicates), (1, 0));
    assert_eq!(ids(&inbox.get("/arrivals").await), [2]);
}

#[tokio::test]
async fn early_greetings_are_counted() {
    let inbox = RunningInbox::responding(ResponseRules::default());
    inbox.clock.set("2026-03-01T06:59:58.500Z".parse().unwrap());
    inbox.post("e-1", body("e-1")).await;
    assert_eq!(inbox.log.totals().early, 1);
    assert_eq!(inbox.get("/arrivals").await[0]["latenessMs"], -1500);
}

#[tokio::test]
async fn the_error_for_an_address_in_use_has_the_address_and_advice() {
    let inbox = RunningInbox::responding(ResponseRules::default());
    let listen = inbox.base.trim_start_matches("http://").parse().unwrap();
    let failed = Inbox::bind(InboxOptions { listen, ..InboxOptions::default() }, inbox.clock.clone());
    let error = failed.err().unwrap();
    assert!(matches!(error, InboxError::Listen { .. }));
    assert!(
        error.to_string().starts_with(&format!("cannot listen on {listen}; give a free address")),
        "{error}"
    );
}
