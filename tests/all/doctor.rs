//! `bday doctor` on correct and on faulty deployments.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::serve::Place;
use crate::support::process::Bday;

/// Returns the exit code, and the grade and text of each finding by its check.
pub(crate) async fn examine(bday: Bday) -> (Option<i32>, BTreeMap<String, (String, String)>) {
    let finished = bday.finish().await;
    let report: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{finished:?}"));
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let findings = report["findings"].as_array().unwrap();
    let findings = findings.iter().map(|finding| {
        let advised = finding["advice"].is_string();
        assert_eq!(advised, finding["grade"] != "ok", "{finding}");
        (text(finding, "check"), (text(finding, "grade"), text(finding, "found")))
    });
    (finished.status.code(), findings.collect())
}

/// Returns the advice of one check.
async fn advice(bday: Bday, check: &str) -> String {
    let report: Value = serde_json::from_str(&bday.finish().await.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["check"] == check).unwrap();
    found["advice"].as_str().unwrap().to_owned()
}

pub(crate) fn grade<'a>(findings: &'a BTreeMap<String, (String, String)>, check: &str) -> &'a str {
    findings.get(check).map_or("missing", |(grade, _)| grade)
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_correct_deployment_every_check_is_ok() {
    let place = Place::new().await;
    place.people_who_are_due(3).await;
    assert!(place.bday(&["migrate"]).finish().await.status.success());
    let (code, findings) = examine(place.bday(&["doctor", "--json"])).await;
    assert_eq!(code, Some(0), "{findings:?}");
    let not_ok: Vec<&String> =
        findings.iter().filter(|(_, (grade, _))| grade != "ok").map(|(check, _)| check).collect();
    assert!(not_ok.is_empty(), "{findings:?}");
    let (_, found) = &findings["database.tls"];
    assert!(found.contains("on this machine"), "{found}");
    let (_, found) = &findings["zones"];
    assert!(found.ends_with("1 zone is in use; PostgreSQL agrees on the next year"), "{found}");
    assert!(place.receiver.records().iter().all(|record| record.method == "HEAD"));
    for check in
        ["clock", "zones", "planning.rules", "queue.redrive", "queue.retention", "database.privileges"]
    {
        assert_eq!(grade(&findings, check), "ok", "{check}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_graded_and_has_advice() {
    let place = Place::new().await;
    assert!(place.bday(&["migrate"]).finish().await.status.success());
    place.receiver.refuse().await;
    let wrong = place
        .bday(&["doctor", "--json"])
        .env("BDAY__QUEUE__VISIBILITY_SECS", "40")
        .env("BDAY__HTTP__LISTEN", "0.0.0.0:0");
    let (code, findings) = examine(wrong).await;
    assert_eq!(code, Some(1));
    assert_eq!(grade(&findings, "queue.redrive"), "ok");
    assert_eq!(grade(&findings, "queue.visibility"), "warning");
    assert_eq!(grade(&findings, "webhook.reachable"), "failure");
    let (grade_of, found) = &findings["http.listen"];
    assert_eq!(grade_of, "warning");
    assert!(found.contains("http.auth is off"), "{found}");

    let hasty = place.bday(&["doctor", "--json"]).env("BDAY__WORKER__DRAIN_SECS", "12");
    let (grade_of, found) = &examine(hasty).await.1["worker.drain"];
    assert_eq!(grade_of, "warning");
    assert!(found.contains("worker.drain_secs is 12, webhook.timeout_secs is 10"), "{found}");
    let by_mail = |drain: &str| {
        place
            .bday(&["doctor", "--json"])
            .env("BDAY__KINDS__BIRTHDAY__CHANNELS", "mail,webhook")
            .env("BDAY__CHANNELS__MAIL__URL", "smtp://127.0.0.1:1")
            .env("BDAY__CHANNELS__MAIL__FROM", "bday@example.invalid")
            .env("BDAY__WORKER__DRAIN_SECS", drain)
    };
    let (grade_of, found) = &examine(by_mail("19")).await.1["worker.drain"];
    assert_eq!(grade_of, "warning");
    assert!(found.contains("worker.drain_secs is 19, channels.mail.timeout_secs is 15"), "{found}");
    assert_eq!(grade(&examine(by_mail("20")).await.1, "worker.drain"), "ok");

    let gap = place
        .bday(&["doctor", "--json"])
        .env("BDAY__KINDS__WORK__MESSAGE", "{{ years }} years, {{ full_name }}");
    let (_, findings) = examine(gap).await;
    let (grade_of, found) = &findings["kinds.message"];
    assert_eq!(grade_of, "warning");
    assert!(found.contains("of work prints years"), "{found}");

    assert!(place.bday(&["tick"]).finish().await.status.success());
    let other = place.bday(&["doctor", "--json"]).env("BDAY__KINDS__BIRTHDAY__SEND_AT", "10:30");
    let (grade_of, found) = examine(other).await.1["planning.rules"].clone();
    assert_eq!(grade_of, "warning");
    assert!(found.contains("birthday 09:00") && found.contains("birthday 10:30"), "{found}");

    let pause = ["pause", "--reason", "the receiver moves"];
    assert!(place.bday(&pause).finish().await.status.success());
    let (code, findings) = examine(place.bday(&["doctor", "--json"])).await;
    assert_eq!(code, Some(1), "the receiver is still unavailable");
    let (grade_of, found) = &findings["sending"];
    assert_eq!(grade_of, "warning");
    assert!(found.contains("the receiver moves"), "{found}");
    assert!(place.bday(&["resume"]).finish().await.status.success());

    let guarded = || place.bday(&["doctor", "--json"]).env("BDAY__HTTP__AUTH", "required");
    let (grade_of, found) = examine(guarded()).await.1["http.listen"].clone();
    assert_eq!(grade_of, "warning");
    assert!(found.contains("there is no token"), "{found}");
    let token = ["token", "create", "hr", "--scope", "read"];
    assert!(place.bday(&token).finish().await.status.success());
    assert_eq!(grade(&examine(guarded()).await.1, "http.listen"), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unavailable_database_or_secret_does_not_stop_other_checks() {
    let place = Place::new().await;
    let unavailable = place
        .bday(&["doctor", "--json"])
        .env("BDAY__DATABASE__URL", "postgres://bday:hunter2@127.0.0.1:1/bday")
        // The check must not wait for this timeout.
        .env("BDAY__DATABASE__ACQUIRE_TIMEOUT_SECS", "600")
        .env("BDAY__WEBHOOK__URL", "file:/nowhere/url");
    let (code, findings) = examine(unavailable).await;
    assert_eq!(code, Some(1));
    let (grade_of, found) = &findings["database.reachable"];
    assert_eq!(grade_of, "failure");
    assert!(found.contains("127.0.0.1:1: Connection refused"), "{found}");
    assert_eq!(grade(&findings, "webhook.url"), "failure");
    assert_eq!(grade(&findings, "http.listen"), "ok");
    assert!(!format!("{findings:?}").contains("hunter2"));

    let secret = place.bday(&["doctor", "--json"]).env("BDAY__DATABASE__URL", "env:NO_SUCH_VARIABLE");
    let (code, findings) = examine(secret).await;
    assert_eq!(code, Some(1));
    assert_eq!(grade(&findings, "database.login"), "failure");
    assert_eq!(grade(&findings, "webhook.reachable"), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_database_and_a_missing_queue_are_reported() {
    let place = Place::new().await;
    let empty = crate::support::database::Database::empty().await;
    let (code, findings) = examine(
        place
            .bday(&["doctor", "--json"])
            .env("BDAY__DATABASE__URL", empty.url())
            .env("BDAY__QUEUE__CREATE", "false"),
    )
    .await;
    assert_eq!(code, Some(1));
    assert_eq!(grade(&findings, "database.schema"), "warning");
    assert_eq!(grade(&findings, "database.privileges"), "ok");
    assert_eq!(grade(&findings, "queue.reachable"), "failure");
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_that_need_the_schema_are_unknown_without_it() {
    let place = Place::new().await;
    let empty = crate::support::database::Database::empty().await;
    let (_, findings) =
        examine(place.bday(&["doctor", "--json"]).env("BDAY__DATABASE__URL", empty.url())).await;
    for check in ["sending", "events"] {
        let (grade_of, found) = &findings[check];
        assert_eq!(grade_of, "warning", "{check}");
        assert!(found.starts_with("unknown"), "{found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_access_to_the_migrations_is_reported() {
    let place = Place::new().await;
    let pool = place.database.pool().await;
    let role = format!("reader_{}", uuid::Uuid::now_v7().simple());
    for statement in [
        format!("CREATE ROLE {role} LOGIN PASSWORD 'x'"),
        format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"),
        format!("REVOKE ALL ON _sqlx_migrations FROM {role}"),
    ] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&pool).await.unwrap();
    }
    let (_, server) = place.database.url().rsplit_once('@').unwrap();
    let doctor = || {
        place.bday(&["doctor", "--json"]).env("BDAY__DATABASE__URL", format!("postgres://{role}:x@{server}"))
    };
    let (code, findings) = examine(doctor()).await;
    assert_eq!(code, Some(1));
    assert_eq!(grade(&findings, "database.schema"), "failure");
    let (grade_of, found) = &findings["database.privileges"];
    assert_eq!(grade_of, "failure");
    assert!(found.contains("SELECT on _sqlx_migrations"), "{found}");
    let advised = advice(doctor(), "database.schema").await;
    assert!(!advised.contains("database.migrate"), "{advised}");
    // Roles outlive the test database, and a role with grants cannot be dropped.
    for statement in [format!("DROP OWNED BY {role}"), format!("DROP ROLE {role}")] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&pool).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn zones_that_differ_between_database_and_binary_are_named() {
    let place = Place::new().await;
    place.people_who_are_due(3).await;
    let pool = place.database.pool().await;
    for (name, zone) in [("Doe 1", "Mars/Olympus_Mons"), ("Doe 2", "Europe/London")] {
        sqlx::query("UPDATE users SET time_zone = $1 WHERE last_name = $2")
            .bind(zone)
            .bind(name)
            .execute(&pool)
            .await
            .unwrap();
    }
    let (_, findings) = examine(place.bday(&["doctor", "--json"])).await;
    let (grade_of, found) = &findings["zones"];
    assert_eq!(grade_of, "warning", "{found}");
    assert!(found.ends_with("3 zones are in use; PostgreSQL differs on Mars/Olympus_Mons"), "{found}");
}
