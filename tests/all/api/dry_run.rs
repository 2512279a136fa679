//! Dry runs of imports, and the rows that an import rejects.

use std::io::Cursor;
use std::sync::Arc;

use axum::body::Body;
use bday::calendar::{LeapDay, SendAt, Zone};
use bday::clock::SharedClock;
use bday::model::{LateJoin, Schedule};
use bday::people::import::{ImportError, ImportFormat, ImportOptions, rejected_rows};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::create;
use crate::support::api::Server;

const HEADER: &str = "first_name,last_name,birth_date,time_zone,external_id";

async fn import(server: &Server, query: &str, file: &str) -> Value {
    let path = format!("/v1/users/import{query}");
    let csv = [("content-type", "text/csv")];
    server.call("POST", &path, &csv, Body::from(file.to_owned())).await.expect(200)
}

fn counts(report: &Value) -> [u64; 4] {
    ["created", "updated", "unchanged", "failed"].map(|key| report[key].as_u64().unwrap())
}

/// Returns all rows of the tables that an import writes.
async fn tables(server: &Server) -> Vec<String> {
    let pool = server.pool().await;
    let sql = "
        SELECT 'user ' || to_jsonb(u)::text FROM users u UNION ALL SELECT 'date ' || to_jsonb(o)::text FROM occasions o
        UNION ALL SELECT 'address ' || to_jsonb(c)::text FROM contact_points c
        UNION ALL SELECT 'event ' || to_jsonb(e)::text FROM events e ORDER BY 1";
    sqlx::query_scalar(sql).fetch_all(&pool).await.unwrap()
}

#[tokio::test]
async fn a_dry_run_reports_what_an_import_would_do_and_writes_nothing() {
    let server = Server::start().await;
    for (id, name) in [("1", "Ada"), ("2", "Bob"), ("3", "Cid")] {
        create(&server, &json!({ "externalId": id, "firstName": name, "lastName": "X" })).await;
    }
    let before = tables(&server).await;
    let file = format!(
        "{HEADER},email\nAda,X,1815-12-10,Europe/London,1,\nBob,Y,1815-12-10,Europe/London,2,\nCid,X,1815-12-10,Europe/London,3,c@example.org\n\
         New,,--01-01,UTC,4,\nBad,,1990-02-30,UTC,5,\nLine,,--01-01,UTC,,\nLine,,--01-01,UTC,,\n"
    );
    let report = import(&server, "?dryRun=true", &file).await;
    assert_eq!(counts(&report), [3, 2, 1, 1], "{report}");
    assert_eq!(report["dryRun"], true);
    assert_eq!(report["errors"][0]["line"], 6);
    let columns =
        "first_name,last_name,birth_date,time_zone,external_id,email".split(',').collect::<Vec<_>>();
    assert_eq!(report["columns"], json!({ "recognised": columns, "ignored": [] }));
    let rows = report["rows"].as_array().unwrap();
    let changes: Vec<&str> = rows.iter().map(|row| row["change"].as_str().unwrap()).collect();
    assert_eq!(changes, ["unchanged", "updated", "updated", "created", "created", "created"]);
    assert_eq!(
        rows[2],
        json!({
            "line": 4, "change": "updated", "firstName": "Cid", "lastName": "X", "birthDate": "1815-12-10", "timeZone": "Europe/London",
            "sendAt": null, "leapDay": null, "externalId": "3", "locale": null, "email": "c@example.org", "phone": null,
            "slackUserId": null, "occasions": {},
        })
    );
    assert_eq!(tables(&server).await, before);

    let report = import(&server, "?dryRun=false", &file).await;
    assert_eq!((counts(&report), &report["rows"]), ([3, 2, 1, 1], &json!([])));
    let report = import(&server, "?dryRun=true", &file).await;
    assert_eq!(counts(&report), [0, 0, 6, 1]);
}

#[tokio::test]
async fn a_dry_run_compares_every_field() {
    let server = Server::start().await;
    let line = "Ada,Lovelace,1815-12-10,Europe/London,1,07:30,mar1,de,a@example.org,+491711234567,U012AB3CD,2019-05-02";
    let file = |line: &str| {
        format!("{HEADER},send_at,leap_day,locale,email,phone,slack_user_id,work_anniversary\n{line}\n")
    };
    assert_eq!(counts(&import(&server, "", &file(line)).await), [1, 0, 0, 0]);
    assert_eq!(counts(&import(&server, "?dryRun=true", &file(line)).await), [0, 0, 1, 0]);
    let fields: Vec<&str> = line.split(',').collect();
    let others = ["Eve", "", "--12-10", "UTC", "1", "", "", "", "", "", "", ""];
    for at in (0..fields.len()).filter(|at| *at != 4) {
        let mut changed = fields.clone();
        changed[at] = others[at];
        let changed = file(&changed.join(","));
        assert_eq!(counts(&import(&server, "?dryRun=true", &changed).await), [0, 1, 0, 0], "{changed}");
    }
}

