//! The inbox as a mail server, over sockets.

use std::time::Duration;

use axum::http::StatusCode;
use bday::dev::inbox::{Inbox, InboxOptions, ResponseRules, SmtpLimits};
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::inbox::RunningInbox;
use crate::support::mail_sender::{Sender, code};
use crate::support::process::Bday;
use crate::support::wait::eventually;

const EVENT: &str = "01a20c92-40bd-7496-a43a-0e7ed8f73c8f";

fn mail(message_id: &str) -> String {
    format!(
        "From: bday <bday@example.org>\r\nTo: Ada <ada@example.org>\r\nSubject: Happy birthday\r\n\
         Message-ID: <{message_id}>\r\n\r\nHey, Ada!\r\n..dots"
    )
}

fn with_limits(change: impl FnOnce(&mut SmtpLimits)) -> RunningInbox {
    let mut options = InboxOptions::default();
    change(&mut options.smtp_limits);
    RunningInbox::with(options)
}

#[tokio::test]
async fn a_mail_is_accepted_and_listed() {
    let inbox = RunningInbox::responding(ResponseRules::default());
    let mut sender = Sender::connect(inbox.smtp).await;
    assert_eq!(sender.send("ada@example.org", &mail(&format!("{EVENT}@example.org"))).await, 250);
    assert_eq!(
        inbox.get("/arrivals").await,
        json!([{
            "id": 1, "arrivedAt": "2026-03-01T07:00:00.412Z", "channel": "mail", "attempt": 1, "duplicate": false,
            "sample": false, "status": 250, "latenessMs": null, "to": ["ada@example.org"], "from": "bday <bday@example.org>",
            "toHeader": "Ada <ada@example.org>", "subject": "Happy birthday", "message": "Hey, Ada!\n.dots",
            "messageId": format!("<{EVENT}@example.org>"), "eventId": EVENT, "hasHtml": false,
        }])
    );
    assert_eq!(sender.command("QUIT").await, 221);
    assert_eq!(sender.reply().await, "");
}

#[tokio::test]
async fn a_mail_with_the_message_id_of_an_accepted_one_is_a_duplicate() {
    let mut inbox = RunningInbox::responding(ResponseRules { fail_first: 1, ..ResponseRules::default() });
    let mut sender = Sender::connect(inbox.smtp).await;
    let mut seen = Vec::new();
    for id in ["1@example.org", "1@example.org", "2@example.org", "1@example.org"] {
        let code = sender.send("ada@example.org", &mail(id)).await;
        let arrival = inbox.next().await;
        seen.push((code, arrival.attempt, arrival.duplicate));
    }
    assert_eq!(seen, [(451, 1, false), (250, 2, false), (451, 1, false), (250, 3, true)]);
    let totals = inbox.log.totals();
    assert_eq!((totals.events, totals.duplicates, totals.failed, totals.unreadable), (2, 1, 2, 0));
}

#[tokio::test]
async fn one_event_by_mail_and_by_webhook_is_a_duplicate() {
    let mut inbox = RunningInbox::responding(ResponseRules::default());
    inbox.post(EVENT, crate::support::inbox::body(EVENT)).await;
    inbox.next().await;
    let mut sender = Sender::connect(inbox.smtp).await;
    sender.send("ada@example.org", &mail(&format!("{EVENT}@example.org"))).await;
    assert!(inbox.next().await.duplicate);
}

#[tokio::test]
async fn the_status_gone_refuses_mails_for_good() {
    let inbox =
        RunningInbox::responding(ResponseRules { status: StatusCode::GONE, ..ResponseRules::default() });
    let mut sender = Sender::connect(inbox.smtp).await;
    assert_eq!(sender.send("ada@example.org", &mail("1@example.org")).await, 550);
    assert_eq!(inbox.log.totals().failed, 1);
}

#[tokio::test]
async fn extensions_are_offered_but_neither_tls_nor_login() {
    let inbox = RunningInbox::responding(ResponseRules::default());
    let mut sender = Sender::connect(inbox.smtp).await;
    sender.write("EHLO test\r\n").await;
    let offered = sender.reply().await;
    assert!(offered.contains("SIZE 1048576") && offered.contains("SMTPUTF8"), "{offered}");
    assert!(!offered.contains("STARTTLS") && !offered.contains("AUTH"), "{offered}");
    for (command, expected) in [
        ("STARTTLS", 502),
        ("AUTH PLAIN AAA", 502),
        ("NOOP", 250),
        ("VRFY ada", 252),
        ("DATA", 503),
        ("RCPT TO:<ada@example.org>", 503),
        ("MAIL FROM:ada@example.org", 501),
        ("MAIL FROM:<bday@example.org> SIZE=1048577", 552),
        ("MAIL FROM:<bday@example.org> SIZE=1048576", 250),
        ("MAIL FROM:<bday@example.org>", 503),
        ("DATA", 503),
        ("RCPT TO:<ada@example.org>", 250),
        ("RSET", 250),
        ("DATA", 503),
        ("HELO test", 250),
    ] {
        assert_eq!(sender.command(command).await, expected, "{command}");
    }
    assert_eq!(inbox.log.totals().received, 0);
}

#[tokio::test]
async fn ten_invalid_commands_or_one_of_http_end_the_connection() {
    let inbox = RunningInbox::responding(ResponseRules::default());
    let mut sender = Sender::connect(inbox.smtp).await;
    for _ in 0..10 {
        assert_eq!(sender.command("HELP").await, 502);
    }
    assert_eq!(sender.command("HELP").await, 421);
    assert_eq!(sender.reply().await, "");

    let mut browser = Sender::connect(inbox.smtp).await;
    browser.write("POST / HTTP/1.1\r\nMAIL FROM:<x@example.org>\r\n").await;
    assert_eq!(code(&browser.reply().await), 421);
}

