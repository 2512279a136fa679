//! Twilio's callbacks: only signed requests, what they store, and STOP.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bday::clock::{Clock as _, SharedClock};
use bday::config::twilio::parse_twilio_url;
use bday::http::{Callbacks, TwilioAccounts};
use bday::model::{ChannelName, Contact, ContactStatus, FeedbackType};
use bday::pipeline::channel::twilio::TwilioAccount;
use bday::pipeline::channel::twilio::codes::CALLBACK_CODES;
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use tokio::sync::watch;
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::serve::Place;
use crate::support::twilio::{ENCODED_TOKEN, RECIPIENT, SENDER, SID, TOKEN};
use crate::support::world::World;

const PUBLIC_URL: &str = "https://bday.example.org/app";
const PATH: &str = "/callbacks/twilio";

/// A database with a user whose number is [`RECIPIENT`], an event of this user, and the routes.
struct Fixture {
    world: World,
    router: Router,
    user: Uuid,
    event: Uuid,
    token: watch::Sender<TwilioAccount>,
}

fn account(token: &str) -> TwilioAccount {
    parse_twilio_url(&format!("twilio://{SID}:{token}@api.twilio.com")).unwrap()
}

impl Fixture {
    async fn new() -> Self {
        let world = World::at("2026-03-01T12:00:00Z").await;
        let user = world.write("ada", "1990-03-01", "Etc/UTC").await;
        world.tick().await;
        let event = world.event_of(user).await;
        add_number(&world, user).await;
        let (token, accounts) = watch::channel(account(ENCODED_TOKEN));
        let router = router(&world, vec![accounts]);
        Self { world, router, user, event, token }
    }

    /// Sends a form with the signature of `token`.
    async fn send_signed_by(&self, token: &str, query: &str, form: &[(&str, &str)]) -> (StatusCode, String) {
        let signature = sign(token, &format!("{PUBLIC_URL}{PATH}{query}"), form);
        post(&self.router, query, Some(&signature), encode(form)).await
    }

    async fn send(&self, query: &str, form: &[(&str, &str)]) -> StatusCode {
        let (status, body) = self.send_signed_by(TOKEN, query, form).await;
        assert_eq!(body, "");
        status
    }

    /// Reports a status of the message of the event.
    async fn report(&self, to: &str, status: &str, code: Option<u32>) {
        let code = code.map(|code| code.to_string());
        let mut form = vec![("MessageSid", "SM1"), ("MessageStatus", status), ("From", SENDER), ("To", to)];
        form.extend(code.as_deref().map(|code| ("ErrorCode", code)));
        let query = format!("?event={}", self.event);
        assert_eq!(self.send(&query, &form).await, StatusCode::NO_CONTENT);
    }

    /// Sends a message of the person.
    async fn say(&self, from: &str, more: &[(&str, &str)]) -> String {
        let mut form = vec![("MessageSid", "SM2"), ("SmsStatus", "received"), ("From", from), ("To", SENDER)];
        form.extend(more);
        let (status, answer) = self.send_signed_by(TOKEN, "", &form).await;
        assert_eq!(status, StatusCode::OK);
        answer
    }

    async fn status(&self, channel: ChannelName) -> ContactStatus {
        let contacts: Vec<Contact> = self.world.store.contacts(self.user).await.unwrap();
        contacts.into_iter().find(|contact| contact.channel == channel).unwrap().status
    }

    async fn feedback(&self) -> Vec<(String, String, Option<String>)> {
        let all = sqlx::query_as("SELECT type, channel, detail FROM feedback ORDER BY type");
        all.fetch_all(&self.world.database.pool().await).await.unwrap()
    }

    /// Makes the contact active and removes the feedback.
    async fn reset(&self) {
        let pool = self.world.database.pool().await;
        for sql in ["DELETE FROM feedback", "DELETE FROM suppressions"] {
            sqlx::query(sql).execute(&pool).await.unwrap();
        }
    }
}

