//! Import of vCards.

use axum::body::Body;
use serde_json::{Value, json};

use super::create;
use crate::support::api::{Answer, Server};

async fn import(server: &Server, query: &str, file: &str) -> Answer {
    let path = format!("/v1/users/import{query}");
    server
        .call("POST", &path, &[("content-type", "text/vcard; charset=utf-8")], Body::from(file.to_owned()))
        .await
}

fn counts(report: &Value) -> [u64; 4] {
    ["created", "updated", "unchanged", "failed"].map(|key| report[key].as_u64().unwrap())
}

/// Cards as three address books write them, and two broken ones.
const CONTACTS: &str = "BEGIN:VCARD\r\nVERSION:3.0\r\nPRODID:-//Apple Inc.//iOS 18//EN\r\nN:Lovelace;Ada;;;\r\nFN:Ada Lovelace\r\n\
    item1.EMAIL;type=INTERNET;type=pref:ada@exam\r\n ple.org\r\nBDAY;X-APPLE-OMIT-YEAR=1604:1604-12-10\r\nTZ;VALUE=text:Europe/London\r\nUID:hr-1\r\nEND:VCARD\r\n\
    BEGIN:VCARD\r\nVERSION:2.1\r\nN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:M=C3=BC=\r\nller;J=C3=BCrgen;;;\r\nTEL;CELL:+49 171 1234567\r\n\
    BDAY:19800229\r\nPHOTO;JPEG;ENCODING=BASE64:\r\n /9j/4AAQSkZJRg==\r\n\r\nEND:VCARD\r\n\
    BEGIN:VCARD\r\nVERSION:4.0\r\nFN:Offset\r\nBDAY:19900101\r\nTZ:-0500\r\nEND:VCARD\r\n\
    BEGIN:VCARD\r\nVERSION:4.0\r\nFN:Bob Ross\r\nBDAY:--0401\r\nUID:hr-3\r\nLANG;PREF=1:en\r\nEND:VCARD\r\n\
    BEGIN:VCARD\r\nVERSION:4.0\r\nFN:No birthday\r\nEND:VCARD\r\n";

#[tokio::test]
async fn cards_of_all_versions_are_imported_and_bad_cards_reported_with_their_lines() {
    let server = Server::start().await;
    let report = import(&server, "?timeZone=Europe/Berlin", CONTACTS).await.expect(200);
    assert_eq!(counts(&report), [3, 0, 0, 2], "{report}");
    let errors = report["errors"].as_array().unwrap();
    assert_eq!((&errors[0]["line"], &errors[1]["line"]), (&json!(22), &json!(35)));
    let reason = |n: usize| errors[n]["reason"].as_str().unwrap();
    assert!(
        reason(0).starts_with("TZ: \"-0500\" is an offset from UTC") && !reason(0).contains("BDAY"),
        "{report}"
    );
    assert!(reason(1).starts_with("BDAY: is missing"), "{report}");
    let columns = json!({
        "recognised": ["BDAY", "EMAIL", "FN", "LANG", "N", "TEL", "TZ", "UID"], "ignored": ["PHOTO", "PRODID"]
    });
    assert_eq!(report["columns"], columns);

    let ada = server.get("/v1/users/by-external-id/hr-1").await.expect(200);
    assert_eq!(
        ["firstName", "lastName", "birthDate", "timeZone", "email"].map(|field| ada[field].as_str().unwrap()),
        ["Ada", "Lovelace", "--12-10", "Europe/London", "ada@example.org"]
    );
    let found = server.get("/v1/users?search=m%C3%BCller").await.expect(200);
    let jurgen = &found["items"][0];
    assert_eq!(
        ["firstName", "birthDate", "timeZone", "phone"].map(|field| jurgen[field].as_str().unwrap()),
        ["Jürgen", "1980-02-29", "Europe/Berlin", "+491711234567"]
    );
    assert_eq!(counts(&import(&server, "?timeZone=Europe/Berlin", CONTACTS).await.expect(200)), [0, 0, 3, 2]);
}

#[tokio::test]
async fn without_a_default_zone_a_card_without_one_is_rejected() {
    let server = Server::start().await;
    let report = import(&server, "", CONTACTS).await.expect(200);
    assert_eq!(counts(&report), [1, 0, 0, 4]);
    let reason = report["errors"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("TZ: is missing") && reason.contains("timeZone"), "{reason}");
    import(&server, "?timeZone=Mars", CONTACTS).await.expect(400);
    let csv = [("content-type", "text/csv")];
    let path = "/v1/users/import?timeZone=UTC";
    server.call("POST", path, &csv, Body::from("first_name\n")).await.expect(400);
}

#[tokio::test]
async fn a_card_updates_its_user_and_keeps_what_it_lacks() {
    let server = Server::start().await;
    let fields = json!({
        "externalId": "hr-3", "email": "bob@example.org", "phone": "+491711234567", "occasions": {"work_anniversary": "2020-01-01"}
    });
    create(&server, &fields).await;
    let card = "BEGIN:VCARD\nFN:Bob\nBDAY:--0401\nTZ:UTC\nUID:hr-3\nTEL:+491719999999\nEND:VCARD\n";
    assert_eq!(counts(&import(&server, "", card).await.expect(200)), [0, 1, 0, 0]);
    let bob = server.get("/v1/users/by-external-id/hr-3").await.expect(200);
    assert_eq!((&bob["email"], &bob["phone"]), (&json!("bob@example.org"), &json!("+491719999999")));
    assert_eq!(bob["occasions"]["work_anniversary"], "2020-01-01");
    assert_eq!((&bob["firstName"], &bob["lastName"]), (&json!("Bob"), &json!("")));
}

#[tokio::test]
async fn a_large_file_with_pictures_loses_no_card() {
    let server = Server::start().await;
    let picture = "/9j/4AAQSkZJRgABAQ".repeat(5000);
    let card = |n: usize| {
        format!(
            "BEGIN:VCARD\nVERSION:3.0\nFN:n{n}\nPHOTO;ENCODING=b;TYPE=JPEG:{picture}\nBDAY:1990-01-01\nUID:u{n}\nEND:VCARD\n"
        )
    };
    let file: String = (0..100).map(card).collect();
    let report = import(&server, "?timeZone=UTC", &file).await.expect(200);
    assert_eq!(counts(&report), [100, 0, 0, 0], "{report}");
}
