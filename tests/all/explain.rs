//! Explanations of every status of a greeting.

use std::convert::Infallible;

use bday::model::{BIRTHDAY, NewUser};
use bday::people::explain::ExplainSettings;
use bday::people::explain::{Explanation, Status, ThisYear, explain};
use bday::store::{SaveOutcome, UserChange, UserHistory, UserRef};
use chrono::Datelike as _;
use uuid::Uuid;

use crate::support::receiver::Behaviour;
use crate::support::world::{World, instant, person};

async fn facts(world: &World, user: Uuid) -> UserHistory {
    world.store.user_history(UserRef::Id(user)).await.unwrap().unwrap()
}

async fn explained(world: &World, user: Uuid) -> Explanation {
    use bday::clock::Clock as _;
    explain(facts(world, user).await, &ExplainSettings::new(&world.config), world.clock.now())
}

async fn birthday(world: &World, user: Uuid) -> ThisYear {
    let explanation = explained(world, user).await;
    let mut kinds = explanation.this_year.into_iter();
    kinds.find(|one| one.kind == BIRTHDAY).unwrap()
}

/// Asserts the status of this year's birthday, and that its explanation contains each of `words`.
async fn assert_says(world: &World, user: Uuid, status: Status, words: &[&str]) {
    let found = birthday(world, user).await;
    assert_eq!(found.status, status, "{}", found.why);
    for word in words {
        assert!(found.why.contains(word), "{:?} lacks {word:?}", found.why);
    }
}

#[tokio::test]
async fn each_stage_of_a_delivered_greeting_is_explained() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    let user = world.write("u", "1990-05-12", "Europe/Berlin").await;
    world.minute().await;
    assert_says(
        &world,
        user,
        Status::NotPlanned,
        &["2026-05-12T07:00:00Z", "2026-05-09T00:00:00Z", "plan.horizon_secs"],
    )
    .await;
    world.set("2026-05-09T00:00:00Z");
    world.minute().await;
    assert_says(&world, user, Status::NotDue, &["due in 3 d 7 h", "2026-05-12T07:00:00Z"]).await;
    world.set("2026-05-12T07:00:30Z");
    assert_says(&world, user, Status::Due, &["due since 30 s", "2026-05-14T07:00:00Z", "late.max_secs"])
        .await;
    world.tick().await;
    assert_says(&world, user, Status::Queued, &["on the queue since 0 s"]).await;
    world.receiver.script([Behaviour::Status(503), Behaviour::Status(200)]);
    world.pool().run_once().await.unwrap();
    assert_says(&world, user, Status::Retrying, &["attempt 1 failed", "503"]).await;
    world.set("2026-05-12T07:02:00Z");
    world.minute().await;
    assert_says(&world, user, Status::Delivered, &["accepted 2 min after it was due", "attempt 2"]).await;
    let event = birthday(&world, user).await.event.unwrap();
    let attempts: Vec<_> = event.attempts.iter().map(|a| (a.number, a.outcome.as_str(), a.status)).collect();
    assert_eq!(attempts, [(1, "failed", Some(503)), (2, "delivered", Some(200))]);
}

#[tokio::test]
async fn the_planner_begins_at_the_explained_instant() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    let user = world.write("u", "1990-05-12", "Pacific/Kiritimati").await;
    let from = explained(&world, user).await.next[0].planned_from.unwrap();
    world.clock.set(from - chrono::TimeDelta::seconds(1));
    assert_eq!(world.tick().await.planned, 0);
    world.clock.set(from);
    assert_eq!(world.tick().await.planned, 1);
}

#[tokio::test]
async fn future_occurrences_have_their_rule_in_words() {
    let world = World::at("2026-02-27T00:00:00Z").await;
    let user = world.write("u", "2000-02-29", "America/New_York").await;
    world.minute().await;
    let explanation = explained(&world, user).await;
    let years: Vec<i32> = explanation.next.iter().map(|next| next.occurrence.local_date.year()).collect();
    assert_eq!(years, [2026, 2027, 2028, 2029, 2030]);
    let first = &explanation.next[0];
    assert_eq!(first.occurrence.offset, "-05:00");
    assert_eq!(first.rule_in_words.as_deref(), Some("2026 has no 29 February: the 28th (feb28)"));
    assert!(first.event_id.is_some());
    assert_eq!((explanation.next[2].rule_in_words.as_deref(), explanation.next[2].event_id), (None, None));
}

