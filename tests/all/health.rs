//! `/livez`, `/readyz`, and `bday healthcheck`, which calls them.

use std::net::SocketAddr;

use bday::dev::postgres::{EmbeddedPostgres, PostgresOptions};

use crate::serve::Place;
use crate::support::process::Bday;

/// Returns the exit code and standard error of `bday healthcheck`.
async fn check(address: SocketAddr, arguments: &[&str]) -> (Option<i32>, String) {
    let finished = Bday::new(["healthcheck"].iter().chain(arguments))
        .env("BDAY__HTTP__LISTEN", address.to_string())
        .finish()
        .await;
    (finished.status.code(), finished.stderr)
}

/// A restart would lose unrecorded outcomes and repeat their greetings.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_without_its_database_is_live_and_not_ready() {
    let place = Place::new().await;
    let server = EmbeddedPostgres::start(PostgresOptions::throwaway()).await.unwrap();
    let daemon = place.bday(&["serve"]).env("BDAY__DATABASE__URL", server.url()).start();
    let address = daemon.ready().await;
    for arguments in [&[][..], &["--live"]] {
        assert_eq!(check(address, arguments).await, (Some(0), String::new()));
    }
    server.freeze().unwrap();
    let (code, said) = check(address, &[]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("not ready: ") && said.contains("database"), "{said}");
    assert_eq!(check(address, &["--live"]).await.0, Some(0));
    server.thaw().unwrap();
}

/// A rollout must not continue with such a process, and a restart would not help.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_still_starting_fails_its_health_checks() {
    let place = Place::new().await;
    let daemon =
        place.bday(&["serve"]).env("BDAY__DATABASE__URL", "postgres://bday@127.0.0.1:1/bday").start();
    let address = daemon.address().await;
    let answer = reqwest::get(format!("http://{address}/livez")).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text().await.unwrap(), "starting\n");
    let (code, said) = check(address, &["--live"]).await;
    assert_eq!((code, said.trim_end()), (Some(1), "bday: not live: starting"));
    assert_eq!(check(address, &[]).await.0, Some(1));
}
