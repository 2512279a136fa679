//! Dead letters by `bday dlq` and by the API, with a running daemon.

use std::collections::BTreeSet;

use bday::model::EventState::{Dead, Delivered};
use serde_json::Value;

use crate::serve::{Place, QUEUE};
use crate::support::process::{Bday, Finished, json_lines};
use crate::support::receiver::Behaviour;
use crate::support::wait::eventually;

struct Shell {
    place: Place,
    kind: &'static str,
}

impl Shell {
    fn bday(&self, arguments: &[&str]) -> Bday {
        self.place.bday(arguments).env("BDAY__QUEUE__KIND", self.kind)
    }

    async fn run(&self, arguments: &[&str]) -> Finished {
        self.bday(arguments).finish().await
    }

    /// Runs a command that must succeed; returns its standard output.
    async fn ok(&self, arguments: &[&str]) -> String {
        self.run(arguments).await.succeeded()
    }

    async fn lines(&self, arguments: &[&str]) -> Vec<Value> {
        json_lines(&self.ok(arguments).await)
    }

    /// Runs a command that must fail with this exit code; returns its standard error.
    async fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let finished = self.run(arguments).await;
        assert_eq!(finished.status.code(), Some(code), "{arguments:?}: {finished:?}");
        finished.stderr
    }

    async fn until_messages(&self, n: i64) {
        if self.kind == "sqs" {
            let dead = format!("{QUEUE}-dlq");
            let wish = |counts: crate::support::sqs::Counts| counts.visible as i64 == n;
            self.place.sqs.until("that many dead letters", &dead, wish).await;
            return;
        }
        let pool = self.place.database.pool().await;
        eventually("that many dead letters", async || {
            let count: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox WHERE dead_letter IS NOT NULL")
                .fetch_one(&pool)
                .await
                .unwrap();
            (count == n).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_in_sqs_are_listed_shown_and_redriven() {
    redriven_while_a_daemon_runs("sqs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_in_postgres_are_listed_shown_and_redriven() {
    redriven_while_a_daemon_runs("postgres").await;
}

async fn redriven_while_a_daemon_runs(kind: &'static str) {
    let shell = Shell { place: Place::new().await, kind };
    let place = &shell.place;
    place.people_who_are_due(3).await;
    let answer = Behaviour::Answer(410, String::new(), b"no such secret-in-the-answer".to_vec());
    place.receiver.script([answer]);
    let daemon = shell.bday(&["serve"]).start();
    let address = daemon.ready().await;
    place.receiver.until_received(3).await;
    shell.until_messages(3).await;
    assert_eq!(place.count(Dead).await, 3);

    let listed = shell.lines(&["dlq", "list", "--json"]).await;
    assert_eq!(listed.len(), 3);
    for dead in &listed {
        assert_eq!((&dead["reason"], &dead["lastStatus"]), (&"gone".into(), &410.into()));
        assert_eq!(dead["lastResponse"], "no such secret-in-the-answer");
    }
    let table = shell.ok(&["dlq", "list"]).await;
    assert!(table.contains("3 of 3 dead events"), "{table}");
    assert!(table.contains("0 strays in 3 messages read"), "{table}");
    assert!(shell.lines(&["dlq", "list", "--reason", "status", "--json"]).await.is_empty());
    let selected =
        async |options: &[&str]| shell.lines(&[&["dlq", "list", "--json"], options].concat()).await.len();
    assert_eq!(selected(&["--channel", "mail", "--channel", "webhook", "--status", "410"]).await, 3);
    assert_eq!(
        selected(&["--channel", "none"]).await + selected(&["--status", "none", "--status", "503"]).await,
        0
    );
    assert!(shell.fails(2, &["dlq", "list", "--status", "5xx"]).await.contains("such as 503, or none"));
    let id = listed[0]["id"].as_str().unwrap();
    let shown = shell.ok(&["dlq", "show", id]).await;
    assert!(shown.contains("response to attempt 1: no such secret-in-the-answer"), "{shown}");
    let user = listed[0]["userId"].as_str().unwrap();
    assert!(shell.ok(&["explain", user]).await.contains("response: no such"));

    assert!(shell.fails(2, &["dlq", "purge"]).await.contains("--yes is needed"));
    let purge = shell.lines(&["dlq", "purge", "--dry-run", "--json"]).await;
    assert_eq!((&purge[0]["purged"], &purge[0]["dryRun"]), (&3.into(), &true.into()));
    assert!(
        shell.ok(&["dlq", "redrive", "--dry-run"]).await.contains("3 would be redriven, 0 would be skipped")
    );
    let unknown = "0198f0c0-0000-7000-8000-000000000000";
    let error = shell.fails(1, &["dlq", "redrive", "--event", unknown]).await;
    assert!(error.contains("1 is not dead"), "{error}");
    assert!(shell.fails(1, &["event", "retry", unknown]).await.contains(unknown));
    assert!(shell.fails(2, &["dlq", "list", "--reason", "bad"]).await.contains("worker_lost"));

    place.receiver.script([Behaviour::Status(200)]);
    assert!(shell.ok(&["event", "retry", id]).await.starts_with("redriven "));
    place.receiver.until_accepted(1).await;
    eventually("it to be recorded", async || (place.count(Delivered).await == 1).then_some(())).await;
    assert!(shell.fails(1, &["event", "retry", id]).await.contains("is delivered"));
    assert!(shell.fails(1, &["event", "cancel", id]).await.contains("is delivered"));
    assert!(shell.fails(1, &["dlq", "show", id]).await.contains("is delivered, not dead"));

    if kind == "sqs" {
        let redriven = shell.lines(&["dlq", "redrive", "--json", "--max-per-second", "1000"]).await;
        assert_eq!(redriven[0]["redriven"], 2, "{redriven:?}");
        assert_eq!(redriven[0]["messagesDeleted"], 2, "{redriven:?}");
    } else {
        let client = reqwest::Client::new();
        let call = client.post(format!("http://{address}/v1/dead-letters/redrive"));
        let report: Value = call
            .json(&serde_json::json!({ "reasons": ["gone"] }))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!((&report["redriven"], &report["messagesDeleted"]), (&2.into(), &2.into()));
        let metrics = client.get(format!("http://{address}/metrics")).send().await.unwrap();
        let metrics = metrics.text().await.unwrap();
        for line in ["bday_events_redriven_total 2", "bday_dead_letters_deleted_total{by=\"redrive\"} 2"] {
            assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
        }
    }
    // The redrive claims the events itself, without a tick.
    place.receiver.until_accepted(3).await;
    place.assert_each_once(3);
    let ids: BTreeSet<String> = place.receiver.records().into_iter().map(|record| record.event_id).collect();
    assert_eq!((ids.len(), place.receiver.records().len()), (3, 6));
    shell.until_messages(0).await;
    assert!(shell.lines(&["dlq", "list", "--json"]).await.is_empty());
    let lines = daemon.lines().join("\n");
    assert!(!lines.contains("secret-in-the-answer"), "responses are never logged");
}
