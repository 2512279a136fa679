//! The daemon with mail, Slack and SMS: what a person sees of a greeting, a channel that is down, a crash during a request, and a
//! password that changes.

use std::fmt::Write as _;

use bday::model::EventState::{self, Dead, Delivered, Delivering, Pending};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::serve::{file, people};
use crate::support::database::Database;
use crate::support::process::{Bday, Running};
use crate::support::slack::{Answer as SlackAnswer, FakeSlack};
use crate::support::smtp::{Act, SmtpServer};
use crate::support::twilio::{Answer as TwilioAnswer, FakeTwilio, RECIPIENT, SENDER};
use crate::support::wait::eventually;

const COLUMNS: [&str; 3] = ["email", "phone", "slack_user_id"];

/// A database, and the configuration of a daemon that sends by channels.
pub(crate) struct Site {
    database: Database,
    pool: PgPool,
    settings: Vec<(String, String)>,
}

impl Site {
    /// `settings`: variables, without `BDAY__` if they are keys of bday.
    pub(crate) async fn new(settings: &[(&str, &str)]) -> Self {
        let database = Database::new().await;
        let pool = database.pool().await;
        let variable = |name: &str| {
            if name.starts_with("AWS_") { name.to_owned() } else { format!("BDAY__{name}") }
        };
        let settings = settings.iter().map(|(name, value)| (variable(name), (*value).to_owned())).collect();
        Self { database, pool, settings }
    }

    pub(crate) fn bday(&self, arguments: &[&str]) -> Bday {
        Bday::new(arguments)
            .env("BDAY__DATABASE__URL", self.database.url())
            .env("BDAY__QUEUE__KIND", "postgres")
            .env("BDAY__CHANNELS__MAIL__FROM", "Example Ltd <greetings@example.com>")
            .env("BDAY__RETRY__SCHEDULE_SECS", "0,0,0,0")
            .envs(self.settings.clone())
    }

    pub(crate) fn serve(&self) -> Running {
        self.bday(&["serve"]).start()
    }

    /// Imports users whose send time was a few minutes ago: external id, column of the contact, and address.
    pub(crate) async fn add(&self, users: &[(&str, &str, &str)]) {
        let now: DateTime<Utc> = self.database.store().clock().await.unwrap();
        let when = people(0..0, now, TimeDelta::minutes(-5)).columns;
        let mut csv =
            format!("external_id,first_name,last_name,birth_date,time_zone,send_at,{}\n", COLUMNS.join(","));
        for (user, column, address) in users {
            let addresses = COLUMNS.map(|name| if name == *column { address } else { "" });
            writeln!(csv, "{user},{user},Doe,{when},{}", addresses.join(",")).unwrap();
        }
        let file = file("people.csv", csv.as_bytes());
        self.bday(&["user", "import", file.path()]).finish().await.succeeded();
    }

    /// Waits until the event of the user is in this state, and returns what `bday event show --json` prints.
    pub(crate) async fn until(&self, user: &str, state: EventState) -> Value {
        let sql = "SELECT e.id FROM events e JOIN users u ON u.id = e.user_id WHERE u.external_id = $1 AND e.state = $2";
        let id: Uuid = eventually("the state of an event", async || {
            sqlx::query_scalar(sql).bind(user).bind(state).fetch_optional(&self.pool).await.unwrap()
        })
        .await;
        self.show(id).await
    }

    async fn show(&self, id: Uuid) -> Value {
        let shown = self.bday(&["event", "show", &id.to_string(), "--json"]).finish().await.succeeded();
        serde_json::from_str(&shown).unwrap()
    }

    /// Waits until an attempt of the user's only event has ended with `reason`, and returns the event.
    pub(crate) async fn until_attempt(&self, user: &str, reason: &str) -> Value {
        let sql = "
            SELECT a.event_id FROM attempts a JOIN events e ON e.id = a.event_id JOIN users u ON u.id = e.user_id
            WHERE u.external_id = $1 AND a.reason = $2 LIMIT 1";
        let id: Uuid = eventually("the end of an attempt", async || {
            sqlx::query_scalar(sql).bind(user).bind(reason).fetch_optional(&self.pool).await.unwrap()
        })
        .await;
        self.show(id).await
    }

    pub(crate) async fn explain(&self, user: &str) -> String {
        self.bday(&["explain", user]).finish().await.succeeded()
    }

    /// Ends the leases of a worker that died, as their time would.
    async fn expire_leases(&self) {
        let expire = sqlx::query("UPDATE leases SET lease_until = '2020-01-01'");
        assert_eq!(expire.execute(&self.pool).await.unwrap().rows_affected(), 1);
    }
}

