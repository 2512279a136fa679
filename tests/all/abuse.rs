//! Receivers that answer as badly as they can, and messages that nobody should find on a queue.

use std::time::Duration;

use bday::clock::Clock as _;
use bday::model::EventState::{Dead, Delivered, Delivering, Pending};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::receiver::Behaviour;
use crate::support::wait::eventually;
use crate::support::world::World;

const NINE: &str = "2026-05-02T09:00:00Z";

/// One event is due, and answers are waited for for a second.
async fn due() -> World {
    due_with(&[]).await
}

async fn due_with(more: &[(&str, &str)]) -> World {
    let settings = [("webhook.timeout_secs", "1"), ("webhook.connect_timeout_secs", "1")];
    let world = World::with("2026-05-02T00:00:00Z", &[&settings, more].concat()).await;
    world.write("u", "1990-05-02", "UTC").await;
    world.tick().await;
    world.set(NINE);
    world
}

fn bytes(text: &str) -> Behaviour {
    Behaviour::Bytes(text.as_bytes().to_vec())
}

/// What the receiver does once to the greeting, and what is known of it afterwards: outcome, reason, status.
async fn one_attempt(behaviour: Behaviour) -> (World, (String, Option<String>, Option<i16>)) {
    let world = due().await;
    world.receiver.script([behaviour]);
    world.minute().await;
    let records = world.receiver.records();
    assert_eq!(records.len(), 1, "one request");
    let event = records[0].event_id.parse().unwrap();
    let attempt = world.store.attempts(event).await.unwrap().remove(0);
    (world, (attempt.outcome, attempt.reason, attempt.status))
}

