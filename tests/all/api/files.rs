//! Import and export.

use axum::body::{Body, Bytes};
use bday::clock::{Clock as _, SystemClock};
use serde_json::json;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::create;
use crate::support::api::{Answer, Server};
use crate::support::wait::{eventually, within};

async fn import(server: &Server, types: &str, body: impl Into<Body>) -> Answer {
    server.call("POST", "/v1/users/import", &[("content-type", types)], body.into()).await
}

#[tokio::test]
async fn a_csv_import_skips_and_reports_invalid_lines() {
    let server = Server::start().await;
    let file = "first_name,last_name,birth_date,time_zone,external_id,work_anniversary\n\
                Ada,Lovelace,1815-12-10,Europe/London,1,2019-05-02\n\
                Eve,,1990-02-30,Europe/Berln,2,\n\
                Bob,Ross,--04-01,UTC,3,\n";
    let report = import(&server, "text/csv", file).await.expect(200);
    let counts = ["created", "updated", "unchanged", "failed"].map(|key| report[key].as_u64().unwrap());
    assert_eq!(counts, [2, 0, 0, 1]);
    assert_eq!(report["errors"][0]["line"], 3);
    let reason = report["errors"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("birth_date") && reason.contains("time_zone"), "{reason}");
    let user = server.get("/v1/users/by-external-id/1").await.expect(200);
    assert_eq!(user["occasions"], json!({ "work_anniversary": "2019-05-02" }));

    // A missing column keeps the dates; an empty field removes them.
    let file = "first_name,last_name,birth_date,time_zone,external_id\nAda,King,1815-12-10,Europe/London,1\n";
    assert_eq!(import(&server, "text/csv", file).await.expect(200)["updated"], 1);
    let user = server.get("/v1/users/by-external-id/1").await.expect(200);
    assert_eq!(
        (&user["lastName"], &user["occasions"]["work_anniversary"]),
        (&json!("King"), &json!("2019-05-02"))
    );
    let file = "first_name,last_name,birth_date,time_zone,external_id,work_anniversary\nAda,King,1815-12-10,Europe/London,1,\n";
    let report = import(&server, "text/csv; charset=utf-8", file).await.expect(200);
    assert_eq!((&report["updated"], &report["unchanged"]), (&json!(1), &json!(0)));
    assert_eq!(import(&server, "text/csv", file).await.expect(200)["unchanged"], 1);
}

#[tokio::test]
async fn an_ndjson_import_skips_and_reports_invalid_lines() {
    let server = Server::start().await;
    let file = "{\"firstName\":\"Ada\",\"birthDate\":\"1815-12-10\",\"timeZone\":\"UTC\",\"externalId\":\"1\"}\n\nnonsense\n";
    let report = import(&server, "application/x-ndjson", file).await.expect(200);
    assert_eq!((&report["created"], &report["failed"]), (&json!(1), &json!(1)));
    assert_eq!(report["errors"][0]["line"], 3);
}

#[tokio::test]
async fn the_size_of_an_import_report_is_bounded() {
    let server = Server::start().await;
    let dates: Vec<String> = (0..100).map(|n| format!("\"kind{n}\":\"{}\"", "x".repeat(500))).collect();
    let many = format!("{{\"occasions\":{{{}}}}}\n", dates.join(","));
    let beyond: Vec<String> = (0..6000).map(|n| format!("\"{n}\":1")).collect();
    let beyond = format!("{{\"occasions\":{{{}}}}}\n", beyond.join(","));
    let text = format!("\"{}\"\n", "é".repeat(30_000));
    let file = [many.repeat(20), beyond.repeat(20), text.repeat(20)].concat();
    let answer = import(&server, "application/x-ndjson", file).await;
    let report = answer.expect(200);
    assert_eq!(report["failed"], 60);
    for error in report["errors"].as_array().unwrap() {
        let reason = error["reason"].as_str().unwrap();
        assert!(reason.len() < 2010, "{}", reason.len());
    }
    let reason = |at: usize| report["errors"][at]["reason"].as_str().unwrap();
    assert!(reason(0).contains("kind0"), "{}", reason(0));
    assert!(reason(20).contains("more than 128 fields"), "{}", reason(20));
}

