//! Connections that are refused, lost or silent, at each point of a conversation.

use std::time::Duration;

use bday::model::{AttemptOutcome, Reason};
use bday::pipeline::channel::mail::{MailOptions, MailUrl};
use bday::pipeline::channel::{Channel as _, Disposition, Message, SendResult};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{ada, following, greeting, mail, options, plain};
use crate::support::smtp::{Act, SmtpServer};

const STAGES: [&str; 6] = ["greeting", "EHLO", "AUTH", "MAIL", "RCPT", "DATA"];

fn assert_failed(result: &SendResult, reason: Reason, what: &str) {
    assert_eq!(result.outcome, AttemptOutcome::Failed, "{what}: {result:?}");
    assert_eq!(result.disposition, Disposition::Retry(None), "{what}: {result:?}");
    assert_eq!(result.reason, Some(reason), "{what}: {result:?}");
}

fn assert_unknown(result: &SendResult, reason: Reason, what: &str) {
    assert_eq!(result.outcome, AttemptOutcome::Unknown, "{what}: {result:?}");
    assert_eq!(result.disposition, Disposition::Retry(None), "{what}: {result:?}");
    assert_eq!(result.reason, Some(reason), "{what}: {result:?}");
}

/// Sends to a server that does `act` at `stage`.
async fn send(stage: &'static str, act: Act, timeout: Duration) -> (SmtpServer, SendResult) {
    let server = SmtpServer::start().await;
    server.on(stage, act);
    let mut url = plain(server.address());
    url.login = Some(("user".to_owned(), "password".to_owned()));
    let result = mail(MailOptions { timeout, ..options() }, url).send(&ada()).await;
    (server, result)
}

#[tokio::test]
async fn a_connection_lost_before_the_final_dot_is_a_failure_and_after_it_unknown() {
    let long = Duration::from_secs(30);
    for stage in STAGES {
        let (_, result) = send(stage, Act::Close, long).await;
        assert_failed(&result, Reason::Connect, stage);
    }
    let (server, result) = send("message", Act::Close, long).await;
    assert_eq!(server.messages().len(), 1);
    assert_unknown(&result, Reason::Broken, "message");
    // Not a reply.
    for nonsense in ["hello", "2", "999 what"] {
        let (_, result) = send("message", Act::ReplyAndClose(nonsense.to_owned()), long).await;
        assert_unknown(&result, Reason::Broken, nonsense);
    }
    let (_, result) = send("message", Act::Reply("354 go ahead".to_owned()), long).await;
    assert_unknown(&result, Reason::Broken, "354 to the message");
    let (_, result) = send("DATA", Act::Reply("250 what".to_owned()), long).await;
    assert_failed(&result, Reason::Connect, "250 to DATA");
}

#[tokio::test]
async fn a_server_that_does_not_reply_ends_at_the_deadline() {
    let short = Duration::from_secs(2);
    let sends = STAGES.map(|stage| async move {
        let (_, result) = send(stage, Act::Hang, short).await;
        assert_failed(&result, Reason::Connect, stage);
    });
    let message = async {
        let (server, result) = send("message", Act::Hang, short).await;
        assert_eq!(server.messages().len(), 1);
        assert_unknown(&result, Reason::Timeout, "message");
    };
    tokio::join!(futures_util::future::join_all(sends), message);
}

#[tokio::test]
async fn a_message_that_the_server_does_not_read_is_not_sent() {
    let server = SmtpServer::start().await;
    server.on("DATA", Act::NeverRead);
    let mail = mail(MailOptions { timeout: Duration::from_secs(1), ..options() }, plain(server.address()));
    let long = "Hey, Ada\r\n".repeat(2_000_000);
    let result = mail.send(&greeting("ada@example.org", Message::of_text(long))).await;
    assert_failed(&result, Reason::Connect, "never read");
}

#[tokio::test]
async fn a_port_where_nothing_listens_and_an_unknown_name_are_connection_failures() {
    let port = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    let result = mail(options(), plain(port)).send(&ada()).await;
    assert_failed(&result, Reason::Connect, "refused");
    assert!(result.error.unwrap().contains("refused"));
    let mut url = plain(port);
    url.host = "nowhere.invalid".to_owned();
    let result = mail(options(), url).send(&ada()).await;
    assert_failed(&result, Reason::Connect, "DNS");
    assert!(result.error.unwrap().contains("nowhere.invalid"));
}

