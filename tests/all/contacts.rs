//! Contacts of users: their addresses, and opt-outs, which outlive the users.

use std::fmt::Write as _;

use axum::body::Body;
use bday::model::{ChannelName, ContactStatus};
use bday::store::ApiWriteFilter;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::support::api::{Answer, Server};
use crate::support::world::instant;

const HR_1: &str = "/v1/users/by-external-id/hr-1";

/// Returns a user with `fields`.
fn ada(fields: &Value) -> Value {
    let mut user = json!({ "firstName": "Ada", "birthDate": "1815-12-10", "timeZone": "Europe/London" });
    user.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    user
}

/// Writes the user `hr-1` with `fields`, and returns the path of its contacts.
async fn put(server: &Server, fields: &Value) -> String {
    let answer = server.json("PUT", HR_1, &ada(fields)).await;
    assert!(answer.status.is_success(), "{}", answer.text());
    format!("/v1/users/{}/contacts", answer.json()["id"].as_str().unwrap())
}

/// Returns the contacts of `hr-1`, one text each.
async fn contacts(server: &Server) -> Vec<String> {
    let user = server.get(HR_1).await.expect(200);
    let text = |contact: &Value| {
        let text = |field: &str| contact[field].as_str().unwrap_or("-").to_owned();
        let kinds = contact["optedOutKinds"].as_array().unwrap().iter().map(|kind| kind.as_str().unwrap());
        let kinds = kinds.collect::<Vec<_>>().join("+");
        format!("{} {} {} {kinds}", text("channel"), text("address"), text("status")).trim_end().to_owned()
    };
    user["contacts"].as_array().unwrap().iter().map(text).collect()
}

/// Returns the channel by which `hr-1` gets greetings of `kind`, of the channels that are not the webhook.
async fn reached_by(server: &Server, kind: &str) -> Option<String> {
    let sql = "SELECT r.channel FROM users u, reach(u.id, $1, ARRAY['slack', 'mail', 'sms']) r WHERE external_id = 'hr-1'";
    sqlx::query_scalar(sql).bind(kind).fetch_optional(&server.pool().await).await.unwrap()
}

async fn count(server: &Server, table: &str) -> i64 {
    let sql = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    sqlx::query_scalar(sql).fetch_one(&server.pool().await).await.unwrap()
}

async fn import(server: &Server, types: &str, body: impl Into<Body>) -> Answer {
    server.call("POST", "/v1/users/import", &[("content-type", types)], body.into()).await
}

#[tokio::test]
async fn a_user_has_a_contact_for_each_channel_with_an_address() {
    let server = Server::start().await;
    let fields = json!({
        "email": " Ada@example.org ", "phone": "+44 (0)20 7946-0958", "slackUserId": "U012AB3CD", "locale": "EN_gb",
    });
    let path = put(&server, &fields).await;
    let expected = [
        "mail Ada@example.org active",
        "slack U012AB3CD active",
        "sms +442079460958 active",
        "whatsapp +442079460958 active",
    ];
    assert_eq!(contacts(&server).await, expected);
    let user = server.get(path.strip_suffix("/contacts").unwrap()).await.expect(200);
    assert_eq!((&user["locale"], &user["contacts"][0]["since"]), (&json!("en-GB"), &Value::Null));
    // Lists have the addresses only, also of a search.
    for list in ["/v1/users", "/v1/users?search=ada"] {
        let item = server.get(list).await.expect(200)["items"][0].clone();
        let addresses = (&item["email"], &item["phone"], &item["slackUserId"]);
        assert_eq!(addresses, (&user["email"], &user["phone"], &user["slackUserId"]), "{list}");
        assert_eq!((&item["locale"], item.get("contacts")), (&user["locale"], None), "{list}");
    }

    // What was read can be written, and an absent address is removed by a PUT.
    let version = server.get(HR_1).await.header("etag").to_owned();
    assert_eq!(server.json("PUT", HR_1, &user).await.header("etag"), version);
    server.json("PUT", HR_1, &ada(&json!({ "email": "ada@example.org" }))).await.expect(200);
    // Slack looks a mail address up.
    assert_eq!(contacts(&server).await, ["mail ada@example.org active", "slack ada@example.org active"]);
    server.json("PUT", HR_1, &ada(&json!({}))).await.expect(200);
    assert_eq!(count(&server, "contact_points").await, 0);
}

