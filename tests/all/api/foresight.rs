//! Explanations and forecasts of the API match those of the commands.

use bday::people::explain::ExplainSettings;
use bday::people::explain::explain;
use bday::store::UserRef;
use sqlx::Executor as _;

use crate::support::api::Server;
use crate::support::world::{World, instant};

#[tokio::test]
async fn the_api_explains_existing_and_deleted_users() {
    let world = World::at("2026-05-02T08:00:00Z").await;
    let user = world.write("hr-17", "2000-02-29", "Asia/Kathmandu").await;
    let api = Server::on(&world);
    let path = format!("/v1/users/{user}/explain");
    let answer = api.get(&path).await.expect(200);
    let facts = world.store.user_history(UserRef::Id(user)).await.unwrap().unwrap();
    let expected = explain(facts, &ExplainSettings::new(&world.config), instant("2026-05-02T08:00:00Z"));
    assert_eq!(answer, serde_json::to_value(&expected).unwrap());
    assert_eq!(answer["localNow"], "2026-05-02T13:45:00+05:45");
    assert_eq!(answer["thisYear"][0]["status"], "learned_too_late");
    assert_eq!(answer["next"][0]["dueAt"], "2027-02-28T03:15:00Z");

    let pending = world.write("hr-18", "1990-05-03", "UTC").await;
    world.minute().await;
    let path = format!("/v1/users/{pending}/explain");
    assert_eq!(api.get(&path).await.expect(200)["thisYear"][0]["status"], "not_due");
    let now = instant("2026-05-02T08:00:00Z");
    world.store.delete_user(now, UserRef::Id(pending), None, None).await.unwrap();
    let answer = api.get(&path).await.expect(200);
    assert_eq!(
        (&answer["user"], &answer["deletedAt"]),
        (&serde_json::Value::Null, &"2026-05-02T08:00:00Z".into())
    );
    assert_eq!(answer["thisYear"][0]["status"], "cancelled");
}

#[tokio::test]
async fn the_explanation_of_an_unknown_user_is_not_found() {
    let api = Server::start().await;
    api.get("/v1/users/0198f0c0-5b7e-7cc3-98c4-dc0c0c07398f/explain").await.expect(404);
    api.get("/v1/users/x/explain").await.expect(400);
}

#[tokio::test]
async fn the_forecast_has_a_count_for_each_requested_day() {
    let world = World::at("2026-05-02T08:00:00Z").await;
    world.write("u", "1990-05-03", "Asia/Kolkata").await;
    let api = Server::on(&world);
    let answer = api.get("/v1/forecast?days=3").await.expect(200);
    let expected = serde_json::json!({
        "from": "2026-05-02", "days": 3, "dates": 1, "due": 1,
        "channels": [{"channel": "webhook", "due": 1}],
        "perDay": [
            {"date": "2026-05-02", "due": 0}, {"date": "2026-05-03", "due": 1}, {"date": "2026-05-04", "due": 0}
        ],
        "busiestMinutes": [
            {"at": "2026-05-03T03:30:00Z", "due": 1, "zones": [{"timeZone": "Asia/Kolkata", "due": 1}]}
        ],
    });
    assert_eq!(answer, expected);
    assert_eq!(api.get("/v1/forecast").await.expect(200)["perDay"].as_array().unwrap().len(), 366);
    for wrong in ["/v1/forecast?days=0", "/v1/forecast?days=1831", "/v1/forecast?day=3"] {
        api.get(wrong).await.expect(400);
    }
}

/// Each forecast reads all users and occupies a request slot until the database responds.
#[tokio::test]
async fn at_most_four_forecasts_run_concurrently() {
    let server = Server::start().await;
    let pool = server.pool().await;
    let mut lock = pool.begin().await.unwrap();
    lock.execute("LOCK TABLE occasions IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let paths: Vec<String> = (1..=20).map(|days| format!("/v1/forecast?days={days}")).collect();
    let mut requests: Vec<_> = paths.iter().map(|path| Box::pin(server.get(path))).collect();
    let mut refused = 0;
    requests = {
        let mut waiting = Vec::new();
        for mut request in requests {
            match futures_util::poll!(&mut request) {
                std::task::Poll::Pending => waiting.push(request),
                std::task::Poll::Ready(answer) => {
                    answer.expect(503);
                    assert_eq!(answer.header("retry-after"), "5");
                    refused += 1;
                }
            }
        }
        waiting
    };
    assert_eq!((requests.len(), refused), (4, 16));
    lock.rollback().await.unwrap();
    for answer in futures_util::future::join_all(requests).await {
        answer.expect(200);
    }
}
