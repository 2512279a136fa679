//! Logs contain no personal data and no secrets.

use crate::serve::Place;
use crate::support::receiver::Behaviour;

#[tokio::test(flavor = "multi_thread")]
async fn logs_contain_no_names_bodies_or_secrets() {
    let place = Place::new().await;
    place.people_who_are_due(3).await;
    place
        .receiver
        .script([Behaviour::Answer(500, String::new(), b"no such pupil".to_vec()), Behaviour::Status(200)]);
    let secret = format!("{}?token=hunter2", place.receiver.url());
    let mut daemon = place
        .bday(&["serve"])
        .env("BDAY__WEBHOOK__URL", secret)
        .env("BDAY__WEBHOOK__SECRETS", "whsec_VGhlIHNlY3JldCBvZiB0aGUgd2ViaG9vaw==")
        .env("BDAY__HTTP__AUTH", "required")
        .env("BDAY__RETRY__SCHEDULE_SECS", "0,0,0,0")
        .env("BDAY__LOG__LEVEL", "debug")
        .start();
    let address = daemon.ready().await;
    let token = place.bday(&["token", "create", "hr", "--scope", "admin"]).finish().await.succeeded();
    let token = token.split_whitespace().find(|word| word.starts_with("bday_")).unwrap().to_owned();
    write_secretly(address, &token).await;
    place.receiver.until_accepted(3).await;
    place.until_quiet().await;
    daemon.terminate();
    daemon.exit().await;
    let log = daemon.lines().join("\n");
    let password = place.database.url().split(&[':', '@'][..]).nth(2).unwrap().to_owned();
    let texts = ["John", "Doe", "birthday\"", "hunter2", "VGhlIHNlY3JldC", "no such pupil"];
    for private in texts.into_iter().chain(WRITTEN).chain([password.as_str(), &token, FOREIGN]) {
        assert!(!log.contains(private), "the log holds {private:?}");
    }
    let count = |message: &str| daemon.logs().iter().filter(|line| line["message"] == message).count();
    assert_eq!((count("attempt failed"), count("api write")), (3, 8));
}

/// A token of another installation.
const FOREIGN: &str = "bday_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg4DMFpT";
/// Private values in the requests of [`write_secretly`].
const WRITTEN: [&str; 7] =
    ["Zebulon", "Quetzal", "1987-06-05", "hr-4711", "once-only", "Xanthippe", "1979-08-07"];

/// Writes users by all routes of the API, with and without success.
async fn write_secretly(address: std::net::SocketAddr, token: &str) {
    let user = serde_json::json!({
        "firstName": "Zebulon", "lastName": "Quetzal", "birthDate": "1987-06-05", "timeZone": "UTC", "externalId": "hr-4711",
    });
    let mut wrong = user.clone();
    wrong["timeZone"] = "Quetzal/Zebulon".into();
    let client = reqwest::Client::new();
    let call = async |method: reqwest::Method, path: &str, token: &str, kind: &str, body: String| {
        let request = client.request(method, format!("http://{address}/v1/users{path}"));
        let request =
            request.bearer_auth(token).header("content-type", kind).header("idempotency-key", "once-only");
        request.body(body).send().await.unwrap().status().as_u16()
    };
    let file = "first_name,last_name,birth_date,time_zone,external_id\nXanthippe,,1979-08-07,UTC,hr-4711b\nXanthippe,,1979-08-07,Quetzal,\n";
    let (post, put, patch, delete) =
        (reqwest::Method::POST, reqwest::Method::PUT, reqwest::Method::PATCH, reqwest::Method::DELETE);
    let (json, named) = ("application/json", "/by-external-id/hr-4711");
    for (method, path, token, kind, body, status) in [
        (&post, "", token, json, user.to_string(), 201),
        (&post, "", token, json, user.to_string(), 201),
        (&post, "", token, json, wrong.to_string(), 422),
        (&post, "", FOREIGN, json, user.to_string(), 401),
        (&put, named, token, json, user.to_string(), 200),
        (&patch, named, token, json, user.to_string(), 405),
        (&put, named, token, json, "{\"Zebulon\"".to_owned(), 400),
        (&post, "/import", token, "text/csv", file.to_owned(), 200),
        (&delete, named, token, json, String::new(), 204),
    ] {
        let got = call(method.clone(), path, token, kind, body).await;
        assert_eq!(got, status, "{method} {path}");
    }
}
