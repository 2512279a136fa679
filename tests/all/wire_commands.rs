//! `bday webhook test|verify|secret`.

use serde_json::Value;

use crate::support::process::{Bday, Finished};
use crate::support::receiver::{Behaviour, Receiver, Record};
use crate::wire_signature::{NEW, OLD, verifies};

async fn test(receiver: &Receiver, arguments: &[&str]) -> Finished {
    let url = receiver.url().replace("http://", "http://user:hunter2@");
    Bday::new(["webhook", "test"].iter().chain(arguments))
        .env("BDAY__QUEUE__KIND", "postgres")
        .env("BDAY__WEBHOOK__URL", url)
        .env("BDAY__WEBHOOK__SECRETS", format!("{NEW},{OLD}"))
        .finish()
        .await
}

#[tokio::test]
async fn webhook_test_shows_the_exchange_without_secrets() {
    let receiver = Receiver::start().await;
    // U+009B starts an escape sequence in some terminals, and is valid in a header.
    let answer = "x-served-by: \u{9b}31mred\r\nset-cookie: a=b\r\n".to_owned();
    receiver.script([Behaviour::Answer(202, answer, b"thanks".to_vec())]);
    let finished = test(&receiver, &["--json"]).await;
    assert_eq!(finished.status.code(), Some(0), "{finished:?}");
    let exchange: Value = serde_json::from_str(&finished.stdout).unwrap();
    let record = receiver.records().remove(0);
    assert!(verifies(&record, OLD) && verifies(&record, NEW));
    // user:hunter2, from the URL.
    assert_eq!(record.headers["authorization"], "Basic dXNlcjpodW50ZXIy");

    // The printed headers match the received ones, except for the password.
    let headers = exchange["requestHeaders"].as_array().unwrap();
    assert_eq!(headers.len(), record.headers.len(), "{headers:?} {:?}", record.headers);
    for header in headers {
        let (name, value) = (header["name"].as_str().unwrap(), header["value"].as_str().unwrap());
        let expected = if name == "authorization" { "[hidden]" } else { &*record.headers[name] };
        assert_eq!(value, expected, "{name}");
    }
    assert_eq!(exchange["body"].as_str().unwrap().as_bytes(), record.body);
    let body: Value = serde_json::from_slice(&record.body).unwrap();
    assert!(body["message"].as_str().unwrap().contains("test"), "{body}");
    assert_eq!(body["eventId"], "00000000-0000-7000-8000-7e5700000001");
    assert_eq!(exchange["status"], 202);
    assert_eq!(exchange["address"], receiver.address().to_string());
    assert_eq!((&exchange["tls"], &exchange["accepted"]), (&false.into(), &true.into()));
    assert!(exchange["responseHeaders"].to_string().contains("set-cookie"));

    let finished = test(&receiver, &[]).await;
    assert_eq!(finished.status.code(), Some(0), "{finished:?}");
    for expected in
        ["POST http://127.0.0.1:", "webhook-signature: v1,", "202 Accepted after ", "; no TLS", "Accepted: "]
    {
        assert!(finished.stdout.contains(expected), "{expected}: {finished:?}");
    }
    assert!(!finished.stdout.contains('\u{9b}'), "{finished:?}");
    for secret in [&OLD[6..], &NEW[6..], "hunter2", "/hook"] {
        assert!(!finished.stdout.contains(secret), "{secret}: {finished:?}");
    }
}

#[tokio::test]
async fn a_failed_webhook_test_shows_whether_it_would_be_retried() {
    let receiver = Receiver::start().await;
    for (status, again) in [(500, "would be retried"), (410, "would not be retried")] {
        receiver.script([Behaviour::Status(status)]);
        let finished = test(&receiver, &[]).await;
        assert_eq!(finished.status.code(), Some(1), "{finished:?}");
        assert!(finished.stdout.contains(again), "{finished:?}");
        assert!(finished.stdout.contains(&format!("the receiver answered {status}")), "{finished:?}");
    }
    let records = receiver.records().len();
    let elsewhere = test(&receiver, &["--url", "http://127.0.0.1:1/"]).await;
    assert_eq!(elsewhere.status.code(), Some(1), "{elsewhere:?}");
    assert!(elsewhere.stdout.contains("FAILED: no connection"), "{elsewhere:?}");
    let in_clear = test(&receiver, &["--url", "http://192.0.2.1/"]).await;
    assert_eq!(in_clear.status.code(), Some(2), "{in_clear:?}");
    assert!(in_clear.stderr.contains("webhook.allow_http"), "{in_clear:?}");
    for wrong in ["foo", "ftp://example.org/", "env:NOWHERE"] {
        let finished = test(&receiver, &["--url", wrong]).await;
        assert!(!finished.status.success(), "{finished:?}");
        assert!(
            finished.stderr.contains("--url ") && !finished.stderr.contains("webhook.url"),
            "{finished:?}"
        );
    }
    assert_eq!(receiver.records().len(), records);
}

