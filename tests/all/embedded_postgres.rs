//! Starts, restarts, crashes and freezes the embedded PostgreSQL server, which must not outlive its owner.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bday::dev::postgres::{Binaries, EmbeddedError, EmbeddedPostgres, PostgresOptions};
use sqlx::{Connection, PgConnection};

use crate::support::wait::{eventually, within};

/// The variable for the ignored test that other tests run as the owner. Without it, that test does nothing.
const HOLD: &str = "BDAY_TEST_HOLD";

async fn select_one(url: &str) -> Result<i32, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::query_scalar("SELECT 1").fetch_one(&mut connection).await
}

/// Returns the parent of the data directory.
async fn directory(url: &str) -> PathBuf {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let data: String = sqlx::query_scalar("SHOW data_directory").fetch_one(&mut connection).await.unwrap();
    Path::new(&data).parent().unwrap().to_owned()
}

#[tokio::test]
async fn a_throwaway_server_answers_and_leaves_nothing_behind() {
    let server = EmbeddedPostgres::start(PostgresOptions::throwaway()).await.unwrap();
    assert_eq!(select_one(&server.url()).await.unwrap(), 1);
    let dir = directory(&server.url()).await;
    assert!(dir.exists());
    server.stop().await.unwrap();
    assert!(!dir.exists(), "{} remains", dir.display());
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let server = EmbeddedPostgres::start(PostgresOptions::throwaway()).await.unwrap();
    let url = format!("postgres://bday:guess@127.0.0.1:{}/postgres", server.port());
    let error = select_one(&url).await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "28P01");
}

#[tokio::test]
async fn committed_rows_survive_a_restart_and_a_crash_on_the_same_port() {
    let settings = vec![("synchronous_commit".to_owned(), "on".to_owned())];
    let options = PostgresOptions { settings, ..PostgresOptions::throwaway() };
    let mut server = EmbeddedPostgres::start(options).await.unwrap();
    let url = server.url();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::query("CREATE TABLE kept (n int)").execute(&mut connection).await.unwrap();

    server.restart().await.unwrap();
    assert_eq!(server.url(), url);
    connection.ping().await.unwrap_err();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::query("INSERT INTO kept VALUES (7)").execute(&mut connection).await.unwrap();

    server.kill_immediate().await.unwrap();
    assert!(server.pid().is_none());
    select_one(&url).await.unwrap_err();
    server.restart().await.unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let n: i32 = sqlx::query_scalar("SELECT n FROM kept").fetch_one(&mut connection).await.unwrap();
    assert_eq!(n, 7);
}

#[tokio::test]
async fn a_frozen_server_answers_nothing_until_it_is_thawed() {
    let server = EmbeddedPostgres::start(PostgresOptions::throwaway()).await.unwrap();
    let mut connection = PgConnection::connect(&server.url()).await.unwrap();
    server.freeze().unwrap();
    {
        let ping = connection.ping();
        tokio::pin!(ping);
        tokio::time::timeout(Duration::from_millis(100), &mut ping).await.unwrap_err();
        server.thaw().unwrap();
        within("the thawed server's answer", ping).await.unwrap();
    }
    server.freeze().unwrap();
    within("a frozen server to stop", server.stop()).await.unwrap();
}

#[tokio::test]
async fn the_error_shows_an_invalid_setting() {
    let settings = vec![("shared_buffers".to_owned(), "lots".to_owned())];
    let error = EmbeddedPostgres::start(PostgresOptions { settings, ..PostgresOptions::throwaway() })
        .await
        .unwrap_err();
    assert!(matches!(error, EmbeddedError::Start { .. }), "{error:?}");
    assert!(error.to_string().contains("shared_buffers"), "{error}");
}

#[tokio::test]
async fn the_error_names_a_folder_without_binaries() {
    let options = PostgresOptions { bin_dir: Some("/nowhere".into()), ..PostgresOptions::throwaway() };
    let error = EmbeddedPostgres::start(options).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "`/nowhere` does not hold both `postgres` and `initdb`: correct BDAY_PG_BIN"
    );
}

