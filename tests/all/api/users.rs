//! Creates, reads, replaces, changes and deletes users.

use axum::body::Body;
use serde_json::{Value, json};

use super::{ada, create, read, tag};
use crate::support::api::Server;

#[tokio::test]
async fn a_user_can_be_created_read_changed_replaced_and_deleted() {
    let server = Server::start().await;
    let answer = server.json("POST", "/v1/users", &ada()).await;
    let created = answer.expect(201);
    let path = format!("/v1/users/{}", created["id"].as_str().unwrap());
    assert_eq!((answer.header("location"), answer.header("etag")), (path.as_str(), tag(1).as_str()));
    let expected = json!({
        "id": created["id"], "externalId": null, "firstName": "Ada", "lastName": "Lovelace",
        "birthDate": "1815-12-10", "timeZone": "Europe/London", "sendAt": null, "leapDay": null, "occasions": {},
        "email": null, "phone": null, "slackUserId": null, "locale": null,
        "createdAt": "2026-11-24T12:00:00Z", "updatedAt": "2026-11-24T12:00:00Z",
    });
    assert_eq!(created, expected);
    assert_eq!(read(&server, &path).await, expected);

    let change = json!({ "lastName": "King", "sendAt": "07:30", "birthDate": "--12-10" });
    let changed = server.json("PATCH", &path, &change).await.expect(200);
    assert_eq!(
        (&changed["lastName"], &changed["sendAt"], &changed["birthDate"]),
        (&json!("King"), &json!("07:30"), &json!("--12-10"))
    );
    let replaced = server.json("PUT", &path, &ada()).await.expect(200);
    assert_eq!(replaced["sendAt"], Value::Null);

    assert_eq!(server.call("DELETE", &path, &[], Body::empty()).await.expect(204), Value::Null);
    for method in ["DELETE", "GET"] {
        server.call(method, &path, &[], Body::empty()).await.expect(404);
    }
    server.json("PUT", &path, &ada()).await.expect(404);
    server.json("PATCH", &path, &json!({})).await.expect(404);
}

#[tokio::test]
async fn all_invalid_fields_are_reported_together() {
    let server = Server::start().await;
    let body = json!({
        "firstName": 1, "birthDate": "2026-11-26", "timeZone": "Europe/Berln", "sendAt": "9:00", "leapDay": "never",
        "externalId": "a\u{0}", "email": "ada", "phone": "0171 123", "slackUserId": "ada", "locale": "german", "nickname": "x", "occasions": { "name_day": "--01-01", "work_anniversary": "2019-02-29" },
    });
    let answer = server.json("POST", "/v1/users", &body).await;
    answer.expect(422);
    let expected = [
        "birthDate",
        "email",
        "externalId",
        "firstName",
        "leapDay",
        "locale",
        "nickname",
        "occasions.name_day",
        "occasions.work_anniversary",
        "phone",
        "sendAt",
        "slackUserId",
        "timeZone",
    ];
    assert_eq!(answer.fields(), expected);
    assert!(answer.text().contains("Europe/Berlin"), "{}", answer.text());
}

#[tokio::test]
async fn a_birth_date_may_be_today_in_the_easternmost_zone() {
    let server = Server::start().await;
    create(&server, &json!({ "birthDate": "2026-11-25" })).await;
}

#[tokio::test]
async fn the_status_of_an_unreadable_body_depends_on_the_fault() {
    let server = Server::start().await;
    let call = |types: &'static str, body: String| {
        let server = &server;
        async move {
            let headers = [("content-type", types)];
            server.call("POST", "/v1/users", &headers, Body::from(body)).await
        }
    };
    for body in
        ["", "{", "[]", "null", "{\"a\":1,\"a\":1}", "{\"occasions\":{\"a\":null,\"a\":null}}", "\u{feff}{}"]
    {
        call("application/json", body.to_owned()).await.expect(400);
    }
    call("text/plain", ada().to_string()).await.expect(415);
    call("Application/JSON; charset=utf-8", ada().to_string()).await.expect(201);
    call("application/json", format!("{{\"firstName\":\"{}\"}}", "x".repeat(70_000))).await.expect(413);
}

#[tokio::test]
async fn an_external_id_is_unique() {
    let server = Server::start().await;
    create(&server, &json!({ "externalId": "hr-1" })).await;
    let second = create(&server, &json!({})).await;
    let mut body = ada();
    body["externalId"] = json!("hr-1");
    for (method, path) in [("POST", "/v1/users".to_owned()), ("PUT", format!("/v1/users/{second}"))] {
        let answer = server.json(method, &path, &body).await;
        answer.expect(409);
        assert_eq!(answer.fields(), ["externalId"]);
    }
}

#[tokio::test]
async fn a_put_by_external_id_is_idempotent() {
    let server = Server::start().await;
    let path = "/v1/users/by-external-id/hr%2F1";
    server.get(path).await.expect(404);
    let answer = server.json("PUT", path, &ada()).await;
    let created = answer.expect(201);
    assert_eq!(created["externalId"], "hr/1");
    assert_eq!(answer.header("location"), format!("/v1/users/{}", created["id"].as_str().unwrap()));
    let again = server.json("PUT", path, &ada()).await;
    assert_eq!((again.expect(200), again.header("etag")), (created.clone(), tag(1).as_str()));
    let mut moved = ada();
    moved["timeZone"] = json!("Asia/Tokyo");
    moved["externalId"] = json!("hr/1");
    let again = server.json("PUT", path, &moved).await;
    assert_eq!(again.expect(200)["timeZone"], "Asia/Tokyo");
    assert_eq!(again.header("etag"), tag(2));
    moved["externalId"] = json!("hr/2");
    server.json("PUT", path, &moved).await.expect(422);
    assert_eq!(server.get(path).await.expect(200)["id"], created["id"]);
    server.call("DELETE", path, &[], Body::empty()).await.expect(204);
    server.call("DELETE", path, &[], Body::empty()).await.expect(404);
    // A deleted user who is created again gets the same id.
    assert_eq!(server.json("PUT", path, &ada()).await.expect(201)["id"], created["id"]);
}