#[tokio::test]
async fn an_invalid_file_is_rejected() {
    let server = Server::start().await;
    import(&server, "application/json", "{}").await.expect(415);
    import(&server, "text/csv", "").await.expect(422);
    let answer = import(&server, "text/csv", "first_name,wedding\n").await.expect(422);
    let detail = answer["detail"].as_str().unwrap();
    assert!(detail.contains("wedding") && detail.contains("work_anniversary"), "{detail}");
    import(&server, "application/x-ndjson", "").await.expect(200);
}

/// Returns a body that streams the parts sent by the test, and a receiver that resolves when the first part is requested.
fn slow() -> (UnboundedSender<String>, oneshot::Receiver<()>, Body) {
    let (put, parts) = unbounded_channel::<String>();
    let (ask, asked) = oneshot::channel();
    let parts = futures_util::stream::unfold((Some(ask), parts), |(ask, mut parts)| async move {
        if let Some(ask) = ask {
            let _ = ask.send(());
        }
        let part = parts.recv().await?;
        Some((Ok::<_, std::io::Error>(Bytes::from(part)), (None, parts)))
    });
    (put, asked, Body::from_stream(parts))
}

const HEADER: &str = "first_name,last_name,birth_date,time_zone\n";

/// Returns the lines of one import batch, all with the same birthday.
fn a_batch() -> String {
    let lines: Vec<String> = (0..2000).map(|n| format!("n{n},,1990-01-01,UTC\n")).collect();
    lines.concat()
}

#[tokio::test]
async fn a_long_import_uses_the_current_time_for_each_batch() {
    let server = Server::start().await;
    let pool = server.pool().await;
    let (put, _, body) = slow();
    let later = async {
        put.send(HEADER.to_owned() + &a_batch()).unwrap();
        eventually("the first to be in", async || {
            let users: i64 = sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&pool).await.unwrap();
            (users == 2000).then_some(())
        })
        .await;
        server.clock.advance(chrono::TimeDelta::hours(30));
        // A birth date that was in the future when the import began, and a repeat of an earlier line.
        put.send("Zoe,,2026-11-26,UTC\nn7,,1990-01-01,UTC\n".to_owned()).unwrap();
        drop(put);
    };
    let (answer, ()) = tokio::join!(import(&server, "text/csv", body), later);
    let report = answer.expect(200);
    assert_eq!((&report["created"], &report["failed"]), (&json!(2002), &json!(0)));
    let zoe = server.get("/v1/users?search=zoe").await.expect(200);
    assert_eq!(zoe["items"][0]["createdAt"], "2026-11-25T18:00:00Z");
}

#[tokio::test]
async fn a_failed_import_reports_its_position_and_counts() {
    let server = Server::start().await;
    let pool = server.pool().await;
    sqlx::query("ALTER TABLE users ADD CONSTRAINT nobody CHECK (first_name <> 'Nobody')")
        .execute(&pool)
        .await
        .unwrap();
    let file = format!("{HEADER}{}\nBob,,1990-02-30,UTC\nNobody,,1990-01-01,UTC\n", a_batch());
    let problem = import(&server, "text/csv", file).await.expect(503);
    let detail = problem["detail"].as_str().unwrap();
    // The header is line 1; line 2002 is blank.
    assert!(
        detail.contains("line 2004 and") && detail.contains("created 2000") && detail.contains("failed 1"),
        "{detail}"
    );
}

#[tokio::test]
async fn a_blocked_import_fails_after_six_attempts() {
    let server = Server::start().await;
    let pool = server.pool().await;
    sqlx::raw_sql(
        "CREATE SEQUENCE tries;
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 PERFORM nextval('tries');
                 RAISE EXCEPTION 'canceling statement due to lock timeout' USING ERRCODE = '55P03';
             END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION refuse();",
    )
    .execute(&pool)
    .await
    .unwrap();
    let file = format!("{HEADER}Ada,,1990-01-01,UTC\n");
    let began = SystemClock.monotonic();
    let problem = import(&server, "text/csv", file).await.expect(503);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("line 2 and") && detail.contains("after 6 attempts"), "{detail}");
    let tries: i64 = sqlx::query_scalar("SELECT last_value FROM tries").fetch_one(&pool).await.unwrap();
    assert_eq!(tries, 6);
    assert!(began.elapsed().as_secs() >= 3, "the pauses do not grow");
}

