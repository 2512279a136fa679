//! Import and export.

use axum::body::{Body, Bytes};
use serde_json::json;

use super::create;
use crate::support::api::{Answer, Server};

async fn import(server: &Server, types: &str, body: impl Into<Body>) -> Answer {
    server
        .call(
            "POST",
            "/v1/users/import",
            &[("content-type", types)],
            body.into(),
        )
        .await
}

#[tokio::test]
async fn a_csv_file_goes_in_but_for_its_bad_lines() {
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
    assert!(
        reason.contains("birth_date") && reason.contains("time_zone"),
        "{reason}"
    );
    let user = server.get("/v1/users/by-external-id/1").await.expect(200);
    assert_eq!(user["occasions"], json!({ "work_anniversary": "2019-05-02" }));

    // Without the column the dates stay, with an empty field they go.
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
    assert_eq!(
        import(&server, "text/csv", file).await.expect(200)["unchanged"],
        1
    );
}

#[tokio::test]
async fn an_ndjson_file_goes_in_but_for_its_bad_lines() {
    let server = Server::start().await;
    let file = "{\"firstName\":\"Ada\",\"birthDate\":\"1815-12-10\",\"timeZone\":\"UTC\",\"externalId\":\"1\"}\n\nnonsense\n";
    let report = import(&server, "application/x-ndjson", file).await.expect(200);
    assert_eq!((&report["created"], &report["failed"]), (&json!(1), &json!(1)));
    assert_eq!(report["errors"][0]["line"], 3);
}

#[tokio::test]
async fn what_is_no_file_is_refused() {
    let server = Server::start().await;
    import(&server, "application/json", "{}").await.expect(415);
    import(&server, "text/csv", "").await.expect(422);
    let answer = import(&server, "text/csv", "first_name,wedding\n")
        .await
        .expect(422);
    let detail = answer["detail"].as_str().unwrap();
    assert!(
        detail.contains("wedding") && detail.contains("work_anniversary"),
        "{detail}"
    );
    import(&server, "application/x-ndjson", "").await.expect(200);
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_in_what_came_before() {
    let server = Server::start().await;
    let parts = [
        Ok(Bytes::from_static(
            b"first_name,last_name,birth_date,time_zone\nAda,,1815-12-10,UTC\nBob",
        )),
        Err(std::io::Error::other("cut")),
    ];
    let body = Body::from_stream(futures_util::stream::iter(parts));
    import(&server, "text/csv", body).await.expect(400);
    let users = server.get("/v1/users").await.expect(200);
    assert_eq!(users["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_export_goes_back_in_and_changes_nothing() {
    let server = Server::start().await;
    for (first, last, id) in [
        ("Ada", "O\"Hara, Jr", "1"),
        ("Björk", "", "2"),
        ("=1+1", "x", "3"),
    ] {
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
        assert_eq!(
            (export.status.as_u16(), export.header("content-type")),
            (200, types)
        );
        let report = import(&server, types, export.body.clone()).await.expect(200);
        assert_eq!(
            (&report["unchanged"], &report["failed"]),
            (&json!(3), &json!(0)),
            "{}",
            export.text()
        );
    }
    let csv = server
        .call(
            "GET",
            "/v1/users/export",
            &[("accept", "text/csv")],
            Body::empty(),
        )
        .await;
    assert!(csv.text().starts_with(
        "first_name,last_name,birth_date,time_zone,send_at,leap_day,external_id,work_anniversary\n"
    ));
    server.get("/v1/users/export?format=xml").await.expect(400);
}

#[tokio::test]
async fn an_export_has_everybody_over_many_pages() {
    let server = Server::start().await;
    let lines = (0..2500).map(|n| format!("n{n},,1990-01-01,UTC\n"));
    let file: String = std::iter::once("first_name,last_name,birth_date,time_zone\n".to_owned())
        .chain(lines)
        .collect();
    assert_eq!(
        import(&server, "text/csv", file).await.expect(200)["created"],
        2500
    );
    let export = server.get("/v1/users/export").await;
    let ids: std::collections::BTreeSet<&str> = export.text().lines().map(|line| &line[..43]).collect();
    assert_eq!((export.text().lines().count(), ids.len()), (2500, 2500));
}