#[tokio::test]
async fn a_changed_address_is_a_new_version_and_an_equal_one_is_not() {
    let server = Server::start().await;
    let user = put(&server, &json!({ "email": "ada@example.org", "phone": "+442079460958" })).await;
    let user = user.strip_suffix("/contacts").unwrap();
    let mut versions = Vec::new();
    for patch in [
        json!({ "email": "ada@example.org", "phone": "+44 2079460958" }),
        json!({ "email": "ada.king@example.org" }),
        json!({ "slackUserId": "U012AB3CD" }),
        json!({ "phone": null }),
        json!({ "phone": null, "locale": "de" }),
    ] {
        let answer = server.json("PATCH", user, &patch).await;
        answer.expect(200);
        versions.push(answer.header("etag")[1..2].to_owned());
    }
    assert_eq!(versions, ["1", "2", "3", "4", "5"]);
    assert_eq!(contacts(&server).await, ["mail ada.king@example.org active", "slack U012AB3CD active"]);
}

#[tokio::test]
async fn each_wrong_address_is_named_with_an_example() {
    let server = Server::start().await;
    let fields = json!({ "email": "Ada <ada@example.org>", "phone": "0171 123", "slackUserId": "@ada", "locale": "jp" });
    let answer = server.json("PUT", HR_1, &ada(&fields)).await;
    answer.expect(422);
    assert_eq!(answer.fields(), ["email", "locale", "phone", "slackUserId"]);
    for part in ["ada@example.org", "+491711234567", "U012AB3CD", "pt-BR", "0171 123"] {
        assert!(answer.text().contains(part), "{part}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_user_can_opt_out_of_a_channel_and_of_a_kind_and_in_again() {
    let server = Server::start().await;
    let path = put(&server, &json!({ "email": "ada@example.org", "phone": "+442079460958" })).await;
    let choose =
        async |channel: &str, body: Value| server.json("PUT", &format!("{path}/{channel}"), &body).await;
    let out = choose("sms", json!({ "status": "opted_out" })).await.expect(200);
    let expected = json!({
        "channel": "sms", "address": "+442079460958", "status": "opted_out", "since": "2026-11-24T12:00:00Z",
        "optedOutKinds": [],
    });
    assert_eq!(out, expected);
    choose("mail", json!({ "status": "opted_out", "kind": "work_anniversary" })).await.expect(200);
    let all = [
        "mail ada@example.org active work_anniversary",
        "slack ada@example.org active",
        "sms +442079460958 opted_out",
        "whatsapp +442079460958 active",
    ];
    assert_eq!(contacts(&server).await, all);
    // Slack has no other address than that of the mail, which counts for each channel by itself.
    choose("slack", json!({ "status": "opted_out" })).await.expect(200);
    assert_eq!(reached_by(&server, "birthday").await.as_deref(), Some("mail"));
    assert_eq!(reached_by(&server, "work_anniversary").await, None);

    // Without a kind, all opt-outs of the channel end.
    choose("mail", json!({ "status": "active", "kind": "birthday" })).await.expect(200);
    assert_eq!(contacts(&server).await[0], all[0]);
    for channel in ["mail", "sms", "slack", "sms"] {
        let active = choose(channel, json!({ "status": "active" })).await.expect(200);
        assert_eq!((&active["status"], &active["optedOutKinds"]), (&json!("active"), &json!([])));
    }
    assert_eq!(count(&server, "suppressions").await, 0);
}

#[tokio::test]
async fn a_choice_for_no_contact_or_an_unknown_kind_is_refused() {
    let server = Server::start().await;
    let path = put(&server, &json!({ "email": "ada@example.org" })).await;
    let out = json!({ "status": "opted_out" });
    for none in [
        format!("{path}/sms"),
        format!("{path}/webhook"),
        "/v1/users/0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f/contacts/mail".to_owned(),
    ] {
        server.json("PUT", &none, &out).await.expect(404);
    }
    let unknown = server.json("PUT", "/v1/users/17/contacts/pigeon", &out).await;
    unknown.expect(400);
    assert_eq!(unknown.fields(), ["channel", "id"]);
    let mail = format!("{path}/mail");
    for (body, fields) in [
        (json!({}), vec!["status"]),
        (json!({ "kind": "name_day" }), vec!["kind", "status"]),
        (json!({ "status": "bounced" }), vec!["status"]),
        (json!({ "status": "opted_out", "since": null }), vec!["since"]),
    ] {
        let answer = server.json("PUT", &mail, &body).await;
        answer.expect(422);
        assert_eq!(answer.fields(), fields, "{body}");
    }
    assert_eq!(count(&server, "suppressions").await, 0);
    // Only the user was written: what was refused has no row that a handler committed.
    let writes = server.store().api_writes(&ApiWriteFilter::default(), None, 100).await.unwrap();
    assert!(writes.iter().all(|write| write.status != Some(200)), "{writes:?}");
    server.json("PUT", &mail, &out).await.expect(200);
    let writes = server.store().api_writes(&ApiWriteFilter::default(), None, 1).await.unwrap();
    let path = "/v1/users/{id}/contacts/{channel}";
    assert_eq!((writes[0].path.as_str(), writes[0].status), (path, Some(200)));
    assert!(mail.contains(&writes[0].target_id.unwrap().to_string()));
}

#[tokio::test]
async fn opting_out_of_slack_covers_both_addresses() {
    let server = Server::start().await;
    let path = put(&server, &json!({ "email": "ada@example.org", "slackUserId": "U012AB3CD" })).await;
    server.json("PUT", &format!("{path}/slack"), &json!({ "status": "opted_out" })).await.expect(200);
    assert_eq!(reached_by(&server, "birthday").await.as_deref(), Some("mail"));
    // With one address suppressed, the contact is the other.
    let slack = ChannelName::Slack;
    assert!(
        server
            .store()
            .opt_in_address(slack, "ada@example.org", instant("2026-11-25T00:00:00Z"))
            .await
            .unwrap()
    );
    assert_eq!(contacts(&server).await[1], "slack ada@example.org active");
    assert_eq!(reached_by(&server, "birthday").await.as_deref(), Some("slack"));
}

#[tokio::test]
async fn an_opt_out_outlives_the_user() {
    let server = Server::start().await;
    let path = put(&server, &json!({ "email": "Ada@example.org" })).await;
    server.json("PUT", &format!("{path}/mail"), &json!({ "status": "opted_out" })).await.expect(200);
    server.call("DELETE", HR_1, &[], Body::empty()).await.expect(204);
    assert_eq!((count(&server, "contact_points").await, count(&server, "suppressions").await), (0, 1));
    let file = "first_name,birth_date,time_zone,last_name,external_id,email\n\
                Augusta,1815-12-10,Europe/London,King,hr-1,ada@EXAMPLE.org\n";
    assert_eq!(import(&server, "text/csv", file).await.expect(200)["created"], 1);
    let expected = ["mail ada@EXAMPLE.org opted_out", "slack ada@EXAMPLE.org active"];
    assert_eq!(contacts(&server).await, expected);
    // Another address is another contact.
    put(&server, &json!({ "email": "augusta@example.org" })).await;
    assert_eq!(contacts(&server).await[0], "mail augusta@example.org active");
}

#[tokio::test]
async fn a_report_of_less_weight_does_not_replace_a_status() {
    let server = Server::start().await;
    put(&server, &json!({ "email": "ada@example.org" })).await;
    let store = server.store();
    let report = async |status, at: &str| {
        store.suppress_address(ChannelName::Mail, "ADA@example.org", status, instant(at)).await.unwrap()
    };
    let mut changed = Vec::new();
    for (status, at) in [
        (ContactStatus::Bounced, "2026-11-01T00:00:00Z"),
        (ContactStatus::Bounced, "2026-11-02T00:00:00Z"),
        (ContactStatus::Complained, "2026-11-03T00:00:00Z"),
        (ContactStatus::Bounced, "2026-11-04T00:00:00Z"),
        (ContactStatus::OptedOut, "2026-11-05T00:00:00Z"),
        (ContactStatus::Complained, "2026-11-06T00:00:00Z"),
    ] {
        changed.push(report(status, at).await);
    }
    assert_eq!(changed, [true, false, true, false, true, false]);
    let mail = server.get(HR_1).await.expect(200)["contacts"][0].clone();
    assert_eq!((&mail["status"], &mail["since"]), (&json!("opted_out"), &json!("2026-11-05T00:00:00Z")));
    assert!(
        store
            .opt_in_address(ChannelName::Mail, "ada@example.org", instant("2026-11-07T00:00:00Z"))
            .await
            .unwrap()
    );
    assert!(
        !store
            .opt_in_address(ChannelName::Mail, "ada@example.org", instant("2026-11-07T00:00:00Z"))
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn a_changed_status_is_never_answered_with_not_modified() {
    let server = Server::start().await;
    let path = put(&server, &json!({ "email": "ada@example.org" })).await;
    let read = async |tag: &str| server.call("GET", HR_1, &[("if-none-match", tag)], Body::empty()).await;
    let active = server.get(HR_1).await.header("etag").to_owned();
    assert_eq!(read(&active).await.status.as_u16(), 304);
    let choose = async |status: &str, kind: Option<&str>| {
        let body = json!({ "status": status, "kind": kind });
        server.json("PUT", &format!("{path}/mail"), &body).await.expect(200);
    };
    for kind in [None, Some("birthday")] {
        let active = server.get(HR_1).await.header("etag").to_owned();
        choose("opted_out", kind).await;
        let suppressed = read(&active).await;
        suppressed.expect(200);
        choose("active", kind).await;
        assert_eq!(read(suppressed.header("etag")).await.expect(200)["contacts"][0]["status"], "active");
    }
}

#[tokio::test]
async fn a_line_with_a_wrong_address_is_reported_and_the_others_are_imported() {
    let server = Server::start().await;
    let mut file =
        "first_name,last_name,birth_date,time_zone,external_id,email,phone,slack_user_id,locale\n".to_owned();
    for line in 2..=10 {
        let (email, locale) = match line {
            7 => ("ada@example@org", "de"),
            9 => ("eve@example.org", "english"),
            _ => ("ada@example.org", ""),
        };
        let _ = writeln!(file, "Ada,{line},1815-12-10,UTC,hr-{line},{email},+49 171 1234567,,{locale}");
    }
    let report = import(&server, "text/csv", file).await.expect(200);
    assert_eq!((&report["created"], &report["failed"]), (&json!(7), &json!(2)));
    let errors = report["errors"].as_array().unwrap();
    let expected = [
        (7, "email: invalid email address \"ada@example@org\": give one address"),
        (9, "locale: unknown locale \"english\": give a language"),
    ];
    for (error, (line, reason)) in errors.iter().zip(expected) {
        assert_eq!(error["line"], line);
        assert!(error["reason"].as_str().unwrap().starts_with(reason), "{error}");
    }
    assert_eq!(count(&server, "contact_points").await, 14);
    let line =
        r#"{"firstName":"Ada","birthDate":"1815-12-10","timeZone":"UTC","slackUserId":"ada","phone":7}"#;
    let report = import(&server, "application/x-ndjson", line).await.expect(200);
    let reason = report["errors"][0]["reason"].as_str().unwrap();
    assert!(
        reason.contains("slackUserId: invalid Slack user id \"ada\"") && reason.contains("phone: "),
        "{reason}"
    );
}

#[tokio::test]
async fn a_csv_file_without_a_column_keeps_these_addresses() {
    let server = Server::start().await;
    put(&server, &json!({ "email": "ada@example.org", "phone": "+442079460958", "locale": "de" })).await;
    let all = contacts(&server).await;
    let csv = async |columns: &str, fields: &str| {
        let file = format!(
            "first_name,last_name,birth_date,time_zone,external_id{columns}\nAda,,1815-12-10,Europe/London,hr-1{fields}\n"
        );
        let report = import(&server, "text/csv", file).await.expect(200);
        assert_eq!(report["failed"], 0, "{report}");
        report
    };
    assert_eq!(csv(",locale", ",de").await["unchanged"], 1);
    assert_eq!(contacts(&server).await, all);
    // Other columns are cleared, also that of the locale.
    assert_eq!(csv("", "").await["updated"], 1);
    assert_eq!(server.get(HR_1).await.expect(200)["locale"], Value::Null);
    // A blank field removes the address, and only the column's.
    assert_eq!(csv(",email", ",").await["updated"], 1);
    assert_eq!(contacts(&server).await, ["sms +442079460958 active", "whatsapp +442079460958 active"]);
    assert_eq!(csv(",email", ",").await["unchanged"], 1);
    // A line of NDJSON is the whole user.
    let line =
        r#"{"firstName":"Ada","birthDate":"1815-12-10","timeZone":"Europe/London","externalId":"hr-1"}"#;
    assert_eq!(import(&server, "application/x-ndjson", line).await.expect(200)["updated"], 1);
    assert_eq!(contacts(&server).await, [""; 0]);
}

#[tokio::test]
async fn an_export_has_the_addresses_and_its_import_changes_nothing() {
    let server = Server::start().await;
    let fields = json!({ "email": "\"a,b\"@example.org", "phone": "+442079460958", "slackUserId": "W012AB3CD", "locale": "pt-BR" });
    put(&server, &fields).await;
    server.json("POST", "/v1/users", &ada(&json!({}))).await.expect(201);
    for (format, types) in [("csv", "text/csv"), ("ndjson", "application/x-ndjson")] {
        let export = server.get(&format!("/v1/users/export?format={format}")).await;
        for part in ["example.org", "+442079460958", "W012AB3CD", "pt-BR"] {
            assert!(export.text().contains(part), "{}", export.text());
        }
        let report = import(&server, types, export.body.clone()).await.expect(200);
        assert_eq!((&report["unchanged"], &report["failed"]), (&json!(2), &json!(0)), "{}", export.text());
        let elsewhere = Server::start().await;
        assert_eq!(import(&elsewhere, types, export.body.clone()).await.expect(200)["created"], 2);
        assert_eq!(contacts(&elsewhere).await, contacts(&server).await);
    }
}

#[tokio::test]
async fn the_constraints_of_the_database_name_the_field() {
    let server = Server::start().await;
    let pool = server.pool().await;
    for (table, constraint, field) in [
        ("contact_points", "an_address_is_short", "email"),
        ("users", "a_locale_is_a_language_tag", "locale"),
    ] {
        let sql = format!(
            "ALTER TABLE {table} DROP CONSTRAINT {constraint}, ADD CONSTRAINT {constraint} CHECK (false) NOT VALID"
        );
        sqlx::query(AssertSqlSafe(sql)).execute(&pool).await.unwrap();
        let answer = server.json("POST", "/v1/users", &ada(&json!({ "email": "ada@example.org" }))).await;
        answer.expect(422);
        assert_eq!(answer.fields(), [field]);
        let sql = format!("ALTER TABLE {table} DROP CONSTRAINT {constraint}");
        sqlx::query(AssertSqlSafe(sql)).execute(&pool).await.unwrap();
    }
}
