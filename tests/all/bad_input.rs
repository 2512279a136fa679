//! Invalid configuration and files: each error names the key or the line, and valid lines are still imported.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use bday::config::{self, Config, ConfigError};
use serde_json::Value;

use crate::support::database::Database;
use crate::support::process::{Bday, Finished};
use crate::support::wait::eventually;

const HEADER: &str = "first_name,last_name,birth_date,time_zone";

/// Loads a valid configuration of a daemon, overridden by `variables`.
fn load(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let all = [
        ("BDAY__DATABASE__URL", "postgres://localhost/bday"),
        ("BDAY__QUEUE__KIND", "postgres"),
        ("BDAY__WEBHOOK__URL", "https://example.org/"),
    ];
    let all = all.iter().chain(variables).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    config::load(None, all.collect())
}

fn error(variables: &[(&str, &str)]) -> String {
    load(variables).expect_err("it is wrong").to_string()
}

#[test]
fn documented_configuration_names_and_defaults_are_stable() {
    let config = load(&[
        ("BDAY__QUEUE__SQS__URL", "http://localhost:4566/000000000000/bday-messages"),
        ("BDAY__QUEUE__CREATE", "true"),
        ("BDAY__WEBHOOK__TIMEOUT_SECS", "7"),
        ("BDAY__WORKER__MAX_IN_FLIGHT", "1000"),
        ("BDAY__RETRY__SCHEDULE_SECS", "1,2,3,4"),
        ("BDAY__HTTP__LISTEN", "0.0.0.0:9000"),
    ]);
    let config = config.unwrap();
    assert_eq!(config.retry.schedule, [1, 2, 3, 4].map(Duration::from_secs));
    assert!(config.queue.create);
    assert_eq!((config.webhook.timeout, config.worker.max_in_flight), (Duration::from_secs(7), 1000));
    assert_eq!(load(&[]).unwrap().http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(load(&[]).unwrap().retry.schedule, [30, 120, 600, 1800].map(Duration::from_secs));
}

#[test]
fn a_misspelt_key_is_rejected_with_a_suggestion() {
    let error = error(&[("BDAY__WEBHOOK__TIMOUT_SECS", "5")]);
    assert!(error.contains("BDAY__WEBHOOK__TIMOUT_SECS"), "{error}");
    assert!(error.contains("did you mean BDAY__WEBHOOK__TIMEOUT_SECS"), "{error}");
}

#[test]
fn a_value_of_the_wrong_type_names_its_key() {
    let error = error(&[("BDAY__WORKER__MAX_IN_FLIGHT", "many")]);
    assert!(error.contains("worker.max_in_flight") && error.contains("many"), "{error}");
}

#[test]
fn all_contradicting_values_are_reported_together() {
    let error = error(&[
        ("BDAY__WEBHOOK__TIMEOUT_SECS", "30"),
        ("BDAY__RETRY__SCHEDULE_SECS", "30"),
        ("BDAY__QUEUE__WAIT_SECS", "60"),
    ]);
    for key in ["webhook.timeout_secs is 30", "retry.schedule_secs has 1 wait", "queue.wait_secs is 60"] {
        assert!(error.contains(key), "{key} is missing in {error}");
    }
}

/// Larger values would overflow the calendar when they are added to an instant.
#[test]
fn durations_over_the_limit_are_rejected_with_the_limit() {
    let ages = u64::MAX.to_string();
    for (variable, key, bound) in [
        ("BDAY__LATE__MAX_SECS", "late.max_secs", "60 to 2592000"),
        ("BDAY__PLAN__HORIZON_SECS", "plan.horizon_secs", "0 to 2592000"),
        ("BDAY__QUEUE__VISIBILITY_SECS", "queue.visibility_secs", "43200"),
        ("BDAY__WEBHOOK__TIMEOUT_SECS", "webhook.timeout_secs", "queue.visibility_secs is 30"),
    ] {
        let error = error(&[(variable, &ages)]);
        for part in [key, &ages, bound] {
            assert!(error.contains(part), "{part} is missing in {error}");
        }
    }
}

#[test]
fn an_invalid_choice_is_rejected_with_the_valid_values() {
    for (variable, key, known) in [
        ("BDAY__QUEUE__KIND", "queue.kind", "`sqs` or `postgres`"),
        ("BDAY__DATABASE__TLS", "database.tls", "verify-full"),
        ("BDAY__HTTP__AUTH", "http.auth", "`required` or `off`"),
        ("BDAY__LOG__FORMAT", "log.format", "json"),
        ("BDAY__WEBHOOK__ADDRESSES", "webhook.addresses", "`any` or `public`"),
        ("BDAY__PLAN__LATE_JOIN", "plan.late_join", "`send` or `skip`"),
    ] {
        let error = error(&[(variable, "rabbit")]);
        for part in [key, "rabbit", known] {
            assert!(error.contains(part), "{part} is missing in {error}");
        }
    }
    let error = error(&[("BDAY__HTTP__LISTEN", "8080")]);
    assert!(error.contains("http.listen") && error.contains("127.0.0.1:8080"), "{error}");
}

#[test]
fn an_invalid_log_level_is_rejected() {
    for level in ["loud", "info,bday::pipeline::worker", "info,bday::pipeline::worker=loud", ""] {
        let error = error(&[("BDAY__LOG__LEVEL", level)]);
        assert!(error.contains("log.level"), "{level}: {error}");
    }
    for level in ["warn", "info,bday::pipeline::worker=debug", "off"] {
        load(&[("BDAY__LOG__LEVEL", level)]).expect(level);
    }
}

#[test]
fn an_unknown_key_without_similar_keys_has_no_suggestion() {
    let error = error(&[("BDAY__FOO__A", "1")]);
    assert!(error.contains("BDAY__FOO__A") && !error.contains("did you mean"), "{error}");
}

#[tokio::test]
async fn all_missing_keys_that_a_command_needs_are_reported_together() {
    let served = Bday::new(["serve"]).finish().await;
    assert_eq!(served.status.code(), Some(2), "{served:?}");
    for key in ["database.url", "queue.sqs.url", "webhook.url"] {
        assert!(served.stderr.contains(key), "{key}: {served:?}");
    }
    let listed = Bday::new(["user", "list"]).finish().await;
    assert_eq!(listed.status.code(), Some(2), "{listed:?}");
    assert!(listed.stderr.contains("database.url"), "{listed:?}");
    assert!(!listed.stderr.contains("queue.sqs.url"), "{listed:?}");
}

#[tokio::test]
async fn an_error_of_the_database_is_shown_once() {
    let database = Database::empty().await;
    let (server, _) = database.url().rsplit_once('/').unwrap();
    let listed =
        Bday::new(["user", "list"]).env("BDAY__DATABASE__URL", format!("{server}/nowhere")).finish().await;
    assert_eq!(listed.status.code(), Some(1), "{listed:?}");
    assert_eq!(listed.stderr.matches("does not exist").count(), 1, "{listed:?}");
    assert!(!listed.stderr.contains("at line"), "{listed:?}");
}

#[tokio::test]
async fn a_command_fails_immediately_if_the_database_is_unreachable() {
    for command in [&["user", "list"][..], &["migrate"], &["event", "list"]] {
        let listed = Bday::new(command)
            .env("BDAY__DATABASE__URL", "postgres://bday:hunter2@127.0.0.1:1/bday")
            .env("BDAY__DATABASE__ACQUIRE_TIMEOUT_SECS", "600")
            .env("BDAY__QUEUE__KIND", "postgres")
            .finish()
            .await;
        assert_eq!(listed.status.code(), Some(1), "{listed:?}");
        let said = "no connection to the database at 127.0.0.1:1: Connection refused";
        assert!(listed.stderr.contains(said), "{listed:?}");
        assert!(!listed.stderr.contains("hunter2"), "{listed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_logs_why_it_cannot_connect_and_retries() {
    let mut daemon = Bday::new(["serve"])
        .env("BDAY__DATABASE__URL", "postgres://127.0.0.1:1/bday")
        .env("BDAY__DATABASE__ACQUIRE_TIMEOUT_SECS", "1")
        .env("BDAY__QUEUE__KIND", "postgres")
        .env("BDAY__WEBHOOK__URL", "http://127.0.0.1:9/")
        .env("BDAY__HTTP__LISTEN", "127.0.0.1:0")
        .env("BDAY__KINDS__WORK_ANNIVERSARY__MESSAGE", "{{ years }} years, {{ first_name }}!")
        .start();
    let tries = eventually("two tries", async || {
        let logs = daemon.logs();
        let tries = logs.iter().filter(|line| line["message"] == "not ready yet");
        let tries: Vec<_> = tries.map(|line| line["error"].to_string()).collect();
        (tries.len() > 1).then_some(tries)
    })
    .await;
    for error in tries {
        assert!(error.contains("127.0.0.1:1: Connection refused"), "{error}");
    }
    let logs = daemon.logs();
    let gaps: Vec<_> = logs.iter().filter(|line| line["kinds"] == "work_anniversary").collect();
    assert!(gaps.len() == 1 && gaps[0]["message"].as_str().unwrap().contains("{% if years %}"), "{logs:?}");
    daemon.terminate();
    assert!(daemon.exit().await.success());
}

#[test]
fn further_kinds_can_be_configured_and_are_validated() {
    let kind = ("BDAY__KINDS__WORK_ANNIVERSARY__MESSAGE", "{{ years }} years, {{ first_name }}!");
    let complete = [kind, ("BDAY__KINDS__WORK_ANNIVERSARY__SEND_AT", "10:00")];
    assert!(load(&complete).unwrap().kinds.contains_key("work_anniversary"));
    let like_the_birthday = load(&[kind, ("BDAY__KINDS__BIRTHDAY__SEND_AT", "07:30")]).unwrap();
    assert_eq!(like_the_birthday.kinds["work_anniversary"].send_at, "07:30".parse().unwrap());
    let silent = error(&[("BDAY__KINDS__WORK_ANNIVERSARY__SEND_AT", "10:00")]);
    assert!(
        silent.contains("kinds.work_anniversary.message is missing") && silent.contains("{{ full_name }}"),
        "{silent}"
    );
    let typo = [kind, ("BDAY__KINDS__WORK_ANNIVERSARY__SENT_AT", "10:00")];
    assert!(error(&typo).contains("SENT_AT"));
    let broken = [("BDAY__KINDS__BIRTHDAY__MESSAGE", "Hi {{ nickname }}")];
    assert!(error(&broken).contains("kinds.birthday.message"));
}

#[tokio::test]
async fn an_invalid_webhook_url_ends_the_daemon_and_names_the_key() {
    for url in ["", "example.org/hook", "ftp://example.org"] {
        let served = Bday::new(["serve"])
            .env("BDAY__DATABASE__URL", "postgres://127.0.0.1:1/bday")
            .env("BDAY__QUEUE__KIND", "postgres")
            .env("BDAY__WEBHOOK__URL", url);
        let served = served.finish().await;
        assert_eq!(served.status.code(), Some(2), "{served:?}");
        assert!(served.stderr.contains("webhook.url"), "{served:?}");
    }
}

#[test]
fn a_closed_pipe_is_a_success_and_a_full_disk_is_an_error() {
    let run = |stdout: std::process::Stdio| {
        std::process::Command::new(env!("CARGO_BIN_EXE_bday"))
            .args(["webhook", "secret"])
            .stdout(stdout)
            .output()
            .unwrap()
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let gone = run(writer.into());
    assert!(gone.status.success() && gone.stderr.is_empty(), "{gone:?}");

    let full = std::fs::File::create("/dev/full").unwrap();
    let full = run(full.into());
    assert_eq!(full.status.code(), Some(1), "{full:?}");
    let said = String::from_utf8_lossy(&full.stderr);
    assert!(said.starts_with("bday: cannot write to standard output"), "{said}");
}

#[tokio::test]
async fn the_configuration_is_shown_with_origins_without_secrets() {
    let shown = Bday::new(["config", "show", "--json"])
        .env("BDAY__DATABASE__URL", "postgres://bday:hunter2@db/bday")
        .env("BDAY__QUEUE__KIND", "postgres")
        .env("BDAY__WEBHOOK__URL", "https://hooks.example.org/hunter2");
    let shown = shown.finish().await;
    assert!(shown.status.success(), "{shown:?}");
    assert!(!shown.stdout.contains("hunter2"), "{}", shown.stdout);
    let keys: Vec<Value> = serde_json::from_str(&shown.stdout).unwrap();
    let find = |key: &str| keys.iter().find(|shown| shown["key"] == key).unwrap();
    assert_eq!(find("queue.kind")["origin"], "environment");
    assert_eq!(find("worker.max_in_flight")["origin"], "default");
    assert_eq!(find("webhook.url")["value"], "https://hooks.example.org/[redacted]");
}

#[tokio::test]
async fn an_invalid_line_is_reported_and_the_others_are_imported() {
    let csv = format!(
        "{HEADER}\n\
         Ada,Lovelace,1815-12-10,Europe/London\n\
         Bob,Wrong,1990-02-30,UTC\n\
         Cem,Zone,1990-01-01,Europe/Istambul\n\
         Dan\0,Nul,1990-01-01,UTC\n\
         Eva,Short,1990-01-01\n\
         \"Fay,Quote,1990-01-01,UTC\n\
         \n\
         Gus,Good,--02-29,Asia/Tokyo\n"
    );
    let imported = import(csv.as_bytes()).await;
    assert_eq!(imported.status.code(), Some(1), "{imported:?}");
    let report: Value = serde_json::from_str(&imported.stdout).unwrap();
    assert_eq!((&report["created"], &report["failed"]), (&2.into(), &5.into()));
    let expected = [(3, "birth_date"), (4, "Europe/Istanbul"), (5, "U+0000"), (6, "3 fields"), (7, "quote")];
    for (error, (line, reason)) in report["errors"].as_array().unwrap().iter().zip(expected) {
        assert_eq!(error["line"], line);
        assert!(error["reason"].as_str().unwrap().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn an_import_without_a_required_column_names_it() {
    let imported = import(b"first_name,last_name,birth_date\nAda,Lovelace,1815-12-10\n").await;
    assert!(!imported.status.success());
    assert!(imported.stderr.contains("time_zone is missing"), "{imported:?}");
}

#[tokio::test]
async fn line_endings_of_cr_alone_are_rejected() {
    const ADA: &str = "Ada,Lovelace,1815-12-10,Europe/London";
    for people in [2, 5000] {
        let csv = format!("{HEADER}\r{}", format!("{ADA}\r").repeat(people));
        let imported = import(csv.as_bytes()).await;
        assert!(!imported.status.success(), "{imported:?}");
        assert!(imported.stderr.contains("LF or CRLF"), "{imported:?}");
    }
    let csv = format!("{HEADER}\r\n{ADA}\r\nBob,,--04-01,UTC\rCem,,--04-01,UTC\r\nGus,,--02-29,UTC\r\n");
    let imported = import(csv.as_bytes()).await;
    assert_eq!(imported.status.code(), Some(1), "{imported:?}");
    let report: Value = serde_json::from_str(&imported.stdout).unwrap();
    assert_eq!((&report["created"], &report["failed"]), (&2.into(), &1.into()));
    let error = &report["errors"][0];
    assert_eq!(error["line"], 3);
    assert!(error["reason"].as_str().unwrap().contains("LF or CRLF"), "{error}");
}

#[tokio::test]
async fn a_line_of_100_mb_is_reported_as_one_invalid_line() {
    let mut csv = format!("{HEADER}\nAda,Lovelace,1815-12-10,Europe/London\n").into_bytes();
    csv.resize(csv.len() + 100_000_000, b'x');
    csv.extend_from_slice(b"\nGus,Good,1990-01-01,Asia/Tokyo\n");
    let imported = import(&csv).await;
    let report: Value = serde_json::from_str(&imported.stdout).unwrap();
    assert_eq!(
        (&report["created"], &report["failed"], &report["errors"][0]["line"]),
        (&2.into(), &1.into(), &3.into())
    );
}

#[tokio::test]
async fn a_repeated_import_adds_no_user_but_equal_lines_add_two() {
    let database = Database::new().await;
    let csv = format!(
        "{HEADER},external_id\n\
         John,Doe,1990-01-01,UTC,\n\
         John,Doe,1990-01-01,UTC,\n\
         Ada,Lovelace,1815-12-10,Europe/London,hr-1\n"
    );
    let first = report(&import_into(&database, csv.as_bytes()).await);
    assert_eq!((&first["created"], &first["unchanged"]), (&3.into(), &0.into()));
    let again = report(&import_into(&database, csv.as_bytes()).await);
    assert_eq!((&again["created"], &again["unchanged"]), (&0.into(), &3.into()));
    let moved = csv.replace("Europe/London", "Asia/Tokyo");
    let moved = report(&import_into(&database, moved.as_bytes()).await);
    assert_eq!(
        (&moved["created"], &moved["updated"], &moved["unchanged"]),
        (&0.into(), &1.into(), &2.into())
    );
}

fn report(imported: &Finished) -> Value {
    assert!(imported.status.success(), "{imported:?}");
    serde_json::from_str(&imported.stdout).unwrap()
}

async fn import(csv: &[u8]) -> Finished {
    let database = Database::new().await;
    import_into(&database, csv).await
}

async fn import_into(database: &Database, csv: &[u8]) -> Finished {
    let file = Temporary::with(csv);
    let path = file.0.to_str().unwrap();
    Bday::new(["user", "import", path, "--json"])
        .env("BDAY__DATABASE__URL", database.url())
        .env("BDAY__QUEUE__KIND", "postgres")
        .finish()
        .await
}

/// A file that is deleted on drop.
struct Temporary(PathBuf);

impl Temporary {
    fn with(content: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("bday-test-{}.csv", uuid::Uuid::now_v7()));
        std::fs::File::create_new(&path).unwrap().write_all(content).unwrap();
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}