#[tokio::test]
async fn an_external_id_in_a_path_is_trimmed() {
    let server = Server::start().await;
    for blank in ["%20", "%20%20", "%E2%80%83"] {
        let path = format!("/v1/users/by-external-id/{blank}");
        for method in ["GET", "PUT", "DELETE"] {
            let answer = server.json(method, &path, &ada()).await;
            answer.expect(400);
            assert_eq!(answer.fields(), ["externalId"]);
        }
    }
    assert_eq!(server.get("/v1/users").await.expect(200)["items"], json!([]));

    let padded = "/v1/users/by-external-id/%20hr-17%20";
    let created = server.json("PUT", padded, &ada()).await.expect(201);
    assert_eq!(created["externalId"], "hr-17");
    let mut body = ada();
    for given in ["hr-17", " hr-17 "] {
        body["externalId"] = json!(given);
        for path in [padded, "/v1/users/by-external-id/hr-17"] {
            assert_eq!(server.json("PUT", path, &body).await.expect(200), created);
            assert_eq!(read(&server, path).await, created);
        }
    }
    server.call("DELETE", padded, &[], Body::empty()).await.expect(204);
    server.get("/v1/users/by-external-id/hr-17").await.expect(404);
}

#[tokio::test]
async fn a_date_of_another_kind_can_be_set_kept_and_removed() {
    let server = Server::start().await;
    let id = create(&server, &json!({ "occasions": { "work_anniversary": "2019-05-02" } })).await;
    let path = format!("/v1/users/{id}");
    let occasions =
        async |patch: Value| server.json("PATCH", &path, &patch).await.expect(200)["occasions"].clone();
    assert_eq!(
        occasions(json!({ "firstName": "Augusta" })).await,
        json!({ "work_anniversary": "2019-05-02" })
    );
    assert_eq!(
        occasions(json!({ "occasions": { "work_anniversary": "--05-03" } })).await,
        json!({ "work_anniversary": "--05-03" })
    );
    assert_eq!(occasions(json!({ "occasions": { "work_anniversary": null } })).await, json!({}));
    server.json("PATCH", &path, &json!({ "occasions": { "work_anniversary": "--05-03" } })).await.expect(200);
    assert_eq!(server.json("PUT", &path, &ada()).await.expect(200)["occasions"], json!({}));
    let answer = server.json("PATCH", &path, &json!({ "occasions": { "wedding": "--05-03" } })).await;
    answer.expect(422);
    assert!(answer.text().contains("work_anniversary"), "{}", answer.text());
}

#[tokio::test]
async fn upcoming_occasions_of_all_kinds_are_sorted() {
    let server = Server::start().await;
    let fields = json!({ "birthDate": "2000-02-29", "occasions": { "work_anniversary": "2026-12-01" } });
    let id = create(&server, &fields).await;
    let path = format!("/v1/users/{id}/upcoming");
    let ahead = server.get(&format!("{path}?years=2")).await.expect(200);
    let lines: Vec<String> = ahead["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            format!(
                "{} {} {} {} {}",
                item["kind"], item["dueAt"], item["offset"], item["rule"], item["years"]
            )
        })
        .collect();
    // The first day of work is not an anniversary.
    assert_eq!(
        lines,
        [
            r#""birthday" "2027-02-28T09:00:00Z" "+00:00" "leap_day" 27"#,
            r#""work_anniversary" "2027-12-01T10:00:00Z" "+00:00" null 1"#,
            r#""birthday" "2028-02-29T09:00:00Z" "+00:00" null 28"#,
        ]
    );
    for years in ["0", "101", "x", "-1", "+1", ""] {
        server.get(&format!("{path}?years={years}")).await.expect(400);
    }
}

#[tokio::test]
async fn an_unknown_path_or_method_is_rejected() {
    let server = Server::start().await;
    server.get("/v1/people").await.expect(404);
    server.get("/v1/users/17").await.expect(400);
    server.get("/v1/users/by-external-id/%00").await.expect(400);
    server.get("/v1/users/by-external-id/%ff").await.expect(400);
    let answer = server.call("PUT", "/v1/users", &[], Body::empty()).await;
    answer.expect(405);
    assert_eq!(answer.header("allow"), "GET,HEAD,POST");
    server.call("GET", "/v1/users/import", &[], Body::empty()).await.expect(405);
}

#[tokio::test]
async fn the_description_has_every_path_and_its_page_is_self_contained() {
    let server = Server::start().await;
    let description = server.get("/openapi.json").await.expect(200);
    let paths: Vec<&String> = description["paths"].as_object().unwrap().keys().collect();
    let expected = [
        "/v1/users",
        "/v1/users/{id}",
        "/v1/users/by-external-id/{externalId}",
        "/v1/users/export",
        "/v1/users/{id}/upcoming",
        "/v1/users/{id}/events",
        "/v1/events",
        "/v1/events/{id}",
        "/v1/users/import",
        "/v1/users/{id}/explain",
        "/v1/users/{id}/contacts/{channel}",
        "/v1/forecast",
        "/v1/pause",
    ];
    assert!(expected.iter().all(|path| paths.iter().any(|found| found == path)), "{paths:?}");
    let page = server.get("/docs").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(!page.text().contains("https://") && !page.text().contains("src="));
}
