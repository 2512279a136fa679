//! Traces: spans of all stages at a real OTLP/HTTP server, `traceparent` at the receiver, and trace ids in the database.

use std::collections::{BTreeMap, BTreeSet};

use bday::model::EventState::Delivered;
use serde_json::Value;
use uuid::Uuid;

use crate::channels_serve::until_metric;
use crate::serve::{Place, QUEUE};
use crate::support::collector::{CollectedSpan, Collector, SpanKind};
use crate::support::process::Bday;
use crate::support::receiver::Behaviour;
use crate::support::wait::eventually;

const LINK: &str = "https://jaeger.example.org/trace/{trace_id}";

/// Returns the command with this queue and collector.
fn traced(place: &Place, arguments: &[&str], queue: &str, collector: &Collector) -> Bday {
    place
        .bday(arguments)
        .env("BDAY__QUEUE__KIND", queue)
        .env("BDAY__TRACES__URL", collector.url())
        .env("BDAY__TRACES__SERVICE_NAME", "greetings")
        .env("BDAY__TRACES__LINK", LINK)
        .env("BDAY__RETRY__SCHEDULE_SECS", "0,0,0,0")
}

/// Delivers three greetings at the second attempt, and stops.
async fn greet_three(queue: &str) -> (Place, Collector) {
    let (place, collector) = tokio::join!(Place::new(), Collector::start());
    place.people_who_are_due(3).await;
    place.receiver.script([Behaviour::Status(500), Behaviour::Status(200)]);
    let mut daemon = traced(&place, &["serve"], queue, &collector).start();
    place.receiver.until_accepted(3).await;
    until_delivered(&place, 3).await;
    daemon.terminate();
    assert!(daemon.exit().await.success());
    (place, collector)
}

async fn until_delivered(place: &Place, n: i64) {
    eventually("the records", async || (place.count(Delivered).await == n).then_some(())).await;
}

/// Returns the attempts of all events, as the API shows them.
async fn attempts(place: &Place, collector: &Collector, queue: &str) -> Vec<Value> {
    let ids: Vec<Uuid> =
        sqlx::query_scalar("SELECT id FROM events").fetch_all(&place.database.pool().await).await.unwrap();
    let mut attempts = Vec::new();
    for id in ids {
        let shown = traced(place, &["event", "show", &id.to_string(), "--json"], queue, collector);
        let event: Value = serde_json::from_str(&shown.finish().await.succeeded()).unwrap();
        attempts.extend(event["attempts"].as_array().unwrap().clone());
    }
    attempts
}

fn ids(span: &CollectedSpan) -> (String, String) {
    (span.trace_id.clone(), span.span_id.clone())
}

/// Checks the traces of the ticks; returns the claims.
fn check_ticks(collector: &Collector) -> BTreeSet<(String, String)> {
    let ticks: BTreeSet<_> = collector.named("tick").iter().map(ids).collect();
    for name in ["claim", "send"] {
        let spans = collector.named(name);
        assert!(!spans.is_empty(), "no {name}");
        for span in &spans {
            assert!(ticks.contains(&(span.trace_id.clone(), span.parent.clone())), "{span:?}");
        }
    }
    let sum = |name, attribute| -> u64 {
        let spans = collector.named(name).into_iter();
        spans.map(|span| span.attributes[attribute].parse::<u64>().unwrap()).sum()
    };
    // Three first attempts and three retries.
    assert_eq!((sum("tick", "bday.due"), sum("claim", "bday.events"), sum("send", "bday.events")), (6, 6, 6));
    collector.named("claim").iter().map(ids).collect()
}

