//! Receivers that violate HTTP, and invalid messages on the queue.

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

/// Returns a world with one due event and a response timeout of one second.
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

/// Makes one attempt; returns its recorded outcome, reason and status.
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
async fn any_2xx_status_delivers_the_event_despite_an_invalid_body() {
    let answers = [
        ("no content", Behaviour::Status(204), 204),
        ("a body that is not JSON", Behaviour::Answer(200, String::new(), b"ok".to_vec()), 200),
        ("a body of a megabyte", Behaviour::Answer(201, String::new(), vec![b'x'; 1 << 20]), 201),
        ("an endless body", Behaviour::EndlessBody, 200),
        ("a body sent byte by byte", Behaviour::SlowBody(Duration::from_millis(20)), 200),
        ("a reset in the body", Behaviour::ResetAfterHead, 200),
        (
            "a body shorter than its content-length",
            bytes("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nok"),
            200,
        ),
        (
            "a broken chunk",
            bytes("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnot a length\r\n"),
            200,
        ),
        (
            "early hints before the response",
            bytes(
                "HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            ),
            200,
        ),
        (
            "100 Continue before the response",
            bytes("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"),
            202,
        ),
        ("an unknown status", Behaviour::Status(299), 299),
    ];
    for (what, behaviour, status) in answers {
        let (world, attempt) = one_attempt(behaviour).await;
        assert_eq!(attempt, ("delivered".to_owned(), None, Some(status)), "{what}");
        assert_eq!(world.count(Delivered).await, 1, "{what}");
        assert_eq!(world.queue.depth().await.unwrap().in_flight, 0, "{what}: not acked");
    }
}

#[tokio::test]
async fn a_status_other_than_2xx_is_recorded_and_retried() {
    let location = |to: &str| format!("location: {to}\r\n");
    let answers = [
        ("a redirect to itself", Behaviour::Answer(307, location("/hook"), Vec::new()), 307),
        ("a redirect without a location", Behaviour::Status(308), 308),
        ("not modified", Behaviour::Status(304), 304),
        ("a protocol upgrade", Behaviour::Answer(101, "upgrade: x\r\n".to_owned(), Vec::new()), 101),
        ("the highest status", Behaviour::Status(999), 999),
        ("an error page of a megabyte", Behaviour::Answer(500, String::new(), vec![b'x'; 1 << 20]), 500),
    ];
    for (what, behaviour, status) in answers {
        let (world, attempt) = one_attempt(behaviour).await;
        assert_eq!(attempt, ("failed".to_owned(), Some("status".to_owned()), Some(status)), "{what}");
        assert_eq!(world.count(Pending).await, 1, "{what}");
    }
}

#[tokio::test]
async fn an_incomplete_response_is_recorded_as_unknown_and_retried() {
    let head = b"HTTP/1.1 200 OK\r\n".to_vec();
    let answers = [
        ("no response", Behaviour::Hang, "timeout"),
        ("a byte every 100 ms", Behaviour::SlowBytes(Duration::from_millis(100)), "timeout"),
        ("a reset", Behaviour::Reset, "broken"),
        ("a closed connection", Behaviour::Bytes(Vec::new()), "broken"),
        ("an incomplete head", bytes("HTTP/1.1 200 OK\r\ncontent-le"), "broken"),
        ("another protocol", bytes("SSH-2.0-OpenSSH_9.2\r\n"), "broken"),
        ("an invalid status", bytes("HTTP/1.1 yes OK\r\n\r\n"), "broken"),
        ("endless headers", Behaviour::Flood(head.clone(), b"x-more: and more\r\n".to_vec()), "broken"),
        ("an endless header", Behaviour::Flood(head, vec![b'x'; 4096]), "broken"),
        (
            "contradictory lengths",
            bytes("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx"),
            "broken",
        ),
        (
            "endless early hints",
            Behaviour::Flood(Vec::new(), b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec()),
            "timeout",
        ),
    ];
    for (what, behaviour, reason) in answers {
        let (world, attempt) = one_attempt(behaviour).await;
        assert_eq!(attempt, ("unknown".to_owned(), Some(reason.to_owned()), None), "{what}");
        assert_eq!(world.count(Pending).await, 1, "{what}");
        // The retry has the same id, so that the receiver can drop a duplicate.
        world.receiver.script([]);
        world.set("2026-05-02T09:00:31Z");
        world.minute().await;
        let ids: Vec<String> = world.receiver.records().into_iter().map(|record| record.event_id).collect();
        assert_eq!(ids, [ids[0].as_str(); 2], "{what}");
        assert_eq!(world.count(Delivered).await, 1, "{what}");
    }
}

#[tokio::test]
async fn a_copy_of_a_pack_in_flight_causes_no_second_request() {
    let world = due().await;
    world.receiver.script([Behaviour::slow(Duration::from_millis(300))]);
    world.tick().await;
    // The second worker receives the copy while the request of the first is in flight.
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
async fn a_hanging_greeting_does_not_delay_others() {
    // The hanging request occupies one of four slots; the other greetings share three.
    let world = due_with(&[("worker.max_in_flight", "4")]).await;
    for n in 0..30 {
        world.write(&format!("v{n}"), "1990-05-02", "UTC").await;
    }
    world.tick().await;
    world.receiver.next([Behaviour::Hang]);
    let pool = world.pool();
    // The other deliveries are recorded before the hanging request times out.
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
async fn retry_after_delays_the_next_attempt() {
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
async fn a_user_is_greeted_again_a_year_later() {
    let world = due().await;
    world.minute().await;
    world.set("2027-05-01T12:00:00Z");
    world.minute().await;
    world.set("2027-05-02T09:00:00Z");
    world.minute().await;
    assert_eq!((world.greetings(), world.count(Delivered).await), (2, 2));
    assert_eq!(world.queue.depth().await.unwrap().dead_letters, 0);
}

/// Generates arbitrary text, and JSON that resembles a message.
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
    #[test]
    fn decode_returns_the_events_of_a_message_or_a_short_error(body in foreign()) {
        match bday::pipeline::queue::decode(&body) {
            Ok(message) => {
                let parsed: Value = serde_json::from_str(&body).unwrap();
                prop_assert_eq!(&parsed["v"], &json!(1));
                prop_assert_eq!(&parsed["events"], &json!(message.event_ids));
            }
            Err(error) => prop_assert!(error.to_string().len() < 300, "{error}"),
        }
    }

    #[test]
    fn no_template_panics_or_runs_forever(
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
        let _ = bday::pipeline::channel::Template::new(String::new(), &parts.concat(), bday::pipeline::channel::Form::Html);
    }
}
