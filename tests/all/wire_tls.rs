//! HTTPS with verified certificates; plain HTTP only to this machine or if allowed.

use serde_json::Value;

use crate::serve::Place;
use crate::sources::Note;
use crate::support::process::Bday;
use crate::support::receiver::{Behaviour, Receiver};
use crate::support::tls::{Authority, TlsFront};
use crate::support::world::World;

/// Runs `bday webhook test`; returns its exit code and output.
async fn try_out(url: &str, settings: &[(&str, &str)]) -> (Option<i32>, Value) {
    let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let finished = Bday::new(["webhook", "test", "--json", "--url", url])
        .env("BDAY__QUEUE__KIND", "postgres")
        .envs(settings)
        .finish()
        .await;
    let exchange = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{finished:?}"));
    (finished.status.code(), exchange)
}

#[tokio::test]
async fn the_authority_name_and_expiry_of_a_certificate_are_verified() {
    let receiver = Receiver::start().await;
    let (ours, another) = (Authority::new(), Authority::new());
    let trusted = [("BDAY__WEBHOOK__TLS_ROOT_CERT", ours.file())];
    for (what, certified, host, settings, accepted) in [
        ("valid", ours.certify("localhost", 2100), "localhost", &trusted[..], true),
        ("for an address", ours.certify("127.0.0.1", 2100), "127.0.0.1", &trusted, true),
        ("for another name", ours.certify("example.org", 2100), "localhost", &trusted, false),
        ("for the name, not the address", ours.certify("localhost", 2100), "127.0.0.1", &trusted, false),
        ("expired", ours.certify("localhost", 2021), "localhost", &trusted, false),
        ("of another authority", another.certify("localhost", 2100), "localhost", &trusted, false),
        ("of an untrusted authority", ours.certify("localhost", 2100), "localhost", &[], false),
    ] {
        receiver.clear();
        let front = TlsFront::before(&receiver, certified).await;
        let (code, exchange) = try_out(&front.url(host), settings).await;
        assert_eq!(exchange["accepted"], accepted, "{what}: {exchange}");
        assert_eq!(code, Some(i32::from(!accepted)), "{what}");
        assert_eq!(receiver.records().len(), usize::from(accepted), "{what}");
        if !accepted {
            // No request was sent, so the attempt failed with a known outcome.
            assert_eq!(exchange["reason"], "connect", "{what}: {exchange}");
            let error = exchange["error"].as_str().unwrap();
            assert!(error.contains("certificate"), "{what}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn greetings_are_sent_over_tls_with_a_private_authority() {
    let place = Place::new().await;
    let ours = Authority::new();
    let front = TlsFront::before(&place.receiver, ours.certify("localhost", 2100)).await;
    place.people_who_are_due(20).await;
    let settings = |bday: Bday| {
        bday.env("BDAY__WEBHOOK__URL", front.url("localhost"))
            .env("BDAY__WEBHOOK__TLS_ROOT_CERT", ours.file())
    };
    let mut daemon = settings(place.bday(&["serve"])).start();
    place.receiver.until_accepted(20).await;
    place.until_quiet().await;
    place.assert_each_once(20);
    let doctor = settings(place.bday(&["doctor", "--json"])).finish().await;
    let report: Value = serde_json::from_str(&doctor.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    for check in ["webhook.reachable", "webhook.tls"] {
        let finding = findings.iter().find(|finding| finding["check"] == check).unwrap();
        assert_eq!(finding["grade"], "ok", "{finding}");
    }
    daemon.terminate();
    assert!(daemon.exit().await.success());
}

#[tokio::test]
async fn unsafe_webhook_settings_are_rejected_at_startup() {
    let nothing = Note::new("no certificate");
    let no_certificate = nothing.reference().replace("file:", "");
    for (key, value, expected) in [
        ("BDAY__WEBHOOK__URL", "http://192.0.2.1/hunter2", "set webhook.allow_http = true"),
        ("BDAY__WEBHOOK__URL", "http://inbox:8025/hunter2", "names and birthdays unencrypted"),
        (
            "BDAY__WEBHOOK__TLS_ROOT_CERT",
            "/nowhere/ca.pem",
            "webhook.tls_root_cert is \"/nowhere/ca.pem\": it cannot be read",
        ),
        ("BDAY__WEBHOOK__TLS_ROOT_CERT", &no_certificate, "it holds no certificate"),
        ("BDAY__WEBHOOK__ADDRESSES", "private", "webhook.addresses"),
        (
            "BDAY__WEBHOOK__DENY_RANGES",
            "10.0.0.0/8,10.0.0.0/33",
            "webhook.deny_ranges: \"10.0.0.0/33\" is not a range",
        ),
        ("BDAY__WEBHOOK__ALLOW_RANGES", "localhost", "webhook.allow_ranges: \"localhost\" is not a range"),
    ] {
        let finished = Bday::new(["serve"])
            .env("BDAY__QUEUE__KIND", "postgres")
            .env("BDAY__DATABASE__URL", "postgres://u@127.0.0.1:1/bday")
            .env("BDAY__WEBHOOK__URL", "https://example.org/hook")
            .env(key, value)
            .finish()
            .await;
        assert_eq!(finished.status.code(), Some(2), "{finished:?}");
        assert!(finished.stderr.contains(expected), "{finished:?}");
        assert!(!finished.stderr.contains("hunter2"), "{finished:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refreshed_url_with_http_to_another_machine_is_rejected() {
    let place = Place::new().await;
    let url = Note::new(&place.receiver.url());
    let mut daemon = place
        .bday(&["serve"])
        .env("BDAY__WEBHOOK__URL", url.reference())
        .env("BDAY__SOURCE__REFRESH_SECS", "1")
        .start();
    daemon.ready().await;
    url.write("http://192.0.2.1/hunter2");
    let line = daemon.logged("value refresh failed").await;
    assert_eq!(line["key"], "webhook.url");
    assert!(line["error"].as_str().unwrap().contains("webhook.allow_http"), "{line}");
    place.people_who_are_due(1).await;
    assert!(place.bday(&["tick"]).finish().await.status.success());
    place.receiver.until_accepted(1).await;
    daemon.terminate();
    assert!(daemon.exit().await.success());
    assert!(!daemon.lines().join("\n").contains("hunter2"));
}

#[tokio::test]
async fn no_kind_of_redirect_is_followed() {
    let elsewhere = Receiver::start().await;
    let world = World::at("2026-05-02T00:00:00Z").await;
    world.write("u", "1990-05-02", "UTC").await;
    world.tick().await;
    world.set("2026-05-02T09:00:00Z");
    for (n, status) in [301, 302, 303, 307, 308].into_iter().enumerate() {
        let location = format!("location: {}\r\n", elsewhere.url());
        world.receiver.next([Behaviour::Answer(status, location, Vec::new())]);
        world.minute().await;
        assert_eq!(world.receiver.records().len(), n + 1, "{status}");
        world.clock.advance(chrono::TimeDelta::hours(1));
    }
    assert!(elsewhere.records().is_empty());
}