#[tokio::test]
async fn a_mail_over_the_limit_is_refused_and_listed_and_the_next_one_is_accepted() {
    let inbox = with_limits(|limits| limits.max_mail_bytes = 1024);
    let mut sender = Sender::connect(inbox.smtp).await;
    let large = mail("1@example.org") + &"x".repeat(100_000);
    assert_eq!(sender.send("ada@example.org", &large).await, 552);
    assert_eq!(sender.send("ada@example.org", &mail("2@example.org")).await, 250);
    let listed = inbox.get("/arrivals").await;
    assert_eq!(
        (&listed[0]["unreadable"], &listed[0]["status"]),
        (&json!("the mail is over 1 KiB"), &json!(552))
    );
    assert_eq!(listed[1]["subject"], "Happy birthday");
}

#[tokio::test]
async fn more_connections_than_the_limit_are_refused_until_one_ends() {
    let inbox = with_limits(|limits| limits.max_connections = 2);
    let (first, _second) = (Sender::connect(inbox.smtp).await, Sender::connect(inbox.smtp).await);
    assert_eq!(code(&Sender::connect_only(inbox.smtp).await.reply().await), 421);
    drop(first);
    eventually("a free connection", async || {
        let reply = Sender::connect_only(inbox.smtp).await.reply().await;
        (code(&reply) == 220).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let inbox = with_limits(|limits| limits.idle_timeout = Duration::from_millis(50));
    let mut silent = Sender::connect(inbox.smtp).await;
    assert_eq!(code(&silent.reply().await), 421);
    let mut stalled = Sender::connect(inbox.smtp).await;
    stalled.start("ada@example.org").await;
    stalled.write("Subject: x\r\n").await;
    assert_eq!(code(&stalled.reply().await), 421);
    assert_eq!(inbox.log.totals().received, 0);
}

#[tokio::test]
async fn a_mail_counts_once_complete_and_as_unanswered_if_its_sender_disconnects() {
    let slow = ResponseRules { latency: Duration::from_hours(1), ..ResponseRules::default() };
    let mut inbox = RunningInbox::responding(slow);
    for end in ["", "\r\n.\r\n"] {
        let mut sender = Sender::connect(inbox.smtp).await;
        sender.start("ada@example.org").await;
        sender.write(mail("1@example.org") + end).await;
    }
    assert_eq!(inbox.next().await.status, None);
    let totals = inbox.log.totals();
    assert_eq!((totals.received, totals.unanswered, totals.accepted), (1, 1, 0));
}

#[tokio::test]
async fn open_connections_and_slow_responses_do_not_delay_a_stop() {
    let slow = ResponseRules { latency: Duration::from_hours(1), ..ResponseRules::default() };
    let inbox = RunningInbox::responding(slow);
    let (mut idle, mut sender) = (Sender::connect(inbox.smtp).await, Sender::connect(inbox.smtp).await);
    let log = inbox.log.clone();
    let stop = async {
        eventually("the mail", async || (log.totals().events == 1).then_some(())).await;
        inbox.stop().await;
    };
    let mail = mail("1@example.org");
    let (sent, ()) = tokio::join!(sender.send("ada@example.org", &mail), stop);
    assert_eq!((sent, code(&idle.reply().await)), (250, 421));
}

#[tokio::test]
async fn the_smtp_port_follows_that_of_http_or_is_a_free_one() {
    let clock = RunningInbox::responding(ResponseRules::default()).clock;
    // Other tests may take a port between two calls.
    let (listen, taken) = eventually("two neighbouring free ports", async || {
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let next = format!("127.0.0.1:{}", http.port().checked_add(1)?);
        Some((http, TcpListener::bind(next).await.ok()?))
    })
    .await;
    let options = InboxOptions { listen, ..InboxOptions::default() };
    let inbox = Inbox::bind(options.clone(), clock.clone()).unwrap();
    assert_ne!(inbox.smtp_addr(), taken.local_addr().unwrap());
    drop((inbox, taken));
    let inbox = Inbox::bind(options, clock.clone()).unwrap();
    assert_eq!(inbox.smtp_addr().port(), listen.port() + 1);
    let smtp = Some(inbox.smtp_addr());
    assert!(Inbox::bind(InboxOptions { smtp, ..InboxOptions::default() }, clock).is_err());
}

#[tokio::test]
async fn the_command_prints_the_address_and_each_mail() {
    let inbox = Bday::new(["inbox", "--listen", "127.0.0.1:0", "--smtp", "127.0.0.1:0"]).start();
    let address = eventually("the address for mails", async || {
        let line = inbox.lines().into_iter().find(|line| line.starts_with("Mail "))?;
        Some(line.split_whitespace().nth(2)?.strip_prefix("smtp://")?.to_owned())
    })
    .await;
    let mut sender = Sender::connect(address.parse().unwrap()).await;
    assert_eq!(sender.send("ada@example.org", &mail("1@example.org")).await, 250);
    let line =
        eventually("the mail", async || inbox.lines().into_iter().find(|line| line.contains("Hey"))).await;
    assert!(line.ends_with("250      mail      to ada@example.org  \"Happy birthday\"  Hey, Ada!"), "{line}");
}