#[tokio::test]
async fn each_reason_for_not_sending_is_explained() {
    let world = World::with("2026-05-01T00:00:00Z", &[("plan.late_join", "skip")]).await;
    let late = world.write("late", "1990-05-02", "UTC").await;
    let gone = world.write("gone", "1990-05-04", "UTC").await;
    let born_later = world.write("unborn", "2027-05-02", "UTC").await;
    let leap = NewUser {
        leap_day: Some(bday::calendar::LeapDay::LeapYearsOnly),
        ..person("leap", "2000-02-29", "UTC")
    };
    let leap = world.write_user(leap).await;
    let after = world.write("after", "1990-04-30", "UTC").await;
    world.minute().await;
    assert_says(&world, leap, Status::NoOccurrence, &["2026 has no 29 February", "the user's rule"]).await;
    assert_says(&world, born_later, Status::BeforeFirstYear, &["2027"]).await;
    assert_says(
        &world,
        after,
        Status::LearnedTooLate,
        &["the user was created at 2026-05-01T00:00:00Z", "2026-04-30"],
    )
    .await;

    world.set("2026-05-04T08:00:00Z");
    world.store.delete_user(instant("2026-05-04T08:00:00Z"), UserRef::Id(gone), None, None).await.unwrap();
    assert_says(&world, gone, Status::Cancelled, &["cancelled (user_deleted)"]).await;

    world.set("2026-05-04T10:00:00Z");
    world.minute().await;
    assert_says(&world, late, Status::SkippedLate, &["2 d 1 h after it was due", "late.max_secs"]).await;
    let joined = world.write("joined", "1990-05-04", "UTC").await;
    world.minute().await;
    assert_says(&world, joined, Status::SkippedLateJoin, &["1 h after it was due", "plan.late_join is skip"])
        .await;
    assert_eq!(world.greetings(), 0);
}

#[tokio::test]
async fn the_explanation_of_a_dead_event_has_its_last_error() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    let user = world.write("u", "1990-05-02", "UTC").await;
    world.receiver.script([Behaviour::Status(410)]);
    world.set("2026-05-02T09:00:00Z");
    world.minute().await;
    assert_says(&world, user, Status::Dead, &["1 attempt", "reason gone", "410"]).await;
}

#[tokio::test]
async fn the_history_of_a_deleted_user_is_found_by_both_ids() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    let user = world.write("hr-17", "1990-05-02", "UTC").await;
    world.set("2026-05-02T09:00:00Z");
    world.minute().await;
    let now = instant("2026-05-03T00:00:00Z");
    world.store.delete_user(now, UserRef::Id(user), None, None).await.unwrap();
    world.set("2026-05-03T00:00:00Z");
    assert_says(&world, user, Status::Delivered, &["delivered"]).await;
    let by_external = world.store.user_history(UserRef::External("hr-17")).await.unwrap().unwrap();
    assert_eq!(
        (by_external.user_id, by_external.deleted_at, by_external.user.is_none()),
        (user, Some(now), true)
    );
    assert!(explained(&world, user).await.next.is_empty());
    assert!(world.store.user_history(UserRef::Id(Uuid::nil())).await.unwrap().is_none());
}

#[tokio::test]
async fn an_event_of_a_kind_that_is_not_configured_is_explained() {
    let settings =
        [("kinds.work_anniversary.message", "{{ kind }}"), ("kinds.work_anniversary.send_at", "10:00")];
    let mut world = World::with("2026-05-01T00:00:00Z", &settings).await;
    let mut user = person("u", "1990-06-02", "UTC");
    user.occasions = [("work_anniversary".to_owned(), Some("2020-05-02".parse().unwrap()))].into();
    let user = world.write_user(user).await;
    world.config.kinds.remove("work_anniversary");
    let found = explained(&world, user).await.this_year;
    let found = found.iter().find(|one| one.kind == "work_anniversary").unwrap();
    assert_eq!(found.status, Status::KindNotConfigured);
    assert!(found.why.contains("kinds.work_anniversary"), "{}", found.why);
}

