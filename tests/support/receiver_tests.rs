//! Tests of the webhook receiver, with the HTTP client of the product.

use std::time::Duration;

use reqwest::StatusCode;

use tokio::task::JoinSet;

use crate::support::receiver::{Behaviour, Receiver};
use crate::support::wait::within;

async fn post(receiver: &Receiver, event_id: &str) -> Result<StatusCode, reqwest::Error> {
    let request = reqwest::Client::new().post(receiver.url()).header("webhook-id", event_id).body("{}");
    let answer = request.timeout(Duration::from_secs(5)).send().await?;
    Ok(answer.status())
}

#[tokio::test]
async fn a_request_is_kept_as_it_came() {
    let receiver = Receiver::start().await;
    let sent =
        reqwest::Client::new().post(receiver.url()).header("Webhook-Id", "a").body(r#"{"x":1}"#).send();
    assert_eq!(sent.await.unwrap().status(), 200);
    let records = receiver.records();
    assert_eq!(
        (records[0].event_id.as_str(), records[0].method.as_str(), records[0].path.as_str()),
        ("a", "POST", "/hook")
    );
    assert_eq!(records[0].body, br#"{"x":1}"#);
    assert_eq!(records[0].headers["content-length"], "7");
    assert!(records[0].accepted);
    assert!(records[0].at < Duration::from_secs(30));
}

#[tokio::test]
async fn a_script_holds_for_each_event_by_itself() {
    let receiver = Receiver::start().await;
    receiver.script([Behaviour::Status(500), Behaviour::Status(503), Behaviour::Status(204)]);
    receiver.script_for("b", [Behaviour::Status(410)]);
    let mut answers = Vec::new();
    for event_id in ["a", "b", "a", "c", "a", "a", "b"] {
        answers.push(post(&receiver, event_id).await.unwrap().as_u16());
    }
    assert_eq!(answers, [500, 410, 503, 500, 204, 204, 410]);
    assert_eq!(receiver.accepted().into_iter().collect::<Vec<_>>(), [("a".to_owned(), 2)]);
    assert_eq!((receiver.tally().accepted, receiver.tally().repeats), (2, 1));
}

#[tokio::test]
async fn a_counting_receiver_tells_events_from_repeats() {
    let receiver = Receiver::counting().await;
    let id = uuid::Uuid::now_v7().to_string();
    for event_id in [id.as_str(), "other", &id] {
        assert_eq!(post(&receiver, event_id).await.unwrap(), 200);
    }
    receiver.until_accepted(3).await;
    let tally = receiver.tally();
    assert_eq!((tally.accepted, tally.events(), tally.repeats, tally.arrivals.len()), (3, 2, 1, 3));
    assert!(receiver.records().is_empty());
    receiver.clear();
    assert_eq!(receiver.tally().accepted, 0);
}

#[tokio::test]
async fn every_way_to_break_an_answer_shows_at_the_client() {
    let receiver = Receiver::start().await;
    receiver.next([Behaviour::Reset]);
    assert!(post(&receiver, "a").await.unwrap_err().is_request());
    receiver.next([Behaviour::Bytes(b"SMTP?\r\n\r\n".to_vec())]);
    assert!(post(&receiver, "a").await.unwrap_err().is_request());

    receiver.next([Behaviour::ResetAfterHead]);
    let answer = reqwest::Client::new().post(receiver.url()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.is_err());

    receiver.next([Behaviour::EndlessBody]);
    let mut answer = reqwest::Client::new().post(receiver.url()).send().await.unwrap();
    let mut read = 0;
    while read < 1 << 20 {
        read += answer.chunk().await.unwrap().unwrap().len();
    }
    drop(answer);

    receiver
        .next([Behaviour::SlowBytes(Duration::from_millis(1)), Behaviour::slow(Duration::from_millis(1))]);
    assert_eq!(post(&receiver, "a").await.unwrap(), 200);
    assert_eq!(post(&receiver, "a").await.unwrap(), 200);

    receiver.next([Behaviour::Answer(429, "retry-after: 7\r\n".to_owned(), b"slow down".to_vec())]);
    let answer = reqwest::Client::new().post(receiver.url()).send().await.unwrap();
    assert_eq!(answer.headers()["retry-after"], "7");
    assert_eq!(answer.text().await.unwrap(), "slow down");

    receiver.refuse().await;
    assert!(post(&receiver, "a").await.unwrap_err().is_connect());
    receiver.accept().await;
    assert_eq!(post(&receiver, "a").await.unwrap(), 200);
}

#[tokio::test]
async fn a_sender_that_hangs_up_has_not_been_accepted() {
    let receiver = Receiver::start().await;
    receiver.next([Behaviour::Hang, Behaviour::slow(Duration::from_hours(1))]);
    for n in 1..=2 {
        let request = reqwest::Client::new().post(receiver.url()).header("webhook-id", "a").send();
        tokio::select! {
            answer = request => panic!("the request was answered: {answer:?}"),
            () = receiver.until_received(n) => {}
        }
    }
    assert_eq!(within("the next one", post(&receiver, "b")).await.unwrap(), 200);
    assert_eq!(receiver.accepted().into_keys().collect::<Vec<_>>(), ["b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn concurrent_requests_are_each_counted_in_any_order() {
    let (receiver, client) = (Receiver::start().await, reqwest::Client::new());
    for _ in 0..500 {
        receiver.clear();
        let posts = (0..16).map(|n: u32| {
            let post = client.post(receiver.url()).header("webhook-id", n.to_string());
            post.send()
        });
        let posts: JoinSet<_> = posts.collect();
        for answer in posts.join_all().await {
            assert_eq!(answer.unwrap().status(), 200);
        }
        receiver.until_accepted(16).await;
    }
}