async fn add_number(world: &World, user: Uuid) {
    let hash = world.store.installation_key().await.unwrap().address_hash(RECIPIENT);
    let insert =
        "INSERT INTO contact_points (user_id, type, address, address_hash) VALUES ($1, 'phone', $2, $3)";
    let insert = sqlx::query(insert).bind(user).bind(RECIPIENT).bind(hash);
    insert.execute(&world.database.pool().await).await.unwrap();
}

fn router(world: &World, accounts: Vec<watch::Receiver<TwilioAccount>>) -> Router {
    let all = TwilioAccounts::default();
    all.set(accounts);
    let clock = Arc::clone(&world.clock) as SharedClock;
    Callbacks::new(world.store.clone(), clock, all, PUBLIC_URL).router(Duration::from_secs(30))
}

fn encode(form: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish()
}

/// Signs as Twilio's documentation says.
fn sign(token: &str, url: &str, form: &[(&str, &str)]) -> String {
    let mut sorted = form.to_vec();
    sorted.sort_unstable();
    let text = sorted.into_iter().fold(url.to_owned(), |text, (name, value)| text + name + value);
    let mac = Hmac::<sha1::Sha1>::new_from_slice(token.as_bytes()).unwrap();
    STANDARD.encode(mac.chain_update(text).finalize().into_bytes())
}