#[tokio::test]
async fn a_pause_is_explained_until_it_ends() {
    let world = World::at("2026-05-01T00:00:00Z").await;
    let user = world.write("u", "1990-05-02", "UTC").await;
    world.minute().await;
    world.store.set_pause(instant("2026-05-01T12:00:00Z"), "new receiver").await.unwrap();
    assert_says(&world, user, Status::NotDue, &["due in 1 d 9 h"]).await;
    world.set("2026-05-02T09:00:00Z");
    world.minute().await;
    let words = ["paused since 2026-05-01T12:00:00Z", "new receiver", "2026-05-04T09:00:00Z"];
    assert_says(&world, user, Status::Paused, &words).await;
    world.store.end_pause().await.unwrap();
    world.minute().await;
    assert_says(&world, user, Status::Delivered, &["accepted 0 s"]).await;
}

/// Covers every reason to skip or cancel a greeting before an attempt.
#[tokio::test]
async fn each_skip_has_a_row_a_metric_and_an_explanation() {
    use metrics_exporter_prometheus::PrometheusBuilder;

    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let guard = metrics::set_default_local_recorder(&recorder);
    let world = World::with("2026-05-01T00:00:00Z", &[("plan.late_join", "skip")]).await;
    let count = |name: &str, reason: &str| {
        let line = format!("bday_events_{name}_total{{reason=\"{reason}\"}} ");
        let text = metrics.render();
        text.lines().find_map(|found| found.strip_prefix(&line)?.parse::<u64>().ok()).unwrap_or(0)
    };

    // Skipped by the planner: a user added before the first plan.
    world.set("2026-05-01T10:00:00Z");
    let planner = world.write("planner", "1990-05-01", "UTC").await;
    world.tick().await;
    assert_says(&world, planner, Status::SkippedLateJoin, &["plan.late_join is skip"]).await;
    assert_eq!(count("skipped", "late_join"), 1);

    // Skipped on write: an import, a new user, an edit.
    let import = world.write("import", "1990-05-01", "UTC").await;
    let schedule = world.config.schedule();
    let now = instant("2026-05-01T10:00:00Z");
    let saved = world
        .store
        .save_user(&schedule, now, Some(UserRef::External("created")), None, |_| {
            Ok::<_, Infallible>(person("created", "1990-05-01", "UTC"))
        })
        .await
        .unwrap();
    let SaveOutcome::Saved(UserChange::Created, created) = saved else { panic!("{saved:?}") };
    let edited = world.write("edited", "1990-05-03", "UTC").await;
    let edit = |_: &_| Ok::<_, Infallible>(person("edited", "1990-05-01", "UTC"));
    world.store.edit_user(&schedule, now, UserRef::Id(edited), edit).await.unwrap();
    for user in [import, created.id, edited] {
        assert_says(&world, user, Status::SkippedLateJoin, &["1 h after it was due"]).await;
    }
    assert_eq!(count("skipped", "late_join"), 4);

    // Skipped by the claim after too long in pending, and by the lease after too long in the queue.
    let pending = world.write("pending", "1990-05-03", "UTC").await;
    let queued = world.write("queued", "1990-05-02", "UTC").await;
    world.set("2026-05-02T09:00:00Z");
    world.tick().await;
    world.set("2026-05-05T09:00:01Z");
    world.minute().await;
    for user in [pending, queued] {
        assert_says(&world, user, Status::SkippedLate, &["late.max_secs"]).await;
    }
    assert_eq!(count("skipped", "late"), 2);

    // Cancelled by a deletion.
    let gone = world.write("gone", "1990-05-06", "UTC").await;
    world.store.delete_user(instant("2026-05-05T09:00:01Z"), UserRef::Id(gone), None, None).await.unwrap();
    assert_says(&world, gone, Status::Cancelled, &["user_deleted"]).await;
    assert_eq!(count("cancelled", "user_deleted"), 1);
    assert_eq!(world.greetings(), 0);
    drop(guard);
}