/// Checks the trace of each attempt, and its link to the claim. Returns the span of the request by trace.
fn check_attempts(
    collector: &Collector,
    claims: &BTreeSet<(String, String)>,
) -> BTreeMap<String, CollectedSpan> {
    let leases = collector.named("lease");
    assert_eq!(leases.len(), 6);
    let mut requests = BTreeMap::new();
    for lease in &leases {
        assert_eq!(lease.parent, "");
        assert!(lease.links.len() == 1 && claims.contains(&lease.links[0]), "{lease:?}");
        let child = |name| {
            let mut children =
                collector.named(name).into_iter().filter(|span| span.trace_id == lease.trace_id);
            let child = children.next().unwrap_or_else(|| panic!("no {name} in {lease:?}"));
            assert!(children.next().is_none() && child.parent == lease.span_id, "{child:?}");
            assert_eq!(child.attributes["bday.event"], lease.attributes["bday.event"]);
            assert_eq!(child.attributes["bday.attempt"], lease.attributes["bday.attempt"]);
            child
        };
        let (deliver, record) = (child("deliver"), child("record"));
        assert!(
            lease.nanos.1 <= deliver.nanos.0 && deliver.nanos.1 <= record.nanos.0,
            "{lease:?} {deliver:?}"
        );
        let failed = deliver.attributes["bday.attempt"] == "1";
        assert_eq!(deliver.error.is_some(), failed, "{deliver:?}");
        assert_eq!(deliver.attributes["bday.status"], if failed { "500" } else { "200" });
        requests.insert(lease.trace_id.clone(), deliver);
    }
    requests
}