#[tokio::test]
async fn generated_line_ids_are_stable_within_an_installation_only() {
    let (server, elsewhere) = (Server::start().await, Server::start().await);
    // All test databases are copies of a template with the same key.
    sqlx::query("UPDATE installation SET key = sha256('another')")
        .execute(&elsewhere.pool().await)
        .await
        .unwrap();
    let file = format!("{HEADER}Ada,Lovelace,1815-12-10,Europe/London\n");
    let mut ids = Vec::new();
    for server in [&server, &elsewhere] {
        for expected in [[1, 0, 0, 0], [0, 0, 1, 0]] {
            assert_eq!(counts(&import(server, "text/csv", file.clone()).await.expect(200)), expected);
            server.clock.advance(chrono::TimeDelta::seconds(1));
        }
        let users = server.get("/v1/users").await.expect(200);
        ids.push(users["items"][0]["id"].as_str().unwrap().to_owned());
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn at_most_eight_imports_run_concurrently() {
    let server = Server::start().await;
    let (mut puts, mut begun, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for (put, asked, body) in (0..8).map(|_| slow()) {
        puts.push(put);
        begun.push(asked);
        all.push(import(&server, "text/csv", body));
    }
    let ninth = async || import(&server, "text/csv", HEADER).await;
    let one_more = async {
        within("all to be read", futures_util::future::join_all(begun)).await;
        let refused = ninth().await;
        refused.expect(503);
        assert_eq!(refused.header("retry-after"), "5");
        for put in puts {
            put.send(HEADER.to_owned()).unwrap();
        }
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(all), one_more);
    for answer in answers {
        answer.expect(200);
    }
    ninth().await.expect(200);
}

#[tokio::test]
async fn an_interrupted_import_keeps_the_complete_lines() {
    let server = Server::start().await;
    let parts = [
        Ok(Bytes::from_static(b"first_name,last_name,birth_date,time_zone\nAda,,1815-12-10,UTC\nBob")),
        Err(std::io::Error::other("cut")),
    ];
    let body = Body::from_stream(futures_util::stream::iter(parts));
    import(&server, "text/csv", body).await.expect(400);
    let users = server.get("/v1/users").await.expect(200);
    assert_eq!(users["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn importing_an_export_changes_nothing() {
    let server = Server::start().await;
    for (first, last, id) in [("Ada", "O\"Hara, Jr", "1"), ("Björk", "", "2"), ("=1+1", "x", "3")] {
        let fields = json!({
            "firstName": first, "lastName": last, "externalId": id, "sendAt": "07:30", "leapDay": "mar1",
            "birthDate": "--02-29", "occasions": { "work_anniversary": "2019-05-02" },
        });
        create(&server, &fields).await;
    }
    for (path, types) in [
        ("/v1/users/export", "application/x-ndjson"),
        ("/v1/users/export?format=csv", "text/csv; charset=utf-8"),
    ] {
        let export = server.get(path).await;
        assert_eq!((export.status.as_u16(), export.header("content-type")), (200, types));
        let report = import(&server, types, export.body.clone()).await.expect(200);
        assert_eq!((&report["unchanged"], &report["failed"]), (&json!(3), &json!(0)), "{}", export.text());
    }
    let csv = server.call("GET", "/v1/users/export", &[("accept", "text/csv")], Body::empty()).await;
    assert!(csv.text().starts_with(
        "id,first_name,last_name,birth_date,time_zone,send_at,leap_day,external_id,email,phone,slack_user_id,locale,work_anniversary\n"
    ));
    server.get("/v1/users/export?format=xml").await.expect(400);
}

#[tokio::test]
async fn an_export_of_many_pages_has_every_user_once() {
    let server = Server::start().await;
    let lines = (0..2500).map(|n| format!("n{n},,1990-01-01,UTC\n"));
    let file: String =
        std::iter::once("first_name,last_name,birth_date,time_zone\n".to_owned()).chain(lines).collect();
    assert_eq!(import(&server, "text/csv", file).await.expect(200)["created"], 2500);
    let export = server.get("/v1/users/export").await;
    let ids: std::collections::BTreeSet<&str> = export.text().lines().map(|line| &line[..43]).collect();
    assert_eq!((export.text().lines().count(), ids.len()), (2500, 2500));
}

/// Returns the counts of created, updated, unchanged and failed lines.
fn counts(report: &serde_json::Value) -> [u64; 4] {
    ["created", "updated", "unchanged", "failed"].map(|key| report[key].as_u64().unwrap())
}

#[tokio::test]
async fn an_export_without_external_ids_can_be_imported_elsewhere() {
    let (server, elsewhere) = (Server::start().await, Server::start().await);
    create(&server, &json!({})).await;
    create(&server, &json!({ "birthDate": "--11-24", "sendAt": "23:00" })).await;
    create(&server, &json!({ "externalId": "1", "birthDate": "--02-29" })).await;
    let gone = create(&server, &json!({ "externalId": "2" })).await;
    let mut exports = Vec::new();
    for (format, types) in [("csv", "text/csv"), ("ndjson", "application/x-ndjson")] {
        let export = server.get(&format!("/v1/users/export?format={format}")).await;
        let report = import(&server, types, export.body.clone()).await.expect(200);
        assert_eq!(counts(&report), [0, 0, 4, 0], "{format}");
        exports.push((types, export));
    }
    let (csv, ndjson) = (&exports[0], &exports[1]);
    let report = import(&elsewhere, csv.0, csv.1.body.clone()).await.expect(200);
    assert_eq!(counts(&report), [4, 0, 0, 0]);
    let report = import(&elsewhere, ndjson.0, ndjson.1.body.clone()).await.expect(200);
    assert_eq!(counts(&report), [0, 0, 4, 0]);
    let again = elsewhere.get("/v1/users/export?format=csv").await;
    assert_eq!(again.text(), csv.1.text());

    // A deleted user is recreated with the same id.
    server.call("DELETE", &format!("/v1/users/{gone}"), &[], Body::empty()).await.expect(204);
    let report = import(&server, csv.0, csv.1.body.clone()).await.expect(200);
    assert_eq!(counts(&report), [1, 0, 3, 0]);
    server.get(&format!("/v1/users/{gone}")).await.expect(200);
}

#[tokio::test]
async fn a_line_with_an_id_updates_that_user_or_reports_a_conflict() {
    let server = Server::start().await;
    let ada = create(&server, &json!({})).await;
    let bob = create(&server, &json!({ "externalId": "b", "birthDate": "--02-29" })).await;
    let new = "0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f";
    let head = "id,first_name,last_name,birth_date,time_zone,leap_day,external_id";
    let go = async |lines: &[String]| {
        let file = format!("{head}\n{}\n", lines.join("\n"));
        import(&server, "text/csv", file).await.expect(200)
    };

    // A new name, a new external id, a missing external id, a new user, and two repeats.
    let lines = [
        format!("{ada},Ada,King,1815-12-10,UTC,,a"),
        format!("{bob},Bob,Ross,--02-29,UTC,mar1,"),
        format!("{new},Cid,,--04-01,UTC,,"),
        format!("{new},Cid,,--04-01,UTC,,"),
        ",Ada,King,1815-12-10,UTC,,a".to_owned(),
    ];
    let report = go(&lines).await;
    assert_eq!(counts(&report), [1, 2, 2, 0], "{report}");
    for (name, id) in [("a", &ada), ("b", &bob)] {
        let user = server.get(&format!("/v1/users/by-external-id/{name}")).await.expect(200);
        assert_eq!(user["id"], **id, "{user}");
    }
    let bob_now = server.get(&format!("/v1/users/{bob}")).await.expect(200);
    assert_eq!((&bob_now["lastName"], &bob_now["leapDay"]), (&json!("Ross"), &json!("mar1")));
    assert_eq!(server.get(&format!("/v1/users/{new}")).await.expect(200)["firstName"], "Cid");
    assert_eq!(counts(&go(&lines).await), [0, 0, 5, 0]);

    // The external id takes precedence over an unknown id, as from another installation.
    let other = "0198f0c0-5b7e-7cc3-98c4-000000000001";
    let report = go(&[format!("{other},Ada,Byron,1815-12-10,UTC,,a")]).await;
    assert_eq!(counts(&report), [0, 1, 0, 0], "{report}");
    server.get(&format!("/v1/users/{other}")).await.expect(404);

    let report = go(&[
        format!("{ada},Ada,King,1815-12-10,UTC,,b"),
        format!("{bob},Bob,Ross,--04-01,UTC,,c"),
        format!("{new},Cid,,--04-01,UTC,,a"),
        "17,Dan,,--04-01,UTC,,".to_owned(),
    ])
    .await;
    assert_eq!(counts(&report), [0, 0, 0, 4], "{report}");
    for (error, line) in report["errors"].as_array().unwrap().iter().zip(2..) {
        assert_eq!(error["line"], line);
        assert!(error["reason"].as_str().unwrap().starts_with("id: "), "{error}");
    }
}
