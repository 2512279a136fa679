//! PgBouncer in front of the database: session mode works, transaction mode is rejected.

use bday::store::{Store, StoreError, StoreOptions};
use serde_json::Value;
use std::time::Duration;

use crate::serve::Place;
use crate::support::pgbouncer::PgBouncer;

fn store(url: &str) -> Store {
    let options = StoreOptions {
        max_connections: 4,
        acquire_timeout: Duration::from_secs(10),
        kept_connections: 0,
        statement_timeout: Duration::from_secs(7),
    };
    Store::new(url, &options).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn greetings_are_sent_through_a_pooler_in_session_mode() {
    let place = Place::new().await;
    let Some(pooler) = PgBouncer::start(place.database.url(), "session").await else {
        return;
    };
    let (direct, through) = (store(place.database.url()), store(pooler.url()));
    for store in [&direct, &through] {
        store.check_sessions().await.unwrap();
    }
    let bday = |arguments: &[&str]| place.bday(arguments).env("BDAY__DATABASE__URL", pooler.url());
    let migrated = bday(&["migrate"]).finish().await;
    assert!(migrated.status.success(), "{migrated:?}");
    place.people_who_are_due(5).await;
    let mut daemon = bday(&["serve"]).start();
    place.receiver.until_accepted(5).await;
    place.until_quiet().await;
    daemon.terminate();
    assert!(daemon.exit().await.success());
    place.assert_each_once(5);
    let examined = bday(&["doctor"]).finish().await;
    assert!(examined.status.success(), "{examined:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_in_transaction_mode_is_rejected_with_the_reason() {
    let place = Place::new().await;
    let Some(pooler) = PgBouncer::start(place.database.url(), "transaction").await else {
        return;
    };
    let through = store(pooler.url());
    let refused = through.check_sessions().await;
    assert!(matches!(refused, Err(StoreError::TransactionPooling)), "{refused:?}");
    let bday = |arguments: &[&str]| place.bday(arguments).env("BDAY__DATABASE__URL", pooler.url());

    let examined = bday(&["doctor", "--json"]).finish().await;
    assert_eq!(examined.status.code(), Some(1));
    let report: Value = serde_json::from_str(&examined.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["check"] == "database.sessions");
    let finding = finding.unwrap_or_else(|| panic!("{report}"));
    assert_eq!(finding["grade"], "failure");
    assert!(finding["advice"].as_str().unwrap().contains("session"), "{finding}");

    let migrated = bday(&["migrate"]).finish().await;
    assert_eq!(migrated.status.code(), Some(1));
    assert!(migrated.stderr.contains("transaction mode"), "{migrated:?}");

    let daemon = bday(&["serve"]).start();
    let line = daemon.logged("not ready yet").await;
    assert!(line["error"].as_str().unwrap().contains("transaction mode"), "{line}");
    let address = daemon.address().await;
    let ready = reqwest::get(format!("http://{address}/readyz")).await.unwrap();
    assert_eq!(ready.status(), 503);
}