#[tokio::test]
async fn what_a_receiver_does_after_its_2xx_changes_nothing() {
    let answers = [
        ("no content", Behaviour::Status(204), 204),
        ("a body that is no JSON", Behaviour::Answer(200, String::new(), b"ok".to_vec()), 200),
        ("a body of a megabyte", Behaviour::Answer(201, String::new(), vec![b'x'; 1 << 20]), 201),
        ("a body that does not end", Behaviour::EndlessBody, 200),
        ("a body that comes byte by byte", Behaviour::SlowBody(Duration::from_millis(20)), 200),
        ("a reset in the body", Behaviour::ResetAfterHead, 200),
        ("a body shorter than it says", bytes("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nok"), 200),
        (
            "a broken chunk",
            bytes("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnot a length\r\n"),
            200,
        ),
        (
            "hints before the answer",
            bytes(
                "HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            ),
            200,
        ),
        (
            "an answer to come, and the answer",
            bytes("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"),
            202,
        ),
        ("a status that nobody knows", Behaviour::Status(299), 299),
    ];
    for (what, behaviour, status) in answers {
        let (world, attempt) = one_attempt(behaviour).await;
        assert_eq!(attempt, ("delivered".to_owned(), None, Some(status)), "{what}");
        assert_eq!(world.count(Delivered).await, 1, "{what}");
        assert_eq!(world.queue.depth().await.unwrap().in_flight, 0, "{what}: acked");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_2xx_is_a_failure_with_its_status_and_goes_again() {
    let location = |to: &str| format!("location: {to}\r\n");
    let answers = [
        ("a redirect to itself", Behaviour::Answer(307, location("/hook"), Vec::new()), 307),
        ("a redirect without an address", Behaviour::Status(308), 308),
        ("not modified", Behaviour::Status(304), 304),
        ("a switch of protocols", Behaviour::Answer(101, "upgrade: x\r\n".to_owned(), Vec::new()), 101),
        ("the last status there is", Behaviour::Status(999), 999),
        ("an endless page about an error", Behaviour::Answer(500, String::new(), vec![b'x'; 1 << 20]), 500),
    ];
    for (what, behaviour, status) in answers {
        let (world, attempt) = one_attempt(behaviour).await;
        assert_eq!(attempt, ("failed".to_owned(), Some("status".to_owned()), Some(status)), "{what}");
        assert_eq!(world.count(Pending).await, 1, "{what}");
    }
}

#[tokio::test]
async fn where_no_whole_answer_comes_the_outcome_is_unknown_and_goes_again() {
    let head = b"HTTP/1.1 200 OK\r\n".to_vec();
    let answers = [
        ("silence", Behaviour::Hang, "timeout"),
        ("a byte now and then", Behaviour::SlowBytes(Duration::from_millis(100)), "timeout"),
        ("a reset", Behaviour::Reset, "broken"),
        ("a closed connection", Behaviour::Bytes(Vec::new()), "broken"),
        ("half a head", bytes("HTTP/1.1 200 OK\r\ncontent-le"), "broken"),
        ("another protocol", bytes("SSH-2.0-OpenSSH_9.2\r\n"), "broken"),
        ("no status", bytes("HTTP/1.1 yes OK\r\n\r\n"), "broken"),
        ("headers without end", Behaviour::Flood(head.clone(), b"x-more: and more\r\n".to_vec()), "broken"),
        ("one header without end", Behaviour::Flood(head, vec![b'x'; 4096]), "broken"),
        (
            "a lying length",
            bytes("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx"),
            "broken",
        ),
        (
            "hints without end",
            Behaviour::Flood(Vec::new(), b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec()),
            "timeout",
        ),
    ];
    for (what, behaviour, reason) in answers {
        let (world, attempt) = one_attempt(behaviour).await;
        assert_eq!(attempt, ("unknown".to_owned(), Some(reason.to_owned()), None), "{what}");
        assert_eq!(world.count(Pending).await, 1, "{what}");
        // The next one carries the same id, so the receiver can tell.
        world.receiver.script([]);
        world.set("2026-05-02T09:00:31Z");
        world.minute().await;
        let ids: Vec<String> = world.receiver.records().into_iter().map(|record| record.event_id).collect();
        assert_eq!(ids, [ids[0].as_str(); 2], "{what}");
        assert_eq!(world.count(Delivered).await, 1, "{what}");
    }
}

#[tokio::test]
async fn two_copies_a_moment_apart_make_one_request() {
    let world = due().await;
    world.receiver.script([Behaviour::slow(Duration::from_millis(300))]);
    world.tick().await;
    // The first is in flight, at one worker, when the copy comes to another.
    let (first, second) = (world.pool(), world.pool());
    let copy = async {
        world.receiver.until_received(1).await;
        let event: Uuid = world.receiver.records()[0].event_id.parse().unwrap();
        sqlx::query("INSERT INTO outbox (event_ids, created_at, available_at) VALUES (ARRAY[$1], $2, $2)")
            .bind(event)
            .bind(world.clock.now())
            .execute(&world.database.pool().await)
            .await
            .unwrap();
        second.run_once().await.unwrap();
    };
    let (ended, ()) = tokio::join!(first.run_once(), copy);
    ended.unwrap();
    world.set("2026-05-02T09:01:00Z");
    second.run_once().await.unwrap();
    assert_eq!((world.receiver.records().len(), world.greetings()), (1, 1));
    let depth = world.queue.depth().await.unwrap();
    assert_eq!((depth.visible, depth.in_flight, depth.dead_letters), (0, 0, 0));
}

#[tokio::test]
async fn a_greeting_that_hangs_delays_no_other() {
    // Fewer places than greetings: the others share three.
    let world = due_with(&[("worker.max_in_flight", "4")]).await;
    for n in 0..30 {
        world.write(&format!("v{n}"), "1990-05-02", "UTC").await;
    }
    world.tick().await;
    world.receiver.next([Behaviour::Hang]);
    let pool = world.pool();
    // The others are recorded while that one still hangs, which it does until the timeout of a second.
    let others = async {
        eventually("the others", async || (world.count(Delivered).await == 30).then_some(())).await;
        world.count(Delivering).await
    };
    let (worked, hanging) = tokio::join!(pool.run_once(), others);
    worked.unwrap();
    assert_eq!(hanging, 1);
    assert_eq!((world.greetings(), world.count(Pending).await), (30, 1));
}

#[tokio::test]
async fn a_receiver_that_wants_less_is_asked_again_later_and_not_given_up() {
    let world = due().await;
    let later = "retry-after: 7200\r\n".to_owned();
    world.receiver.script([Behaviour::Answer(429, later, Vec::new()), Behaviour::Status(200)]);
    world.minute().await;
    world.set("2026-05-02T10:59:59Z");
    world.minute().await;
    assert_eq!((world.receiver.records().len(), world.count(Dead).await), (1, 0));
    world.set("2026-05-02T11:00:01Z");
    world.minute().await;
    assert_eq!(world.greetings(), 1);
}

#[tokio::test]
async fn the_second_birthday_is_greeted_like_the_first() {
    let world = due().await;
    world.minute().await;
    world.set("2027-05-01T12:00:00Z");
    world.minute().await;
    world.set("2027-05-02T09:00:00Z");
    world.minute().await;
    assert_eq!((world.greetings(), world.count(Delivered).await), (2, 2));
    assert_eq!(world.queue.depth().await.unwrap().dead_letters, 0);
}

/// Any JSON, and then some that is nearly a message.
fn foreign() -> impl Strategy<Value = String> {
    let event = prop_oneof![
        Just(json!("0197d5a0-0000-7000-8000-000000000000")),
        any::<i64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        Just(Value::Null),
        Just(json!({ "id": [] })),
    ];
    let version =
        prop_oneof![Just(json!(1)), any::<u64>().prop_map(Value::from), ".{0,3}".prop_map(Value::from)];
    let near = (version, event, any::<bool>()).prop_map(|(v, event, more)| {
        let mut message = json!({ "v": v, "events": [event] });
        if more {
            message["more"] = json!(true);
        }
        message.to_string()
    });
    let cut = (0_usize..60).prop_map(|at| {
        let message = bday::pipeline::queue::Message { pack: Some(1), event_ids: vec![Uuid::from_u128(7)] };
        let whole = bday::pipeline::queue::encode(&message);
        whole[..at.min(whole.len())].to_owned()
    });
    prop_oneof![near, cut, ".{0,200}", Just("[".repeat(4000)), Just("x".repeat(300_000))]
}

proptest! {
    /// Whatever is on the queue, it is read as the one event that it names, or refused with a reason.
    #[test]
    fn only_what_was_written_by_us_is_read(body in foreign()) {
        match bday::pipeline::queue::decode(&body) {
            Ok(message) => {
                let parsed: Value = serde_json::from_str(&body).unwrap();
                prop_assert_eq!(&parsed["v"], &json!(1));
                prop_assert_eq!(&parsed["events"], &json!(message.event_ids));
            }
            Err(error) => prop_assert!(error.to_string().len() < 300, "{error}"),
        }
    }

    /// A template is refused when it is loaded, or makes a text; it neither panics nor runs for ever.
    #[test]
    fn no_template_brings_the_process_down(
        parts in prop::collection::vec(
            prop_oneof![
                Just("{{ full_name }}".to_owned()), Just("{{".to_owned()), Just("}}".to_owned()),
                Just("{% for x in range(100000) %}".to_owned()), Just("{% endfor %}".to_owned()),
                Just("{% set x = x ~ x %}".to_owned()), Just("{{ years / 0 }}".to_owned()),
                Just("{{ first_name * 1000 }}".to_owned()), Just("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}".to_owned()),  Just("{% include 'x' %}".to_owned()), ".{0,12}",
            ],
            0..6,
        )
    ) {
        let _ = bday::pipeline::channel::Template::new(&parts.concat());
    }
}
