//! Configuration values from external sources: files here, AWS in `make aws-test`.

use std::path::PathBuf;
use std::time::Duration;

use bday::model::EventState::Delivered;
use sqlx::{AssertSqlSafe, Executor as _, PgPool};

use crate::serve::Place;
use crate::support::process::Bday;
use crate::support::receiver::{Behaviour, Receiver};

/// A file that is deleted on drop.
pub(crate) struct Note(PathBuf);

impl Note {
    pub(crate) fn new(text: &str) -> Self {
        let note = Self(std::env::temp_dir().join(format!("bday-note-{}", uuid::Uuid::now_v7())));
        note.write(text);
        note
    }

    /// Replaces the file atomically.
    pub(crate) fn write(&self, text: &str) {
        let next = self.0.with_extension("next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, &self.0).unwrap();
    }

    pub(crate) fn reference(&self) -> String {
        format!("file:{}", self.0.display())
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// A database role with a password, for the login of a daemon.
struct Role {
    name: String,
    admin: PgPool,
}

impl Role {
    async fn new(place: &Place, password: &str) -> Self {
        let role = Self {
            name: format!("app_{}", uuid::Uuid::now_v7().simple()),
            admin: place.database.pool().await,
        };
        let name = &role.name;
        role.run(format!("CREATE ROLE {name} SUPERUSER LOGIN PASSWORD '{password}'")).await;
        role
    }

    async fn run(&self, statement: String) {
        self.admin.execute(AssertSqlSafe(statement)).await.unwrap();
    }

    async fn set_password(&self, password: &str) {
        self.run(format!("ALTER ROLE {} PASSWORD '{password}'", self.name)).await;
    }

    async fn cut_all_connections(&self) {
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ";
        self.run(format!("{cut}'{}'", self.name)).await;
    }

    /// Configures the login with separate keys instead of the URL.
    fn env(&self, bday: Bday, place: &Place) -> Bday {
        let url: reqwest::Url = place.database.url().parse().unwrap();
        bday.env("BDAY__DATABASE__URL", "")
            .env("BDAY__DATABASE__HOST", url.host_str().unwrap())
            .env("BDAY__DATABASE__PORT", url.port().unwrap().to_string())
            .env("BDAY__DATABASE__NAME", url.path().trim_start_matches('/'))
            .env("BDAY__DATABASE__USER", &self.name)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_rotation_loses_no_event_and_needs_no_restart() {
    const FIRST: &str = "the first password";
    const SECOND: &str = "007";
    let place = Place::new().await;
    let role = Role::new(&place, FIRST).await;
    let secret = Note::new(&format!("{FIRST}\n"));
    place.people_who_are_due(2000).await;
    place.receiver.script([Behaviour::slow(Duration::from_millis(300))]);
    let daemon = role.env(place.bday(&["serve"]), &place).env("BDAY__DATABASE__PASSWORD", secret.reference());
    let mut daemon = daemon.start();
    place.receiver.until_received(300).await;

    // During a rotation, the database has the new password before the secret has it.
    role.set_password(SECOND).await;
    role.cut_all_connections().await;
    daemon.logged("database login renewal failed").await;
    secret.write(SECOND);
    daemon.logged("database login renewed").await;

    place.receiver.until_accepted(2000).await;
    place.until_quiet().await;
    place.assert_each_once(2000);
    daemon.terminate();
    assert!(daemon.exit().await.success());
    assert_eq!(place.count(Delivered).await, 2000);
    let log = daemon.lines().join("\n");
    assert!(!log.contains(FIRST) && !log.contains("\"007\""), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_webhook_url_is_refreshed_unless_it_is_invalid() {
    let place = Place::new().await;
    let other = Receiver::start().await;
    let url = Note::new(&place.receiver.url());
    let daemon = place
        .bday(&["serve"])
        .env("BDAY__WEBHOOK__URL", url.reference())
        .env("BDAY__SOURCE__REFRESH_SECS", "1");
    let mut daemon = daemon.start();
    daemon.ready().await;

    url.write("hunter2");
    daemon.logged("value refresh failed").await;
    let (zone, date) = place.people_who_are_due(1).await;
    assert!(place.bday(&["tick"]).finish().await.status.success());
    place.receiver.until_accepted(1).await;

    url.write(&other.url());
    daemon.logged("value changed").await;
    let born = date.format("2000-%m-%d").to_string();
    let add = ["user", "add", "--first-name", "Grace", "--birth-date", &born, "--time-zone", &zone];
    assert!(place.bday(&add).finish().await.status.success());
    assert!(place.bday(&["tick"]).finish().await.status.success());
    other.until_accepted(1).await;
    place.assert_each_once(1);

    daemon.terminate();
    assert!(daemon.exit().await.success());
    let log = daemon.lines().join("\n");
    assert!(!log.contains("hunter2") && !log.contains(&other.url()), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn startup_waits_for_an_invalid_value_of_a_source() {
    let place = Place::new().await;
    let role = Role::new(&place, "secret word").await;
    let credentials = Note::new("nothing of use");
    let url = Note::new(&place.receiver.url());
    let daemon = role
        .env(place.bday(&["serve"]), &place)
        .env("BDAY__DATABASE__USER", "")
        .env("BDAY__DATABASE__CREDENTIALS", credentials.reference())
        .env("BDAY__WEBHOOK__URL", url.reference());
    let mut daemon = daemon.start();
    let line = daemon.logged("not ready yet").await;
    let error = line["error"].as_str().unwrap();
    assert!(error.starts_with("database.credentials (from file:"), "{error}");
    assert!(!error.contains("of use"), "{error}");
    credentials.write(&format!(
        r#"{{"username":"{}","password":"secret word","engine":"postgres","port":5432}}"#,
        role.name
    ));
    daemon.ready().await;
    daemon.terminate();
    assert!(daemon.exit().await.success());
}

#[tokio::test]
async fn an_invalid_configuration_ends_the_process_immediately() {
    let right = [("BDAY__QUEUE__KIND", "postgres"), ("BDAY__WEBHOOK__URL", "https://example.org/hook")];
    for (variables, expected) in [
        (vec![("BDAY__DATABASE__URL", "mysql://u:hunter2@db/bday")], "not a postgres:// URL"),
        (vec![("BDAY__DATABASE__URL", "postgres://u:hunter2@db:port/bday")], "invalid database.url"),
        (
            vec![("BDAY__DATABASE__URL", "ssm:/bday/database"), ("BDAY__DATABASE__PASSWORD", "hunter2")],
            "database.url and database.password are both given",
        ),
        (
            vec![
                ("BDAY__DATABASE__HOST", "db"),
                ("BDAY__DATABASE__IAM_AUTH", "true"),
                ("BDAY__DATABASE__USER", "bday"),
            ],
            "set database.tls to verify-full",
        ),
        (vec![("BDAY__DATABASE__HOST", "db"), ("BDAY__WEBHOOK__URL", "hunter2")], "webhook.url is not a URL"),
        (
            vec![("BDAY__DATABASE__HOST", "db"), ("BDAY__WEBHOOK__URL", "ssm:")],
            "ssm: must be followed by a parameter's name",
        ),
    ] {
        let variables = right.iter().chain(&variables).map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let finished = Bday::new(["serve"]).envs(variables).finish().await;
        assert_eq!(finished.status.code(), Some(2), "{finished:?}");
        assert!(finished.stderr.contains(expected), "{finished:?}");
        assert!(!finished.stderr.contains("hunter2"), "{finished:?}");
    }
}

#[tokio::test]
async fn config_show_prints_the_source_of_a_secret_but_not_its_value() {
    let finished = Bday::new(["config", "show"])
        .env("BDAY__DATABASE__HOST", "db")
        .env("BDAY__DATABASE__USER", "bday")
        .env("BDAY__DATABASE__PASSWORD", "hunter2")
        .env("BDAY__QUEUE__KIND", "postgres")
        .env("BDAY__WEBHOOK__URL", "ssm:/bday/webhook-url")
        .finish()
        .await;
    assert!(finished.status.success(), "{finished:?}");
    assert!(finished.stdout.contains("ssm:/bday/webhook-url"), "{finished:?}");
    assert!(!finished.stdout.contains("hunter2"), "{finished:?}");
}
