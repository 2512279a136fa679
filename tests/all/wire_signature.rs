//! Signatures of received requests, verified with the reference library of Standard Webhooks.

use std::collections::HashMap;

use bday::config;
use serde_json::Value;
use standardwebhooks::Webhook;

use crate::serve::Place;
use crate::sources::Note;
use crate::support::process::Bday;
use crate::support::receiver::Record;
use crate::support::wait::eventually;

pub(crate) const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub(crate) const NEW: &str = "whsec_Zm9yIHRlc3RzLCBhbmQgZm9yIG5vdGhpbmcgZWxzZSE=";

/// Whether the request has a valid signature for `secret`.
pub(crate) fn verifies(record: &Record, secret: &str) -> bool {
    let headers = record.headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    Webhook::new(secret).unwrap().verify(&record.body, &headers.collect()).is_ok()
}

fn signatures(record: &Record) -> usize {
    record.headers["webhook-signature"].split(' ').count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_rotation_needs_no_restart_and_leaves_no_gap() {
    let place = Place::new().await;
    place.people_who_are_due(400).await;
    let secret = Note::new(&format!("{OLD}\n"));
    let mut daemon = place
        .bday(&["serve"])
        .env("BDAY__WEBHOOK__SECRETS", secret.reference())
        .env("BDAY__SOURCE__REFRESH_SECS", "1")
        // Greetings are sent during the whole test, with at most one in flight when a secret changes.
        .env("BDAY__WORKER__MAX_PER_SECOND", "60")
        .env("BDAY__WORKER__MAX_IN_FLIGHT", "1")
        .start();
    let signed_with = async |n: usize| {
        eventually("the signatures to change", async || {
            let records = place.receiver.records();
            (signatures(records.last()?) == n).then_some(records.len())
        })
        .await
    };
    signed_with(1).await;
    secret.write(&format!("{NEW} {OLD}"));
    // From this request on, receivers can use the new secret.
    let both = signed_with(2).await - 1;
    let more = u64::try_from(both + 20).unwrap();
    place.receiver.until_accepted(more).await;
    // An invalid secret has no effect.
    secret.write("hunter2");
    let line = daemon.logged("value refresh failed").await;
    assert_eq!(line["key"], "webhook.secrets");
    // Receivers can use the old secret up to this request.
    let until = place.receiver.records().len();
    secret.write(NEW);
    signed_with(1).await;
    place.receiver.until_accepted(400).await;
    place.until_quiet().await;
    place.assert_each_once(400);

    let records = place.receiver.records();
    assert!(both < until && until < records.len(), "{both} {until}");
    assert!(records[..until].iter().all(|record| verifies(record, OLD)));
    assert!(records[both..].iter().all(|record| verifies(record, NEW)));
    assert!(!verifies(&records[0], NEW) && !verifies(records.last().unwrap(), OLD));
    daemon.terminate();
    assert!(daemon.exit().await.success());
    let log = daemon.lines().join("\n");
    let keys = [OLD, NEW].map(|secret| secret.trim_start_matches("whsec_"));
    assert!(!keys.iter().any(|key| log.contains(key)) && !log.contains("hunter2"), "{log}");
    assert!(!log.contains("greetings are not signed"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_secret_are_unsigned_and_warned_about_once() {
    let place = Place::new().await;
    place.people_who_are_due(3).await;
    let mut daemon = place.serve();
    place.receiver.until_accepted(3).await;
    let signed = |record: &Record| record.headers.contains_key("webhook-signature");
    assert!(!place.receiver.records().iter().any(signed));
    daemon.terminate();
    assert!(daemon.exit().await.success());
    let lines = daemon.lines();
    let said = lines.iter().filter(|line| line.contains("greetings are not signed"));
    assert_eq!(said.count(), 1);
}

#[tokio::test]
async fn an_invalid_secret_ends_the_process_without_being_printed() {
    let (long, many) = (format!("{OLD},whsec_aHVudGVyMg=="), [OLD; 5].join(","));
    for (secrets, expected) in [
        ("hunter2", "webhook.secrets, number 1 of 1, does not begin with whsec_"),
        (&long, "webhook.secrets, number 2 of 2, holds 7 bytes"),
        ("env:OLD,whsec_hunter2!", "webhook.secrets, number 2 of 2, is not base64"),
        (&many, "webhook.secrets has 5 entries: the maximum is 4"),
        ("file:", "webhook.secrets: file: must be followed by a path"),
    ] {
        let finished = Bday::new(["serve"])
            .env("BDAY__QUEUE__KIND", "postgres")
            .env("BDAY__DATABASE__URL", "postgres://u@127.0.0.1:1/bday")
            .env("BDAY__WEBHOOK__URL", "https://example.org/hook")
            .env("BDAY__WEBHOOK__SECRETS", secrets)
            .finish()
            .await;
        assert_eq!(finished.status.code(), Some(2), "{finished:?}");
        assert!(finished.stderr.contains(expected), "{finished:?}");
        for value in ["hunter2", "aHVud", "MfKQ9r8"] {
            assert!(!finished.stderr.contains(value), "{finished:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_waits_for_a_valid_secret() {
    let place = Place::new().await;
    let secret = Note::new("hunter2");
    let mut daemon = place.bday(&["serve"]).env("BDAY__WEBHOOK__SECRETS", secret.reference()).start();
    let line = daemon.logged("not ready yet").await;
    let error = line["error"].as_str().unwrap();
    assert!(error.starts_with("webhook.secrets (from file:"), "{error}");
    assert!(error.ends_with("it does not begin with whsec_"), "{error}");
    secret.write(OLD);
    daemon.ready().await;
    daemon.terminate();
    assert!(daemon.exit().await.success());
}

#[test]
fn secrets_and_ranges_can_be_lists_in_files_and_variables() {
    let load = |variables: &[(&str, &str)], file: Option<&std::path::Path>| {
        let variables = [("BDAY__QUEUE__KIND", "postgres")].iter().chain(variables);
        let variables: HashMap<String, String> =
            variables.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let config = config::load(file, variables.clone()).unwrap();
        let shown = config::show(file, variables).unwrap();
        let shown = |key: &str| shown.iter().find(|shown| shown.key == key).unwrap().value.clone();
        let webhook = config.webhook;
        (
            webhook.secrets.iter().map(ToString::to_string).collect::<Vec<_>>(),
            webhook.allow_ranges.iter().map(ToString::to_string).collect::<Vec<_>>(),
            webhook.deny_ranges.len(),
            (shown("webhook.secrets"), shown("webhook.allow_ranges")),
        )
    };
    let nothing = load(&[("BDAY__WEBHOOK__SECRETS", "")], None);
    assert_eq!(nothing, (vec![], vec![], 0, (String::new(), String::new())));
    let secrets = ["env:NEW", "the configuration"].map(str::to_owned).to_vec();
    let ranges = ["10.0.0.0/8", "::1/128"].map(str::to_owned).to_vec();
    let shown = ("env:NEW,[redacted]".to_owned(), "10.0.0.0/8,::1".to_owned());
    let expected = (secrets, ranges, 1, shown);
    let listed = format!("env:NEW,{OLD}");
    let variables = [
        ("BDAY__WEBHOOK__SECRETS", &*listed),
        ("BDAY__WEBHOOK__ALLOW_RANGES", "10.0.0.0/8,::1"),
        ("BDAY__WEBHOOK__DENY_RANGES", "10.1.0.0/16"),
    ];
    assert_eq!(load(&variables, None), expected);
    let file = std::env::temp_dir().join(format!("bday-lists-{}.toml", std::process::id()));
    let toml = format!(
        "[webhook]\nsecrets = [\"env:NEW\", \"{OLD}\"]\nallow_ranges = [\"10.0.0.0/8\", \"::1\"]\ndeny_ranges = [\"10.1.0.0/16\"]\n"
    );
    std::fs::write(&file, toml).unwrap();
    assert_eq!(load(&[], Some(&file)), expected);
    std::fs::remove_file(&file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_reports_whether_greetings_are_signed() {
    let place = Place::new().await;
    let at = |url: &str, secrets: &str| {
        place
            .bday(&["doctor", "--json"])
            .env("BDAY__WEBHOOK__URL", url)
            .env("BDAY__WEBHOOK__SECRETS", secrets)
            .env("BDAY__WEBHOOK__CONNECT_TIMEOUT_SECS", "1")
            .env("BDAY__WEBHOOK__ADDRESSES", "public")
    };
    let here = place.receiver.url();
    let both = format!("{OLD},{NEW}");
    for (url, secrets, grade, found) in [
        (&*here, "", "ok", "on this machine"),
        ("https://192.0.2.1/", "", "warning", "not signed"),
        ("https://192.0.2.1/", OLD, "ok", "1 secret"),
        ("https://192.0.2.1/", &both, "ok", "2 secrets"),
        (&here, "env:NO_SUCH_VARIABLE", "failure", "NO_SUCH_VARIABLE"),
    ] {
        let finished = at(url, secrets).finish().await;
        let report: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{finished:?}"));
        let findings = report["findings"].as_array().unwrap();
        let find = |check: &str| findings.iter().find(|finding| finding["check"] == check).unwrap();
        let signed = find("webhook.secrets");
        assert_eq!(signed["grade"], grade, "{signed}");
        assert!(signed["found"].as_str().unwrap().contains(found), "{signed}");
        let reachable = find("webhook.reachable");
        assert_eq!(reachable["grade"], "failure", "{reachable}");
        assert!(reachable["found"].as_str().unwrap().contains("webhook.addresses"), "{reachable}");
    }
}
