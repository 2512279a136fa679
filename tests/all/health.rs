//! `/livez` and `/readyz`, and `bday healthcheck`, which asks them: the one says whether to end the process, the other
//! whether it does its work.

use std::net::SocketAddr;

use bday::dev::postgres::{EmbeddedPostgres, PostgresOptions};

use crate::serve::Place;
use crate::support::process::Bday;

/// Exit code and words of a health check, as a container's would be.
async fn check(address: SocketAddr, arguments: &[&str]) -> (Option<i32>, String) {
    let finished = Bday::new(["healthcheck"].iter().chain(arguments))
        .env("BDAY__HTTP__LISTEN", address.to_string())
        .finish()
        .await;
    (finished.status.code(), finished.stderr)
}

/// ECS would end it, and with it what it has yet to record: those greetings would go again.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_whose_database_is_away_is_not_ready_but_lives() {
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

/// A deployment must not go on with it, and nothing is gained by ending it.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_was_never_set_up_is_alive_and_passes_no_health_check() {
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