/// Waits until the daemon serves this sample.
pub(crate) async fn until_metric(daemon: &Running, sample: &str) {
    let url = format!("http://{}/metrics", daemon.ready().await);
    eventually(sample, async || {
        let text = reqwest::get(&url).await.unwrap().text().await.unwrap();
        text.lines().any(|line| line == sample).then_some(())
    })
    .await;
}

/// Returns the value of a header of a message.
pub(crate) fn header<'a>(message: &'a str, name: &str) -> &'a str {
    message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn channel_and_provider_id_of_a_greeting_show_everywhere() {
    let (smtp, slack, twilio) = tokio::join!(SmtpServer::start(), FakeSlack::start(), FakeTwilio::start());
    let site = Site::new(&[
        ("KINDS__BIRTHDAY__CHANNELS", "mail,slack,sms"),
        ("CHANNELS__MAIL__URL", &format!("smtp://{}", smtp.address())),
        ("CHANNELS__SLACK__URL", &slack.bot_url()),
        ("CHANNELS__SMS__URL", &twilio.url()),
        ("CHANNELS__SMS__FROM", SENDER),
    ])
    .await;
    let bob = ("bob", "slack_user_id", "U012AB3CD");
    site.add(&[("ada", "email", "ada@example.org"), bob, ("eve", "phone", RECIPIENT)]).await;
    let daemon = site.serve();
    let address = daemon.ready().await;
    for (user, channel, provider_id) in [
        ("ada", "mail", "2.0.0 Ok: queued as 4F2A"),
        ("bob", "slack", "D012AB3CD/1712345678.000001"),
        ("eve", "sms", "SMbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"),
    ] {
        let event = site.until(user, Delivered).await;
        let attempts = event["attempts"].as_array().unwrap();
        assert_eq!((&event["channel"], attempts.len()), (&json!(channel), 1));
        let attempt = &attempts[0];
        assert_eq!((&attempt["channel"], &attempt["providerId"]), (&json!(channel), &json!(provider_id)));
        let url = format!("http://{address}/v1/events/{}", event["id"].as_str().unwrap());
        let served: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        assert_eq!(served, event);
        let shown = site.bday(&["event", "show", event["id"].as_str().unwrap()]).finish().await.succeeded();
        assert!(shown.contains(&format!("message id of attempt 1: {provider_id}")), "{shown}");
        assert!(shown.contains(channel), "{shown}");
        let explained = site.explain(user).await;
        assert!(explained.contains(&format!("accepted by {channel} ")), "{explained}");
        let delivered = format!("bday_events_delivered_total{{kind=\"birthday\",channel=\"{channel}\"}} 1");
        until_metric(&daemon, &delivered).await;
    }
    assert_eq!((smtp.messages().len(), slack.calls().len(), twilio.messages().len()), (1, 1, 1));
    let logs = daemon.lines().join("\n");
    for secret in ["ada@example.org", "U012AB3CD", &RECIPIENT[1..], "hunter2", "xoxb-"] {
        assert!(!logs.contains(secret), "{secret} in {logs}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_stops_one_channel_and_kills_no_event() {
    let (smtp, slack) = tokio::join!(SmtpServer::start(), FakeSlack::start());
    slack.next("chat.postMessage", vec![SlackAnswer::Error("token_revoked"); 1000]);
    let site = Site::new(&[
        ("KINDS__BIRTHDAY__CHANNELS", "mail,slack"),
        ("CHANNELS__MAIL__URL", &format!("smtp://{}", smtp.address())),
        ("CHANNELS__SLACK__URL", &slack.bot_url()),
        ("CHANNELS__SLACK__MAX_PER_SECOND", "0"),
        ("BREAKER__FAILURES", "6"),
        ("BREAKER__AFTER_SECS", "0"),
    ])
    .await;
    site.add(&[("bob", "slack_user_id", "U012AB3CD")]).await;
    let daemon = site.serve();
    until_metric(&daemon, "bday_breaker_open{channel=\"slack\"} 1").await;
    site.add(&[("ada", "email", "ada@example.org")]).await;
    let ada = site.until("ada", Delivered).await;
    assert_eq!(ada["channel"], "mail");
    until_metric(&daemon, "bday_breaker_open{channel=\"mail\"} 0").await;
    // More attempts than retry.max_attempts, and the event is still alive.
    let bob = site.until("bob", Pending).await;
    let attempts = bob["attempts"].as_array().unwrap();
    assert!(attempts.len() >= 6, "{bob}");
    for attempt in attempts {
        assert_eq!((&attempt["outcome"], &attempt["reason"]), (&json!("failed"), &json!("channel_down")));
    }
    assert!(bob["lastError"].as_str().unwrap().contains("token_revoked"), "{bob}");
    let explained = site.explain("bob").await;
    assert!(explained.contains("by slack failed") && explained.contains("token_revoked"), "{explained}");
    assert!(!daemon.lines().join("\n").contains("xoxb-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_after_a_crash_has_the_same_message_id() {
    let smtp = SmtpServer::start().await;
    let url = format!("smtp://{}", smtp.address());
    let site = Site::new(&[("KINDS__BIRTHDAY__CHANNELS", "mail"), ("CHANNELS__MAIL__URL", &url)]).await;
    smtp.on("message", Act::Hang);
    site.add(&[("ada", "email", "ada@example.org")]).await;
    let mut daemon = site.serve();
    eventually("the final dot", async || smtp.messages().pop()).await;
    site.until("ada", Delivering).await;
    daemon.kill();
    daemon.exit().await;
    smtp.accept_all();
    site.expire_leases().await;
    let _next = site.serve();
    let ada = site.until("ada", Delivered).await;
    let outcomes: Vec<_> =
        ada["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["outcome"]).collect();
    assert_eq!(outcomes, ["unknown", "delivered"]);
    let messages = smtp.messages();
    let ids: Vec<&str> = messages.iter().map(|message| header(message, "Message-ID")).collect();
    let expected = format!("<{}@example.com>", ada["id"].as_str().unwrap());
    assert_eq!(ids, [&expected, &expected]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sms_is_not_repeated_after_a_crash() {
    let twilio = FakeTwilio::start().await;
    twilio.next(TwilioAnswer::Hang);
    let site = Site::new(&[
        ("KINDS__BIRTHDAY__CHANNELS", "sms"),
        ("CHANNELS__SMS__URL", &twilio.url()),
        ("CHANNELS__SMS__FROM", SENDER),
    ])
    .await;
    site.add(&[("eve", "phone", RECIPIENT)]).await;
    let mut daemon = site.serve();
    eventually("the request", async || twilio.messages().pop()).await;
    site.until("eve", Delivering).await;
    daemon.kill();
    daemon.exit().await;
    site.expire_leases().await;
    let next = site.serve();
    let eve = site.until("eve", Dead).await;
    assert_eq!(eve["reason"], "worker_lost");
    let attempts = eve["attempts"].as_array().unwrap();
    assert_eq!((attempts.len(), &attempts[0]["outcome"]), (1, &json!("unknown")));
    // Another greeting passes, so that a second message would have passed, too.
    site.add(&[("bob", "phone", "+15558675311")]).await;
    site.until("bob", Delivered).await;
    assert_eq!(twilio.messages().len(), 2);
    until_metric(&next, "bday_events_delivered_total{kind=\"birthday\",channel=\"sms\"} 1").await;
    let explained = site.explain("eve").await;
    assert!(explained.contains("worker_lost") && explained.contains("may have accepted"), "{explained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_of_the_mail_server_takes_effect_without_a_restart() {
    let smtp = SmtpServer::start().await;
    let url = |password: &str| format!("smtp://bday:{password}@{}", smtp.address());
    let secret = file("mail_url", url("first-secret").as_bytes());
    let site = Site::new(&[
        ("KINDS__BIRTHDAY__CHANNELS", "mail"),
        ("CHANNELS__MAIL__URL", &format!("file:{}", secret.path())),
        ("SOURCE__REFRESH_SECS", "1"),
    ])
    .await;
    smtp.require_login("bday", "second-secret");
    site.add(&[("ada", "email", "ada@example.org")]).await;
    let daemon = site.serve();
    let refused = site.until_attempt("ada", "channel_down").await;
    assert!(refused["lastError"].as_str().unwrap().contains("535"), "{refused}");
    assert!(smtp.messages().is_empty());
    std::fs::write(secret.path(), url("second-secret")).unwrap();
    let ada = site.until("ada", Delivered).await;
    assert!(ada["attempts"].as_array().unwrap().len() >= 2);
    assert_eq!(smtp.messages().len(), 1);
    // The next password, while a connection with the old one is open.
    smtp.require_login("bday", "third-secret");
    std::fs::write(secret.path(), url("third-secret")).unwrap();
    let is_change = |line: &Value| line["message"] == "value changed" && line["key"] == "channels.mail.url";
    eventually("the second change", async || {
        (daemon.logs().iter().filter(|line| is_change(line)).count() == 2).then_some(())
    })
    .await;
    site.add(&[("bob", "email", "bob@example.org")]).await;
    site.until("bob", Delivered).await;
    assert!(!daemon.lines().join("\n").contains("-secret"));
}