async fn post(router: &Router, query: &str, signature: Option<&str>, body: String) -> (StatusCode, String) {
    let mut request =
        Request::post(format!("{PATH}{query}")).header("content-type", "application/x-www-form-urlencoded");
    if let Some(signature) = signature {
        request = request.header("X-Twilio-Signature", signature);
    }
    let response = router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_delivery_stands_beside_the_event() {
    let fixture = Fixture::new().await;
    for status in ["queued", "sending", "sent", "accepted"] {
        fixture.report(RECIPIENT, status, None).await;
    }
    assert_eq!(fixture.feedback().await, []);
    fixture.report(RECIPIENT, "delivered", None).await;
    // WhatsApp reports delivered and read.
    fixture.report(RECIPIENT, "read", None).await;
    assert_eq!(fixture.feedback().await, [("delivered".to_owned(), "sms".to_owned(), None)]);
    assert_eq!(fixture.status(ChannelName::Sms).await, ContactStatus::Active);
    let stored = fixture.world.store.feedback(fixture.event).await.unwrap();
    assert_eq!(stored[0].at.to_rfc3339(), "2026-03-01T12:00:00+00:00");
}

#[tokio::test]
async fn each_callback_code_has_the_effect_of_its_row() {
    let fixture = Fixture::new().await;
    for row in CALLBACK_CODES {
        for (prefix, channel, other) in [
            ("", ChannelName::Sms, ChannelName::Whatsapp),
            ("whatsapp:", ChannelName::Whatsapp, ChannelName::Sms),
        ] {
            fixture.report(&format!("{prefix}{RECIPIENT}"), "undelivered", Some(row.code)).await;
            let expected = match row.feedback {
                FeedbackType::Bounced => ContactStatus::Bounced,
                FeedbackType::OptedOut => ContactStatus::OptedOut,
                _ => ContactStatus::Active,
            };
            assert_eq!(fixture.status(channel).await, expected, "{}", row.code);
            assert_eq!(fixture.status(other).await, ContactStatus::Active, "{}", row.code);
            let detail = Some(format!("Twilio error {}", row.code));
            let feedback = (row.feedback.to_string(), channel.to_string(), detail);
            assert_eq!(fixture.feedback().await, [feedback]);
            fixture.reset().await;
        }
    }
    for code in [Some(99_999), None] {
        fixture.report(RECIPIENT, "failed", code).await;
        assert_eq!(fixture.feedback().await[0].0, "failed");
        assert_eq!(fixture.status(ChannelName::Sms).await, ContactStatus::Active);
        fixture.reset().await;
    }
}

#[tokio::test]
async fn stop_opts_out_of_one_channel_and_start_opts_in() {
    let fixture = Fixture::new().await;
    for word in ["STOP", "stop", " Stop ", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT"] {
        let answer = fixture.say(RECIPIENT, &[("Body", word)]).await;
        assert!(answer.contains("<Response/>"), "{answer}");
        assert_eq!(fixture.status(ChannelName::Sms).await, ContactStatus::OptedOut, "{word}");
        assert_eq!(fixture.status(ChannelName::Whatsapp).await, ContactStatus::Active, "{word}");
        fixture.reset().await;
    }
    fixture.say(&format!("whatsapp:{RECIPIENT}"), &[("Body", "STOP")]).await;
    assert_eq!(fixture.status(ChannelName::Whatsapp).await, ContactStatus::OptedOut);
    assert_eq!(fixture.status(ChannelName::Sms).await, ContactStatus::Active);
    // A messaging service may have its own words.
    fixture.say(RECIPIENT, &[("Body", "Arrêt"), ("OptOutType", "STOP")]).await;
    assert_eq!(fixture.status(ChannelName::Sms).await, ContactStatus::OptedOut);
    for word in ["HELP", "do not stop", "please STOP.", "thanks"] {
        fixture.say(RECIPIENT, &[("Body", word)]).await;
        assert_eq!(fixture.status(ChannelName::Sms).await, ContactStatus::OptedOut, "{word}");
    }
    fixture.say(RECIPIENT, &[("Body", "Start")]).await;
    assert_eq!(fixture.status(ChannelName::Sms).await, ContactStatus::Active);
    assert_eq!(fixture.status(ChannelName::Whatsapp).await, ContactStatus::OptedOut);
    fixture.say(RECIPIENT, &[("Body", "do not stop")]).await;
    assert_eq!(fixture.status(ChannelName::Sms).await, ContactStatus::Active);
}

#[tokio::test]
async fn start_removes_an_opt_out_and_no_bounce() {
    let fixture = Fixture::new().await;
    let store = &fixture.world.store;
    let since = fixture.world.clock.now();
    for status in [ContactStatus::Bounced, ContactStatus::Complained] {
        assert!(store.suppress_address(ChannelName::Sms, RECIPIENT, status, since).await.unwrap());
        fixture.say(RECIPIENT, &[("Body", "START")]).await;
        assert_eq!(fixture.status(ChannelName::Sms).await, status);
    }
}

#[tokio::test]
async fn a_repeated_stop_or_start_changes_nothing() {
    let fixture = Fixture::new().await;
    let stored = async || -> (Option<DateTime<Utc>>, i64) {
        let sql = "SELECT (SELECT max(since) FROM suppressions), (SELECT version FROM users)";
        sqlx::query_as(sql).fetch_one(&fixture.world.database.pool().await).await.unwrap()
    };
    for word in ["STOP", "START"] {
        fixture.say(RECIPIENT, &[("Body", word)]).await;
        let before = stored().await;
        assert_eq!(before.0.is_some(), word == "STOP");
        fixture.world.clock.set(fixture.world.clock.now() + TimeDelta::hours(1));
        fixture.say(RECIPIENT, &[("Body", word)]).await;
        assert_eq!(stored().await, before, "{word}");
    }
    assert_eq!(fixture.feedback().await, []);
}

#[tokio::test]
async fn an_opt_out_outlives_the_user() {
    let fixture = Fixture::new().await;
    fixture.say(RECIPIENT, &[("Body", "STOP")]).await;
    let pool = fixture.world.database.pool().await;
    sqlx::query("DELETE FROM contact_points").execute(&pool).await.unwrap();
    let again = fixture.world.write("ada-again", "1990-03-01", "Etc/UTC").await;
    add_number(&fixture.world, again).await;
    let contacts = fixture.world.store.contacts(again).await.unwrap();
    let sms = contacts.into_iter().find(|contact| contact.channel == ChannelName::Sms).unwrap();
    assert_eq!(sms.status, ContactStatus::OptedOut);
}

#[tokio::test]
async fn a_request_that_twilio_did_not_sign_changes_nothing() {
    let fixture = Fixture::new().await;
    let form = [("From", RECIPIENT), ("To", SENDER), ("Body", "STOP")];
    let query = format!("?event={}", fixture.event);
    let url = format!("{PUBLIC_URL}{PATH}");
    let valid = sign(TOKEN, &url, &form);
    let other_form = sign(TOKEN, &url, &form[..2]);
    let other_url = sign(TOKEN, &format!("https://bday.example.org{PATH}"), &form);
    let other_token = sign("hunter3", &url, &form);
    for (query, signature) in [
        ("", None),
        ("", Some("")),
        ("", Some("AAAA")),
        ("", Some(&*other_form)),
        ("", Some(&*other_url)),
        ("", Some(&*other_token)),
        (&*query, Some(&*valid)),
        ("?", Some(&*valid)),
    ] {
        let (status, _) = post(&fixture.router, query, signature, encode(&form)).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{query} {signature:?}");
    }
    assert_eq!(fixture.status(ChannelName::Sms).await, ContactStatus::Active);
    let (status, _) = post(&fixture.router, "", Some(&valid), encode(&form)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(fixture.status(ChannelName::Sms).await, ContactStatus::OptedOut);
}

#[tokio::test]
async fn the_signature_follows_the_token() {
    let fixture = Fixture::new().await;
    let form = [("MessageStatus", "sent"), ("To", RECIPIENT)];
    assert_eq!(fixture.send("", &form).await, StatusCode::NO_CONTENT);
    fixture.token.send_replace(account("rotated"));
    assert_eq!(fixture.send("", &form).await, StatusCode::FORBIDDEN);
    assert_eq!(fixture.send_signed_by("rotated", "", &form).await.0, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn the_token_of_each_account_is_valid() {
    let fixture = Fixture::new().await;
    let accounts = vec![watch::channel(account("first")).1, watch::channel(account("second")).1];
    let router = router(&fixture.world, accounts);
    let form = [("MessageStatus", "sent")];
    for (token, expected) in [
        ("first", StatusCode::NO_CONTENT),
        ("second", StatusCode::NO_CONTENT),
        ("third", StatusCode::FORBIDDEN),
    ] {
        let signature = sign(token, &format!("{PUBLIC_URL}{PATH}"), &form);
        assert_eq!(post(&router, "", Some(&signature), encode(&form)).await.0, expected);
    }
}

#[tokio::test]
async fn signed_nonsense_is_ignored() {
    let fixture = Fixture::new().await;
    let unknown = format!("?event={}", Uuid::now_v7());
    for query in ["", "?event=", "?event=7", "?other=1", &unknown] {
        let form = [("MessageStatus", "undelivered"), ("ErrorCode", "30003"), ("To", RECIPIENT)];
        assert_eq!(fixture.send(query, &form).await, StatusCode::NO_CONTENT, "{query}");
    }
    let query = format!("?event={}", fixture.event);
    for form in [
        &[][..],
        &[("MessageStatus", "delivered")],
        &[("MessageStatus", "delivered"), ("To", "12345")],
        &[("MessageStatus", "delivered"), ("To", "messenger:123")],
        &[("ErrorCode", "30005"), ("To", RECIPIENT)],
    ] {
        assert_eq!(fixture.send(&query, form).await, StatusCode::NO_CONTENT, "{form:?}");
    }
    assert_eq!(fixture.feedback().await, []);
    assert_eq!(fixture.status(ChannelName::Sms).await, ContactStatus::Active);
}

#[tokio::test]
async fn a_body_of_more_than_64_kb_is_rejected() {
    let fixture = Fixture::new().await;
    let long = "x".repeat(64 << 10);
    let (status, _) = fixture.send_signed_by(TOKEN, "", &[("Body", &long)]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let (status, _) = fixture.send_signed_by(TOKEN, "", &[("Body", &long[..60_000])]).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn without_accounts_the_route_answers_as_if_it_did_not_exist() {
    let fixture = Fixture::new().await;
    let router = router(&fixture.world, Vec::new());
    let form = [("MessageStatus", "sent")];
    let signature = sign("", &format!("{PUBLIC_URL}{PATH}"), &form);
    assert_eq!(post(&router, "", Some(&signature), encode(&form)).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_serves_callbacks_without_a_token_of_the_api() {
    let place = Place::new().await;
    let daemon = place
        .bday(&["serve"])
        .env("BDAY__HTTP__PUBLIC_URL", format!("{PUBLIC_URL}/"))
        .env("BDAY__CHANNELS__SMS__URL", "env:TWILIO_URL")
        .env("TWILIO_URL", format!("twilio://{SID}:{ENCODED_TOKEN}@api.twilio.com"))
        .start();
    let url = format!("http://{}{PATH}", daemon.ready().await);
    let form = [("From", RECIPIENT), ("To", SENDER), ("Body", "STOP")];
    let signature = sign(TOKEN, &format!("{PUBLIC_URL}{PATH}"), &form);
    let client = reqwest::Client::new();
    let request = || client.post(&url).body(encode(&form));
    assert_eq!(request().send().await.unwrap().status(), 403);
    let logged: Value = daemon
        .log("the rejection", |line| {
            let message = line["message"].as_str()?;
            message.starts_with("callback of Twilio rejected").then(|| line.clone())
        })
        .await;
    assert!(!logged.to_string().contains(RECIPIENT));
    let accepted = request().header("x-twilio-signature", signature).send().await.unwrap();
    assert_eq!(accepted.status(), 200);
    let store = place.database.store();
    let hash = store.installation_key().await.unwrap().address_hash(RECIPIENT);
    let statuses: Vec<(Vec<u8>, String, String)> =
        sqlx::query_as("SELECT address_hash, channel, status FROM suppressions")
            .fetch_all(&place.database.pool().await)
            .await
            .unwrap();
    assert_eq!(statuses, [(hash.to_vec(), "sms".to_owned(), "opted_out".to_owned())]);
    let metrics = client.get(url.replace(PATH, "/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("bday_feedback_total{channel=\"sms\",type=\"opted_out\"} 1\n"), "{metrics}");
    let text = daemon.lines().join("\n");
    assert!(!text.contains("hunter2") && !text.contains(&RECIPIENT[1..]), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_public_url_there_are_no_callbacks() {
    let place = Place::new().await;
    let daemon = place
        .bday(&["serve"])
        .env("BDAY__CHANNELS__SMS__URL", format!("twilio://{SID}:{ENCODED_TOKEN}@api.twilio.com"))
        .start();
    let url = format!("http://{}{PATH}", daemon.ready().await);
    assert_eq!(reqwest::Client::new().post(&url).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn errors_of_the_configuration_name_the_key_and_not_the_token() {
    let place = Place::new().await;
    for (settings, expected) in [
        (
            &[("BDAY__CHANNELS__SMS__URL", "twilio://ACx:hunter2@api.twilio.com")][..],
            "channels.sms.url has no account SID",
        ),
        (
            &[("BDAY__CHANNELS__SMS__URL", "https://hunter2.example.org")],
            "channels.sms.url is not aws:, sns: or twilio://",
        ),
        (
            &[("BDAY__CHANNELS__SMS__URL", "sns:"), ("BDAY__CHANNELS__SMS__FROM", "A very long name")],
            "channels.sms.from is \"A very long name\"",
        ),
        (
            &[("BDAY__CHANNELS__WHATSAPP__URL", "twilio://hunter2@api.twilio.com")],
            "channels.whatsapp.url has no account SID",
        ),
        (
            &[
                ("BDAY__CHANNELS__WHATSAPP__URL", "env:TWILIO_URL"),
                ("BDAY__CHANNELS__WHATSAPP__FROM", "whatsapp:+15005550006"),
            ],
            "channels.whatsapp.from is \"whatsapp:+15005550006\"",
        ),
        (
            &[("BDAY__CHANNELS__SMS__URL", "sns:"), ("BDAY__HTTP__PUBLIC_URL", "http://example.org")],
            "http.public_url is \"http://example.org\": give the https:// URL",
        ),
    ] {
        let finished = place
            .bday(&["serve"])
            .env("BDAY__KINDS__BIRTHDAY__CHANNELS", "sms,whatsapp,webhook")
            .envs(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
            .finish()
            .await;
        assert!(!finished.status.success());
        let text = format!("{} {}", finished.stdout, finished.stderr);
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