async fn verify(record: &Record, arguments: &[&str], body: &[u8]) -> Finished {
    Bday::new(["webhook", "verify"].iter().chain(arguments))
        .env("THE_SECRET", OLD)
        .env("NO_SECRET", "hunter2")
        .envs(
            ["id", "timestamp", "signature"]
                .map(|name| (name.to_owned(), record.headers[&format!("webhook-{name}")].clone())),
        )
        .finish_with(body)
        .await
}

#[tokio::test]
async fn webhook_verify_accepts_a_valid_request_or_names_the_fault() {
    let receiver = Receiver::start().await;
    assert!(test(&receiver, &[]).await.status.success());
    let record = receiver.records().remove(0);
    let header = |name: &str| record.headers[&format!("webhook-{name}")].clone();
    let (id, timestamp, signature) = (header("id"), header("timestamp"), header("signature"));
    let claim = |secret: [&str; 2], id: &str, timestamp: &str, signature: &str| {
        [secret[0], secret[1], "--id", id, "--timestamp", timestamp, "--signature", signature]
            .map(str::to_owned)
    };
    let by_variable = ["--secret-env", "THE_SECRET"];
    let early = (timestamp.parse::<i64>().unwrap() - 301).to_string();
    let with_line_break = [&record.body[..], b"\n"].concat();
    let other = format!("v1,{}=", "A".repeat(43));
    for (claim, body, code, expected) in [
        (claim(by_variable, &id, &timestamp, &signature), &record.body, 0, "The request verifies."),
        (
            claim(["--secret", "env:THE_SECRET"], &id, &timestamp, &signature),
            &record.body,
            0,
            "The request verifies.",
        ),
        (claim(["--secret", NEW], &id, &timestamp, &signature), &record.body, 0, "The request verifies."),
        (claim(by_variable, "another", &timestamp, &signature), &record.body, 1, "no secret matches"),
        (claim(by_variable, &id, &early, &signature), &record.body, 1, "s old; the tolerance is 300 s"),
        (claim(by_variable, &id, "soon", &signature), &record.body, 1, "not a whole number of seconds"),
        (claim(by_variable, &id, &timestamp, &other), &record.body, 1, "no secret matches"),
        (
            claim(by_variable, &id, &timestamp, "sha256=00"),
            &record.body,
            1,
            "no entry that begins with \"v1,\"",
        ),
        (
            claim(by_variable, &id, &timestamp, &signature),
            &with_line_break,
            1,
            "the line break at the body's end",
        ),
        (
            claim(["--secret-env", "NO_SECRET"], &id, &timestamp, &signature),
            &record.body,
            2,
            "--secret-env (from env:NO_SECRET): it does not begin with whsec_",
        ),
        (
            claim(["--secret-env", "NOWHERE"], &id, &timestamp, &signature),
            &record.body,
            2,
            "NOWHERE is not set",
        ),
        (
            claim(["--secret", "hunter2"], &id, &timestamp, &signature),
            &record.body,
            2,
            "--secret: it does not begin",
        ),
    ] {
        let arguments: Vec<&str> = claim.iter().map(String::as_str).collect();
        let finished = verify(&record, &arguments, body).await;
        assert_eq!(finished.status.code(), Some(code), "{arguments:?} {finished:?}");
        let said = format!("{}{}", finished.stdout, finished.stderr);
        assert!(said.contains(expected), "{expected}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    let arguments = claim(by_variable, &id, &early, &signature);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(["--json"]).collect();
    let finished = verify(&record, &arguments, &record.body).await;
    let report: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!((&report["verifies"], &report["timestamp"]["ok"]), (&false.into(), &false.into()));
}

#[tokio::test]
async fn webhook_secret_creates_a_usable_secret() {
    let made = Bday::new(["webhook", "secret"]).finish().await;
    assert!(made.status.success(), "{made:?}");
    let secret = made.stdout.trim();
    assert!(standardwebhooks::Webhook::new(secret).is_ok());
    let receiver = Receiver::start().await;
    let sent = Bday::new(["webhook", "test", "--url", &receiver.url()])
        .env("BDAY__QUEUE__KIND", "postgres")
        .env("BDAY__WEBHOOK__SECRETS", secret)
        .finish()
        .await;
    assert!(sent.status.success(), "{sent:?}");
    assert!(verifies(&receiver.records()[0], secret));
}