#[tokio::test]
async fn connections_are_reused_and_replaced_when_the_server_has_closed_them() {
    let server = SmtpServer::start().await;
    let mail = mail(options(), plain(server.address()));
    for _ in 0..5 {
        let result = mail.send(&ada()).await;
        assert_eq!(result.disposition, Disposition::Delivered);
        assert_eq!(result.status, Some(250));
        assert_eq!(result.provider_id.as_deref(), Some("2.0.0 Ok: queued as 4F2A"));
    }
    assert_eq!(server.connections(), 1);
    // As servers end idle connections: with 421 to the next command, or without a word.
    server.on("message", Act::ReplyAndClose("250 ok".to_owned()));
    for n in 2..=4 {
        assert_eq!(mail.send(&ada()).await.disposition, Disposition::Delivered, "{n}");
    }
    assert_eq!(server.connections(), 3, "each closed connection was replaced once");
    assert_eq!(server.messages().len(), 8, "nothing was sent twice");
}

#[tokio::test]
async fn a_reused_connection_that_answers_421_is_replaced() {
    let server = SmtpServer::start().await;
    let mail = mail(options(), plain(server.address()));
    assert_eq!(mail.send(&ada()).await.disposition, Disposition::Delivered);
    server.on("MAIL", Act::ReplyAndClose("421 4.4.2 timeout".to_owned()));
    let result = mail.send(&ada()).await;
    assert_eq!(result.disposition, Disposition::Defer(None), "the new connection answers the same");
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_message_is_not_sent_again_after_a_reused_connection_was_lost() {
    for (stage, messages) in [("RCPT", 1), ("DATA", 1), ("message", 2)] {
        let server = SmtpServer::start().await;
        let mail = mail(options(), plain(server.address()));
        assert_eq!(mail.send(&ada()).await.disposition, Disposition::Delivered);
        server.on(stage, Act::Close);
        let result = mail.send(&ada()).await;
        if stage == "message" {
            assert_unknown(&result, Reason::Broken, stage);
        } else {
            assert_failed(&result, Reason::Connect, stage);
        }
        assert_eq!((server.messages().len(), server.connections()), (messages, 1), "{stage}");
    }
}

#[tokio::test]
async fn more_messages_than_connections_wait_for_a_connection() {
    let server = SmtpServer::start().await;
    let mail = mail(options(), plain(server.address()));
    let greeting = ada();
    let sends = (0..100).map(|_| mail.send(&greeting));
    for result in futures_util::future::join_all(sends).await {
        assert_eq!(result.disposition, Disposition::Delivered, "{result:?}");
    }
    assert_eq!(server.messages().len(), 100);
    assert!(server.connections() <= 20, "{}", server.connections());
    // Without a free connection, nothing was sent, and the attempt does not count.
    server.on("MAIL", Act::Hang);
    let mail =
        super::mail(MailOptions { timeout: Duration::from_secs(2), ..options() }, plain(server.address()));
    let sends = (0..25).map(|_| mail.send(&greeting));
    let results = futures_util::future::join_all(sends).await;
    let deferred = results.iter().filter(|result| {
        result.disposition == Disposition::Defer(None) && result.reason == Some(Reason::Throttled)
    });
    assert_eq!(deferred.count(), 5, "{results:?}");
}

#[tokio::test]
async fn a_changed_url_takes_effect_for_the_next_message() {
    let (first, second) = (SmtpServer::start().await, SmtpServer::start().await);
    let (change, url) = watch::channel(MailUrl::Smtp(plain(first.address())));
    let mail = following(options(), url);
    mail.send(&ada()).await;
    change.send_replace(MailUrl::Smtp(plain(second.address())));
    mail.send(&ada()).await;
    assert_eq!((first.messages().len(), second.messages().len()), (1, 1));
}

#[tokio::test]
async fn an_address_that_no_server_accepts_is_not_sent_to() {
    let server = SmtpServer::start().await;
    let mail = mail(options(), plain(server.address()));
    for invalid in ["", "ada", "ada@", "ada@example.org\r\nRCPT TO:<bob@example.org>", "a b@example.org"] {
        let result = mail.send(&greeting(invalid, Message::of_text("Hey"))).await;
        assert_eq!(result.reason, Some(Reason::Bounced), "{invalid}");
        assert!(matches!(result.disposition, Disposition::Unreachable(_)), "{invalid}");
    }
    assert_eq!(server.connections(), 0);
    let result = mail.send(&greeting("größe@example.org", Message::of_text("Hey"))).await;
    assert_eq!((result.disposition, result.reason), (Disposition::Dead, Some(Reason::Rejected)));
    assert!(result.error.unwrap().contains("SMTPUTF8"));
    server.on("EHLO", Act::Reply("250-test\r\n250 SMTPUTF8".to_owned()));
    let other = super::mail(options(), plain(server.address()));
    let result = other.send(&greeting("größe@example.org", Message::of_text("Hey"))).await;
    assert_eq!(result.disposition, Disposition::Delivered, "{result:?}");
}