async fn spans_of_all_stages_arrive(queue: &str) {
    let (place, collector) = greet_three(queue).await;
    let claims = check_ticks(&collector);
    let requests = check_attempts(&collector, &claims);
    for span in collector.spans() {
        assert!(span.nanos.0 <= span.nanos.1, "{span:?}");
        let kind = match span.name.as_str() {
            "send" => SpanKind::Producer,
            "lease" => SpanKind::Consumer,
            "deliver" => SpanKind::Client,
            _ => SpanKind::Internal,
        };
        assert_eq!(span.kind, kind, "{span:?}");
        assert_eq!(span.resource["service.name"], "greetings");
        let text = format!("{span:?}");
        assert!(!text.contains("John") && !text.contains("Doe"), "{text}");
    }
    // The receiver got the span of the request, and the database has its trace.
    let sent: BTreeSet<String> =
        place.receiver.records().iter().map(|record| record.headers["traceparent"].clone()).collect();
    let expected = |span: &CollectedSpan| format!("00-{}-{}-01", span.trace_id, span.span_id);
    assert_eq!(sent, requests.values().map(expected).collect());
    let attempts = attempts(&place, &collector, queue).await;
    let stored: BTreeSet<&str> =
        attempts.iter().map(|attempt| attempt["traceId"].as_str().unwrap()).collect();
    assert_eq!(stored, requests.keys().map(String::as_str).collect());
    for attempt in &attempts {
        let request = &requests[attempt["traceId"].as_str().unwrap()];
        assert_eq!(attempt["eventId"], request.attributes["bday.event"]);
        assert_eq!(attempt["number"].to_string(), request.attributes["bday.attempt"]);
    }
    let event = attempts[0]["eventId"].as_str().unwrap();
    let shown = traced(&place, &["event", "show", event], queue, &collector).finish().await.succeeded();
    let link = LINK.replace("{trace_id}", attempts[0]["traceId"].as_str().unwrap());
    assert!(shown.contains(&format!("trace of attempt 1: {link}")), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_of_all_stages_arrive_and_are_linked_through_sqs() {
    spans_of_all_stages_arrive("sqs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_of_all_stages_arrive_and_are_linked_through_postgres() {
    spans_of_all_stages_arrive("postgres").await;
}

/// Returns the attributes of the messages and the column of the packs that a scheduler has sent.
async fn contexts_of_packs(daemon: Bday, place: &Place) -> (Vec<Option<Value>>, Vec<Option<String>>) {
    place.people_who_are_due(3).await;
    let _daemon = daemon.env("BDAY__WORKER__MAX_IN_FLIGHT", "8").start();
    let sql = "SELECT traceparent FROM outbox WHERE sent_at IS NOT NULL";
    let pool = place.database.pool().await;
    let packs = eventually("three packs", async || {
        let packs: Vec<Option<String>> = sqlx::query_scalar(sql).fetch_all(&pool).await.unwrap();
        (packs.len() == 3).then_some(packs)
    })
    .await;
    (place.sqs.attributes(QUEUE), packs)
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_carry_the_span_of_their_claim() {
    let (place, collector) = tokio::join!(Place::new(), Collector::start());
    let scheduler = traced(&place, &["serve", "--role", "scheduler"], "sqs", &collector);
    let (messages, packs) = contexts_of_packs(scheduler, &place).await;
    assert_eq!(messages.len(), 3);
    for message in messages {
        let attribute = &message.unwrap()["traceparent"];
        assert_eq!(attribute["DataType"], "String");
        assert!(packs.contains(&attribute["StringValue"].as_str().map(str::to_owned)), "{attribute}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_messages_carry_no_span() {
    let place = Place::new().await;
    let scheduler = place.bday(&["serve", "--role", "scheduler"]);
    let (messages, packs) = contexts_of_packs(scheduler, &place).await;
    assert_eq!((messages, packs), (vec![None; 3], vec![None; 3]));
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_requests_have_no_traceparent_and_attempts_no_trace() {
    let (place, collector) = tokio::join!(Place::new(), Collector::start());
    place.people_who_are_due(3).await;
    let _daemon = place.serve();
    until_delivered(&place, 3).await;
    assert!(place.receiver.records().iter().all(|record| !record.headers.contains_key("traceparent")));
    let attempts = attempts(&place, &collector, "sqs").await;
    assert_eq!(attempts.len(), 3);
    assert!(attempts.iter().all(|attempt| attempt["traceId"].is_null()), "{attempts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_that_are_not_sampled_are_not_traced() {
    let (place, collector) = tokio::join!(Place::new(), Collector::start());
    place.people_who_are_due(3).await;
    let mut daemon =
        traced(&place, &["serve"], "sqs", &collector).env("BDAY__TRACES__SAMPLE_RATIO", "0").start();
    until_delivered(&place, 3).await;
    daemon.terminate();
    daemon.exit().await;
    let names: BTreeSet<String> = collector.spans().into_iter().map(|span| span.name).collect();
    assert_eq!(names, ["tick", "claim", "send"].map(str::to_owned).into());
    assert!(place.receiver.records().iter().all(|record| !record.headers.contains_key("traceparent")));
    let attempts = attempts(&place, &collector, "sqs").await;
    assert!(attempts.iter().all(|attempt| attempt["traceId"].is_null()), "{attempts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_delays_no_greeting() {
    let (place, collector) = tokio::join!(Place::new(), Collector::start());
    collector.behave(Behaviour::Hang);
    place.people_who_are_due(300).await;
    let mut daemon = traced(&place, &["serve"], "sqs", &collector).start();
    until_delivered(&place, 300).await;
    place.until_quiet().await;
    place.assert_each_once(300);
    collector.until_asked().await;
    daemon.terminate();
    assert!(daemon.exit().await.success());
    daemon.logged("spans are lost: the collector did not accept them before the exit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_for_an_unavailable_collector_are_dropped_and_counted() {
    let (place, collector) = tokio::join!(Place::new(), Collector::start());
    collector.refuse().await;
    place.people_who_are_due(1).await;
    let daemon = traced(&place, &["serve"], "sqs", &collector).start();
    until_delivered(&place, 1).await;
    let warning = daemon.logged("trace export failed").await;
    assert!(warning["error"].as_str().unwrap().contains("refused"), "{warning}");
    // The tick and the attempt have three spans each, which may be in two batches.
    let dropped = |n| format!("bday_spans_dropped_total{{reason=\"not_exported\"}} {n}");
    until_metric(&daemon, &dropped(6)).await;
    until_metric(&daemon, "bday_spans_dropped_total{reason=\"queue_full\"} 0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_the_collector_are_sent_and_not_shown() {
    let (place, collector) = tokio::join!(Place::new(), Collector::start());
    place.people_who_are_due(1).await;
    let headers = "authorization=Bearer%20hunter2";
    let mut daemon = traced(&place, &["serve"], "sqs", &collector)
        .env("BDAY__TRACES__HEADERS", headers)
        .env("BDAY__LOG__LEVEL", "debug")
        .start();
    collector.until_asked().await;
    daemon.terminate();
    daemon.exit().await;
    assert!(collector.authorizations().iter().all(|value| value == "Bearer hunter2"));
    assert!(!collector.authorizations().is_empty() && !daemon.lines().join("\n").contains("hunter2"));
    let shown =
        place.bday(&["config", "show"]).env("BDAY__TRACES__HEADERS", headers).finish().await.succeeded();
    assert!(shown.contains("traces.headers") && !shown.contains("hunter2"), "{shown}");
}