#[tokio::test]
async fn a_server_that_is_too_old_is_refused_with_its_version() {
    let dir = std::env::temp_dir().join(format!("bday-test-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir(&dir).unwrap();
    let script = |version: &str| format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version} (Debian)'\n");
    for name in ["postgres", "initdb"] {
        std::fs::write(dir.join(name), script("14.9")).unwrap();
        std::fs::set_permissions(dir.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let options = PostgresOptions { bin_dir: Some(dir.clone()), ..PostgresOptions::throwaway() };
    let error = EmbeddedPostgres::start(options).await.unwrap_err().to_string();
    assert!(error.contains("is PostgreSQL 14.9, and bday needs 15"), "{error}");
    for version in ["15.0", "18beta1"] {
        std::fs::write(dir.join("postgres"), script(version)).unwrap();
        assert!(Binaries::within(&dir).is_ok(), "{version}");
    }
    std::fs::remove_dir_all(dir).unwrap();
}

/// The command that runs [`holds_a_frozen_server_until_it_is_killed`] in its own process.
fn owner(hold: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let module = module_path!().split_once("::").unwrap().1;
    command.args(["--exact", &format!("{module}::holds_a_frozen_server_until_it_is_killed"), "--ignored"]);
    command.env(HOLD, hold);
    command
}

/// Returns the owner's process, and the process id and the directory of its server.
fn start_owner(hold: &str) -> (Child, String, PathBuf) {
    let mut owner = owner(hold).arg("--nocapture").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let line = lines.find_map(|line| Some(line.unwrap().split_once("holding ")?.1.to_owned())).unwrap();
    let (pid, dir) = line.split_once(' ').unwrap();
    (owner, pid.to_owned(), dir.into())
}

#[tokio::test]
async fn a_frozen_server_ends_with_its_killed_owner() {
    let (mut owner, pid, dir) = start_owner("1");
    assert!(dir.exists());

    owner.kill().unwrap();
    owner.wait().unwrap();
    eventually("the directory to be removed", async || (!dir.exists()).then_some(())).await;
    assert!(!Path::new("/proc").join(&pid).exists());
}

#[tokio::test]
async fn nothing_remains_of_a_server_whose_owner_is_killed_during_the_stop() {
    let (mut owner, pid, dir) = start_owner("stop");
    // After the server has ended, the removal of its many files takes time.
    eventually("the server to end", async || (!Path::new("/proc").join(&pid).exists()).then_some(())).await;
    owner.kill().unwrap();
    owner.wait().unwrap();
    eventually("the directory to be removed", async || (!dir.exists()).then_some(())).await;
}

#[tokio::test]
async fn nothing_remains_of_a_server_whose_owner_is_killed_during_initdb() {
    // TMPDIR is a directory for this test only, which the server's user can access.
    let root = std::env::temp_dir().join(format!("bday-test-{}", std::process::id()));
    std::fs::create_dir(&root).unwrap();
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o777)).unwrap();
    let mut owner = owner("1").env("TMPDIR", &root).stdout(Stdio::null()).spawn().unwrap();
    let entries = || std::fs::read_dir(&root).unwrap().flatten().map(|entry| entry.path());
    eventually("initdb to start", async || entries().find(|dir| dir.join("data").exists())).await;
    owner.kill().unwrap();
    owner.wait().unwrap();
    eventually("the directory to be removed", async || entries().next().is_none().then_some(())).await;
    std::fs::remove_dir(&root).unwrap();
}

#[tokio::test]
#[ignore = "run by the tests above in a process of its own"]
async fn holds_a_frozen_server_until_it_is_killed() {
    let Ok(hold) = std::env::var(HOLD) else { return };
    let server = EmbeddedPostgres::start(PostgresOptions::throwaway()).await.unwrap();
    let dir = directory(&server.url()).await;
    let stops = hold == "stop";
    if stops {
        for n in 0..20_000 {
            std::fs::write(dir.join(format!("ballast-{n}")), []).unwrap();
        }
    } else {
        server.freeze().unwrap();
    }
    println!("\nholding {} {}", server.pid().unwrap(), dir.display());
    if stops {
        server.stop().await.unwrap();
    }
    std::future::pending::<()>().await;
}
