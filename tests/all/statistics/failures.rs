//! Groups of failures, and the filters that select them.

use std::collections::BTreeSet;

use axum::body::Body;
use bday::model::EventState::{Dead, Queued};
use bday::operations::dead_letters::RedriveOptions;
use bday::store::{DeadFilter, FailureGroup};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{date, insert_event};
use crate::support::api::Server;
use crate::support::world::{World, instant};

const NINE: &str = "2026-05-02T09:00:00Z";

/// The dead events of the tests: reason, and channel and status of the last attempt.
const FAILURES: [(&str, Option<&str>, Option<i16>); 8] = [
    ("status", Some("webhook"), Some(503)),
    ("status", Some("webhook"), Some(503)),
    ("status", Some("webhook"), Some(500)),
    ("status", Some("mail"), Some(503)),
    ("timeout", Some("webhook"), None),
    ("timeout", Some("mail"), None),
    ("bounced", Some("mail"), Some(550)),
    ("unreadable", None, None),
];

/// Returns a world in which users have the dead events [`FAILURES`], and its events.
async fn world() -> (World, Vec<Uuid>) {
    let world = World::at("2026-05-02T00:00:00Z").await;
    world.tick().await;
    world.set(NINE);
    let pool = world.database.pool().await;
    let mut events = Vec::new();
    for (n, (reason, channel, status)) in FAILURES.into_iter().enumerate() {
        let event = world.event_of(world.write(&format!("u{n}"), "1990-05-02", "UTC").await).await;
        // A refused contact removes the channel of its event.
        let sql = "
            UPDATE events SET state = 'dead', reason = $2, attempts = 2, next_attempt_at = NULL, last_error = 'error of ' || $2,
                              channel = CASE WHEN $2 <> 'bounced' THEN $3 END, finished_at = due_at + $4 * interval '1 minute'
            WHERE id = $1";
        let update = sqlx::query(sql).bind(event).bind(reason).bind(channel).bind(n as i32);
        update.execute(&pool).await.unwrap();
        let sql = "
            INSERT INTO attempts (event_id, number, outcome, channel, status, reason)
            SELECT $1, n, 'failed', $3, CASE WHEN n = 2 THEN $4 ELSE 429 END, $2 FROM generate_series(1, 2) AS n WHERE $3 IS NOT NULL";
        let insert = sqlx::query(sql).bind(event).bind(reason).bind(channel).bind(status);
        insert.execute(&pool).await.unwrap();
        events.push(event);
    }
    insert_event(&world, date("2026-05-02"), "skipped", Some("late")).await;
    (world, events)
}

fn filter(group: &FailureGroup) -> DeadFilter {
    DeadFilter {
        reasons: vec![group.reason.parse().unwrap()],
        channels: vec![group.channel.as_deref().map(|channel| channel.parse().unwrap())],
        statuses: vec![group.status],
        ..DeadFilter::default()
    }
}

async fn groups(world: &World, filter: &DeadFilter) -> Vec<FailureGroup> {
    let now = instant("2026-05-02T10:00:00Z");
    let found = world.store.failure_groups(now, filter, 100).await.unwrap();
    assert!(!found.truncated);
    found.groups
}

#[tokio::test]
async fn dead_events_are_grouped_by_reason_and_last_channel_and_status() {
    let (world, events) = world().await;
    let groups = groups(&world, &DeadFilter::default()).await;
    let counts: Vec<_> = groups
        .iter()
        .map(|group| (&*group.reason, group.channel.as_deref(), group.status, group.count))
        .collect();
    assert_eq!(
        counts,
        [
            ("status", Some("webhook"), Some(503), 2),
            ("bounced", Some("mail"), Some(550), 1),
            ("status", Some("mail"), Some(503), 1),
            ("status", Some("webhook"), Some(500), 1),
            ("timeout", Some("mail"), None, 1),
            ("timeout", Some("webhook"), None, 1),
            ("unreadable", None, None, 1),
        ]
    );
    let largest = &groups[0];
    assert_eq!(largest.oldest_at, Some(instant(NINE)));
    assert_eq!(largest.newest_at, Some(instant("2026-05-02T09:01:00Z")));
    assert!(events[..2].contains(&largest.sample_event_id));
    assert_eq!(largest.sample_error.as_deref(), Some("error of status"));
    let one = world.store.failure_groups(instant(NINE), &DeadFilter::default(), 1).await.unwrap();
    assert_eq!((one.groups.len(), one.truncated), (1, true));
    let since = DeadFilter { since: Some(instant("2026-05-02T09:01:00Z")), ..DeadFilter::default() };
    assert_eq!(super::failures::groups(&world, &since).await[0].count, 1);
}

#[tokio::test]
async fn a_group_selects_exactly_its_events() {
    let (world, events) = world().await;
    let scanned = world.store.dead_letter_events(&events).await.unwrap();
    let mut seen = BTreeSet::new();
    for group in groups(&world, &DeadFilter::default()).await {
        let filter = filter(&group);
        let expected: BTreeSet<Uuid> = (events.iter().zip(FAILURES))
            .filter(|(_, (reason, channel, status))| {
                (*reason, *channel, *status) == (&*group.reason, group.channel.as_deref(), group.status)
            })
            .map(|(event, _)| *event)
            .collect();
        assert_eq!(expected.len() as i64, group.count);
        let listed = world.store.dead_events(&filter, None, 100).await.unwrap();
        assert_eq!(listed.iter().map(|dead| dead.event.id).collect::<BTreeSet<_>>(), expected, "{group:?}");
        assert_eq!(world.store.count_dead(&filter).await.unwrap(), expected.len() as u64);
        let matched = scanned.iter().filter(|event| filter.matches(event)).map(|event| event.id);
        assert_eq!(matched.collect::<BTreeSet<_>>(), expected, "messages of {group:?}");
        assert_eq!(super::failures::groups(&world, &filter).await, [group]);
        seen.extend(expected);
    }
    assert_eq!(seen.len(), FAILURES.len());
}