#[tokio::test]
async fn a_dry_run_counts_repeated_ids_and_conflicts_as_an_import_does() {
    let server = Server::start().await;
    let ada = create(&server, &json!({ "externalId": "a" })).await;
    create(&server, &json!({ "externalId": "b" })).await;
    let new = "0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f";
    let file = format!(
        "id,{HEADER}\n{ada},Ada,,--01-01,UTC,a\n{ada},Ada,,--01-01,UTC,a\n{ada},Ada,,--01-01,UTC,b\n{new},Cid,,--01-01,UTC,\n\
         {new},Cid,,--01-02,UTC,\n,Dan,,--01-01,UTC,d\n,Dan,,--01-01,UTC,d\n,Dan,x,--01-01,UTC,d\n,Eve,,--01-01,UTC,\n,Eve,,--01-01,UTC,\n"
    );
    let dry = import(&server, "?dryRun=true", &file).await;
    let wet = import(&server, "", &file).await;
    assert_eq!(counts(&dry), [4, 3, 2, 1], "{dry}");
    assert_eq!(counts(&wet), counts(&dry), "{wet}");
    assert_eq!(wet["errors"], dry["errors"]);
}

/// Streams the rejected rows of `file`.
async fn rejected(server: &Server, format: ImportFormat, file: &str) -> Result<String, ImportError> {
    let kinds = [("birthday".to_owned(), SendAt::default())].into();
    let schedule = Schedule { kinds, leap_day: LeapDay::default(), late_join: LateJoin::default() };
    let clock = Arc::clone(&server.clock) as SharedClock;
    let input = Cursor::new(file.to_owned());
    let time_zone = (format == ImportFormat::Vcard).then_some(Zone::UTC);
    let options = ImportOptions { time_zone, ..ImportOptions::new(format) };
    let rows = rejected_rows(server.store(), Arc::new(schedule), clock, options, input);
    let rows: Vec<Result<Vec<u8>, ImportError>> = rows.collect().await;
    let rows: Result<Vec<Vec<u8>>, ImportError> = rows.into_iter().collect();
    Ok(String::from_utf8(rows?.concat()).unwrap())
}

#[tokio::test]
async fn the_rejected_rows_are_a_file_of_the_same_format() {
    let server = Server::start().await;
    let ada = create(&server, &json!({ "externalId": "a" })).await;
    create(&server, &json!({ "externalId": "b" })).await;
    // One row that cannot be read, and one whose ids conflict.
    let (bad, conflict) = ("\"Bad, Jr\",,1990-02-30,UTC,x,", format!("Ada,,--01-01,UTC,b,{ada}"));
    let file = format!("{HEADER},id\r\n{bad}\r\nGood,,--01-01,UTC,g,\r\n{conflict}\r\n");
    let rejects = rejected(&server, ImportFormat::Csv, &file).await.unwrap();
    assert_eq!(rejects, format!("{HEADER},id\n{bad}\n{conflict}\n"));
    // The corrected file can be imported, and nothing was before.
    assert_eq!(counts(&import(&server, "", &rejects.replace("02-30", "02-28")).await), [1, 0, 0, 1]);

    let (good, bad) = (r#"{"firstName":"A","birthDate":"--01-01","timeZone":"UTC"}"#, r#"{"firstName":"é"}"#);
    let rejects =
        rejected(&server, ImportFormat::Ndjson, &format!("{bad}\n{good}\n\nnonsense")).await.unwrap();
    assert_eq!(rejects, format!("{bad}\nnonsense\n"));

    let bad = "BEGIN:VCARD\nFN:Bad\nBDAY:1990\nNOTE:x\n y\nEND:VCARD";
    let file = format!("BEGIN:VCARD\nFN:Good\nBDAY:--0101\nEND:VCARD\n{bad}\nBEGIN:VCARD\nFN:Cut");
    let rejects = rejected(&server, ImportFormat::Vcard, &file).await.unwrap();
    assert_eq!(rejects, format!("{bad}\nBEGIN:VCARD\nFN:Cut\n"));

    assert_eq!(rejected(&server, ImportFormat::Csv, &format!("{HEADER}\n")).await.unwrap(), "");
    let error = rejected(&server, ImportFormat::Csv, "nonsense\n").await.unwrap_err();
    assert!(error.to_string().contains("unknown column"), "{error}");
}

#[tokio::test]
async fn many_rejected_rows_are_streamed() {
    let server = Server::start().await;
    let lines: Vec<String> = (0..20_000).map(|n| format!("n{n},,1990-02-30,UTC,\n")).collect();
    let file = format!("{HEADER}\n{}", lines.concat());
    assert_eq!(rejected(&server, ImportFormat::Csv, &file).await.unwrap(), file);
}