#[tokio::test]
async fn a_redrive_of_a_group_leaves_the_other_events() {
    let (world, events) = world().await;
    let found = groups(&world, &DeadFilter::default()).await;
    let options = RedriveOptions { filter: filter(&found[0]), ..RedriveOptions::default() };
    let dry = RedriveOptions { dry_run: true, ..options.clone() };
    let (report, result) = world.dead_letters().redrive(&dry, |_| {}).await;
    result.unwrap();
    assert_eq!((report.redriven, world.count(Dead).await), (2, 8));
    let (report, result) = world.dead_letters().redrive(&options, |_| {}).await;
    result.unwrap();
    assert_eq!((report.redriven, world.count(Dead).await), (2, 6));
    for event in &events[..2] {
        assert_eq!(world.store.event(*event).await.unwrap().unwrap().state, Queued);
    }
    assert_eq!(groups(&world, &DeadFilter::default()).await, found[1..]);
}

#[tokio::test]
async fn the_api_groups_and_redrives_failures() {
    let (world, _) = world().await;
    let server = Server::on(&world);
    let groups = async |query: &str| {
        let answer = server.get(&format!("/v1/dead-letters/groups?{query}")).await.expect(200);
        assert_eq!(answer["truncated"], false);
        answer["groups"].as_array().unwrap().clone()
    };
    assert_eq!(groups("").await.len(), 7);
    assert_eq!(groups("channel=none").await[0]["reason"], "unreadable");
    assert_eq!(groups("status=none,550&channel=mail").await.len(), 2);
    let group = &groups("reason=timeout&channel=webhook").await[0];
    assert_eq!((&group["status"], &group["count"]), (&Value::Null, &json!(1)));
    let body =
        json!({"reasons": [group["reason"]], "channels": [group["channel"]], "statuses": [group["status"]]});
    let report = server.json("POST", "/v1/dead-letters/redrive", &body).await.expect(200);
    assert_eq!(report["redriven"], 1);
    assert!(groups("reason=timeout&channel=webhook").await.is_empty(), "the redrive is visible at once");
    let listed = server.get("/v1/dead-letters?channel=mail&status=none").await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    let wrong = server.get("/v1/dead-letters/groups?channel=fax&status=50x&cursor=1").await;
    wrong.expect(400);
    assert_eq!(wrong.fields(), ["channel", "cursor", "status"]);
    let cursor = "1780000000000000_0198f0c05b7e7cc398c4dc0c0c07398f";
    let wrong = server.get(&format!("/v1/dead-letters/groups?cursor={cursor}")).await;
    wrong.expect(400);
    assert_eq!(wrong.fields(), ["cursor"]);
}

#[tokio::test]
async fn the_api_counts_the_events_of_dates() {
    let (world, events) = world().await;
    let server = Server::on(&world);
    let today = server.get("/v1/statistics").await.expect(200);
    assert_eq!((&today["date"], &today["countedAt"]), (&json!("2026-05-02"), &json!(NINE)));
    assert_eq!(today["counts"], json!({"sent": 0, "failed": 8, "skipped": 1, "cancelled": 0, "due": 0}));
    let first = json!({
        "dueAt": NINE, "state": "dead", "reason": "bounced", "channel": "mail", "late": false, "count": 1
    });
    assert_eq!(today["groups"][0], first);
    assert_eq!(server.get("/v1/statistics?date=2026-05-02").await.expect(200), today);
    let other = server.get("/v1/statistics?date=0001-01-01").await.expect(200);
    assert_eq!((&other["groups"], &other["lateness"]), (&json!([]), &Value::Null));
    server.get("/v1/statistics?date=9999-12-31").await.expect(200);

    // A change by this process is visible at once.
    let retry = format!("/v1/events/{}/retry", events[0]);
    server.call("POST", &retry, &[], Body::empty()).await.expect(200);
    assert_eq!(server.get("/v1/statistics").await.expect(200)["counts"]["failed"], 7);

    let year = server.get("/v1/statistics/days").await.expect(200);
    let days = year["days"].as_array().unwrap();
    assert_eq!((days.len(), &days[0]["date"]), (365, &json!("2026-01-01")));
    assert_eq!(days[121]["counts"], json!({"sent": 0, "failed": 7, "skipped": 1, "cancelled": 0, "due": 1}));
    assert_eq!(year["busiestMinutes"], json!([]));
    for (wrong, field) in [
        ("/v1/statistics?date=2026-02-30", "date"),
        ("/v1/statistics/days?from=2026-01-01&to=2025-12-31", "to"),
        ("/v1/statistics/days?from=2026-01-01&to=2027-02-05", "to"),
        ("/v1/statistics/days?from=soon", "from"),
    ] {
        let answer = server.get(wrong).await;
        answer.expect(400);
        assert_eq!(answer.fields(), [field], "{wrong}");
    }
}
