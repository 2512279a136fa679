//! What SES reports after it has accepted a greeting. The bodies have the fields and values of the documentation of SES.

use bday::model::FeedbackType::{self, Bounced, Complained, Delayed, Delivered, Failed};
use bday::pipeline::feedback::FeedbackReader;
use serde_json::{Value, json};
use sqlx::Row as _;
use uuid::Uuid;

use crate::serve::Place;
use crate::support::api::Server;
use crate::support::process::Bday;
use crate::support::sqs::{Counts, Sqs};
use crate::support::wait::eventually;
use crate::support::world::{World, instant};

/// Returns the body of a message about the greeting of a [`Post`].
type Body = Box<dyn Fn(&Post) -> Value>;

const QUEUE: &str = "bday-feedback";
const ADDRESS: &str = "Ada.Lovelace@example.org";

/// Returns the event `name` of SES about the greeting `event`, with the object that belongs to it.
fn ses(event: Option<Uuid>, name: &str, object: (&str, Value)) -> Value {
    let mut body = json!({
        "eventType": name,
        "mail": {
            "timestamp": "2026-05-12T07:00:01.012Z",
            "source": "Birthdays <bday@example.com>",
            "sourceArn": "arn:aws:ses:us-east-1:000000000000:identity/example.com",
            "sendingAccountId": "000000000000",
            "messageId": "EXAMPLE7c191be45-e9aedb9a-02f9-4d12-a87d-dd0099a07f8a-000000",
            "destination": [ADDRESS],
            "headersTruncated": false,
            "headers": [{"name": "To", "value": ADDRESS}],
            "commonHeaders": {"to": [ADDRESS], "subject": "Happy birthday"},
            "tags": {
                "ses:configuration-set": ["bday"],
                "ses:from-domain": ["example.com"],
            },
        },
    });
    if let Some(event) = event {
        body["mail"]["tags"]["bday-event"] = json!([event.to_string()]);
    }
    body[object.0] = object.1;
    body
}

fn bounce(event: Uuid, bounce_type: &str, sub_type: &str) -> Value {
    let object = json!({
        "bounceType": bounce_type,
        "bounceSubType": sub_type,
        "bouncedRecipients": [{
            // The address that the person forwards mail to.
            "emailAddress": "forwarded@example.net",
            "action": "failed",
            "status": "5.1.1",
            "diagnosticCode": "smtp; 550 5.1.1 <forwarded@example.net>: user unknown",
        }],
        "timestamp": "2026-05-12T07:00:09.669Z",
        "feedbackId": "01000157c44f053b-61b59c11-9236-11e6-8f96-7be8aexample-000000",
        "reportingMTA": "dsn; mta.example.com",
    });
    ses(Some(event), "Bounce", ("bounce", object))
}

fn complaint(event: Option<Uuid>) -> Value {
    let object = json!({
        "complainedRecipients": [{"emailAddress": "ada.lovelace@example.org"}],
        "timestamp": "2026-05-12T08:00:00.000Z",
        "feedbackId": "01000157c44f053b-61b59c11-9236-11e6-8f96-7be8aexample-000000",
        "complaintSubType": null,
        "userAgent": "Amazon SES Mailbox Simulator",
        "complaintFeedbackType": "abuse",
        "arrivalDate": "2026-05-12T08:00:00.000Z",
    });
    ses(event, "Complaint", ("complaint", object))
}

/// Returns `message` in the envelope of SNS.
fn in_envelope(message: &str) -> String {
    json!({
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": "arn:aws:sns:us-east-1:000000000000:bday-feedback",
        "Subject": "Amazon SES Email Event Notification",
        "Message": message,
        "Timestamp": "2026-05-12T07:00:10.000Z",
        "SignatureVersion": "1",
        "Signature": "EXAMPLE",
        "SigningCertURL": "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0.pem",
        "UnsubscribeURL": "https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe",
    })
    .to_string()
}

/// A world with a delivered greeting, and the queue of its feedback.
struct Post {
    world: World,
    sqs: Sqs,
    user: Uuid,
    event: Uuid,
}

impl Post {
    async fn new() -> Self {
        let (world, sqs) = tokio::join!(World::at("2026-05-12T07:00:00Z"), Sqs::start());
        let user = world.write("ada", "1990-05-12", "Europe/Berlin").await;
        world.minute().await;
        let event = world.event_of(user).await;
        sqs.client().create_queue().queue_name(QUEUE).send().await.unwrap();
        Self { world, sqs, user, event }
    }

    fn reader(&self) -> FeedbackReader {
        FeedbackReader::new(self.sqs.client(), self.sqs.queue_url(QUEUE), self.world.store.clone())
    }

    async fn send(&self, body: impl Into<String>) {
        send(&self.sqs, body).await;
    }

    /// Sends `body` and reads it. Returns the messages that are left.
    async fn read(&self, body: impl Into<String>) -> usize {
        self.send(body).await;
        self.reader().run_once().await.unwrap();
        total(self.sqs.counts(QUEUE))
    }

    /// Returns the feedback on the event: type and detail.
    async fn feedback(&self) -> Vec<(FeedbackType, String)> {
        let feedback = self.world.store.feedback(self.event).await.unwrap();
        feedback.into_iter().map(|one| (one.feedback_type, one.detail.unwrap_or_default())).collect()
    }

    /// Returns the suppressed addresses: channel and status.
    async fn suppressed(&self) -> Vec<(String, String)> {
        let rows = sqlx::query("SELECT channel, status FROM suppressions");
        let rows = rows.fetch_all(&self.world.database.pool().await).await.unwrap();
        rows.into_iter().map(|row| (row.get(0), row.get(1))).collect()
    }
}

async fn send(sqs: &Sqs, body: impl Into<String>) {
    let call = sqs.client().send_message().queue_url(sqs.queue_url(QUEUE)).message_body(body);
    call.send().await.unwrap();
}

fn total(counts: Counts) -> usize {
    counts.visible + counts.in_flight + counts.delayed
}

fn pair(channel: &str, status: &str) -> (String, String) {
    (channel.to_owned(), status.to_owned())
}

#[tokio::test]
async fn each_event_of_ses_is_stored_with_its_type_and_marks_the_contact_if_it_must() {
    let event = |post: &Post| Some(post.event);
    let delay = json!({
        "timestamp": "2026-05-12T07:20:00.000Z",
        "delayType": "TransientCommunicationFailure",
        "expirationTime": "2026-05-13T07:00:01.000Z",
        "delayedRecipients": [{"emailAddress": ADDRESS, "status": "4.4.1", "diagnosticCode": "smtp; 421 4.4.1"}],
    });
    let delivery = json!({
        "timestamp": "2026-05-12T07:00:03.000Z",
        "processingTimeMillis": 546,
        "recipients": [ADDRESS],
        "smtpResponse": "250 2.6.0 Message received",
        "reportingMTA": "mta.example.com",
    });
    let cases: Vec<(Body, FeedbackType, &str, Option<&str>)> = vec![
        (
            Box::new(|post| bounce(post.event, "Permanent", "NoEmail")),
            Bounced,
            "Permanent NoEmail 5.1.1",
            Some("bounced"),
        ),
        (
            Box::new(|post| bounce(post.event, "Permanent", "OnAccountSuppressionList")),
            Bounced,
            "Permanent OnAccountSuppressionList 5.1.1",
            Some("bounced"),
        ),
        (
            Box::new(|post| bounce(post.event, "Transient", "MailboxFull")),
            Failed,
            "Transient MailboxFull 5.1.1",
            None,
        ),
        (
            Box::new(|post| bounce(post.event, "Undetermined", "Undetermined")),
            Failed,
            "Undetermined Undetermined 5.1.1",
            None,
        ),
        (Box::new(move |post| complaint(event(post))), Complained, "abuse", Some("complained")),
        (
            Box::new(move |post| ses(event(post), "Reject", ("reject", json!({"reason": "Bad content"})))),
            Failed,
            "Bad content",
            None,
        ),
        (
            Box::new(move |post| ses(event(post), "DeliveryDelay", ("deliveryDelay", delay.clone()))),
            Delayed,
            "TransientCommunicationFailure",
            None,
        ),
        (
            Box::new(move |post| ses(event(post), "Delivery", ("delivery", delivery.clone()))),
            Delivered,
            "",
            None,
        ),
    ];
    let post = Post::new().await;
    let pool = post.world.database.pool().await;
    for (body, feedback_type, detail, status) in cases {
        for enveloped in [false, true] {
            for table in ["feedback", "suppressions"] {
                sqlx::query(sqlx::AssertSqlSafe(format!("DELETE FROM {table}")))
                    .execute(&pool)
                    .await
                    .unwrap();
            }
            let body = body(&post).to_string();
            let left = post.read(if enveloped { in_envelope(&body) } else { body.clone() }).await;
            assert_eq!(left, 0, "{body}");
            assert_eq!(post.feedback().await, [(feedback_type, detail.to_owned())], "{body}");
            let marked: Vec<_> = status.map(|status| pair("mail", status)).into_iter().collect();
            assert_eq!(post.suppressed().await, marked, "{body}");
        }
    }
}

#[tokio::test]
async fn messages_without_a_report_are_deleted() {
    let post = Post::new().await;
    let subscribed = json!({"notificationType": "AmazonSnsSubscriptionSucceeded", "message": "You have successfully subscribed"});
    let bodies = [
        ses(Some(post.event), "Send", ("send", json!({}))).to_string(),
        ses(Some(post.event), "Open", ("open", json!({"ipAddress": "192.0.2.1"}))).to_string(),
        in_envelope("Successfully validated SNS topic for Amazon SES event publishing."),
        in_envelope(&subscribed.to_string()),
        json!({"Type": "UnsubscribeConfirmation", "Message": "You have chosen to deactivate"}).to_string(),
    ];
    for body in bodies {
        assert_eq!(post.read(&*body).await, 0, "{body}");
    }
    assert!(post.feedback().await.is_empty());
}

#[tokio::test]
async fn an_unreadable_message_stays_for_the_redrive_policy_and_stops_no_other() {
    let post = Post::new().await;
    for body in ["nonsense", "{}", r#"{"eventType": "Bounce"}"#, &in_envelope("nonsense")] {
        post.send(body).await;
    }
    assert_eq!(post.read(bounce(post.event, "Permanent", "General").to_string()).await, 4);
    assert_eq!(post.feedback().await.len(), 1);
}

#[tokio::test]
async fn a_repeated_report_changes_nothing_and_a_complaint_is_not_replaced_by_a_bounce() {
    let post = Post::new().await;
    for _ in 0..2 {
        post.read(bounce(post.event, "Permanent", "General").to_string()).await;
        post.read(complaint(Some(post.event)).to_string()).await;
    }
    let types: Vec<_> = post.feedback().await.into_iter().map(|(feedback_type, _)| feedback_type).collect();
    assert_eq!(types, [Bounced, Complained]);
    assert_eq!(post.suppressed().await, [pair("mail", "complained")]);
}

#[tokio::test]
async fn a_report_on_an_unknown_event_or_without_a_tag_marks_the_contact_only() {
    let post = Post::new().await;
    let deleted = Uuid::now_v7();
    post.read(bounce(deleted, "Permanent", "General").to_string()).await;
    assert_eq!(post.suppressed().await, [pair("mail", "bounced")]);
    assert!(post.world.store.feedback(deleted).await.unwrap().is_empty());
    // A notification of the identity itself has no tags.
    let mut untagged = complaint(None);
    untagged["notificationType"] = untagged.as_object_mut().unwrap().remove("eventType").unwrap();
    assert_eq!(post.read(untagged.to_string()).await, 0);
    assert_eq!(post.suppressed().await, [pair("mail", "complained")]);
}

#[tokio::test]
async fn a_deleted_user_has_no_feedback() {
    let post = Post::new().await;
    post.read(bounce(post.event, "Permanent", "General").to_string()).await;
    let now = instant("2026-05-12T09:00:00Z");
    let user = bday::store::UserRef::Id(post.user);
    post.world.store.delete_user(now, user, None, None).await.unwrap();
    let rows = async || {
        let count = sqlx::query_scalar("SELECT count(*) FROM feedback");
        let count: i64 = count.fetch_one(&post.world.database.pool().await).await.unwrap();
        count
    };
    assert_eq!(rows().await, 0);
    post.read(complaint(Some(post.event)).to_string()).await;
    assert_eq!(rows().await, 0);
}

#[tokio::test]
async fn a_message_is_kept_until_its_report_is_recorded() {
    let post = Post::new().await;
    let pool = post.world.database.pool().await;
    sqlx::query("ALTER TABLE feedback RENAME TO unavailable").execute(&pool).await.unwrap();
    post.send(bounce(post.event, "Permanent", "General").to_string()).await;
    post.reader().run_once().await.unwrap_err();
    assert_eq!(total(post.sqs.counts(QUEUE)), 1);
    sqlx::query("ALTER TABLE unavailable RENAME TO feedback").execute(&pool).await.unwrap();
    // The message is hidden for two minutes after the receive.
    post.sqs.skip(std::time::Duration::from_secs(121));
    post.reader().run_once().await.unwrap();
    assert_eq!((total(post.sqs.counts(QUEUE)), post.feedback().await.len()), (0, 1));
}

#[tokio::test]
async fn feedback_is_shown_with_the_event_and_in_its_explanation() {
    let post = Post::new().await;
    let server = Server::on(&post.world);
    let path = format!("/v1/events/{}", post.event);
    assert_eq!(server.get(&path).await.expect(200)["feedback"], json!([]));
    post.read(bounce(post.event, "Permanent", "General").to_string()).await;
    let shown = server.get(&path).await.expect(200);
    let expected = json!([{
        "eventId": post.event,
        "type": "bounced",
        "channel": "mail",
        "at": "2026-05-12T07:00:09.669Z",
        "detail": "Permanent General 5.1.1",
    }]);
    assert_eq!(shown["feedback"], expected);
    assert_eq!(shown["state"], "delivered");
    let explained = server.get(&format!("/v1/users/{}/explain", post.user)).await.expect(200);
    let why = explained["thisYear"][0]["why"].as_str().unwrap();
    assert!(why.ends_with("; the provider reported bounced at 2026-05-12T07:00:09Z"), "{why}");
    let show = Bday::new(["event", "show", &post.event.to_string()])
        .env("BDAY__DATABASE__URL", post.world.database.url())
        .finish()
        .await
        .succeeded();
    let line = show.lines().find(|line| line.starts_with("bounced")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words, ["bounced", "mail", "2026-05-12T07:00:09Z", "Permanent", "General", "5.1.1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_reads_the_queue_logs_no_address_and_stops_at_once() {
    let place = Place::new().await;
    place.sqs.client().create_queue().queue_name(QUEUE).send().await.unwrap();
    place.people_who_are_due(1).await;
    let url = place.sqs.queue_url(QUEUE);
    let bday = place.bday(&["serve"]).env("BDAY__CHANNELS__MAIL__FEEDBACK_QUEUE_URL", url);
    let mut daemon = bday.start();
    let address = daemon.ready().await;
    place.receiver.until_accepted(1).await;
    let pool = place.database.pool().await;
    let event: Uuid = sqlx::query_scalar("SELECT id FROM events").fetch_one(&pool).await.unwrap();
    send(&place.sqs, in_envelope(&format!("nonsense about {ADDRESS}"))).await;
    send(&place.sqs, in_envelope(&bounce(event, "Permanent", "General").to_string())).await;
    let store = place.database.store();
    eventually("feedback", async || store.feedback(event).await.unwrap().pop()).await;
    let metrics = reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("bday_feedback_total{channel=\"mail\",type=\"bounced\"} 1\n"), "{metrics}");
    assert!(metrics.contains("bday_feedback_unreadable_total 1\n"), "{metrics}");
    daemon.logged("unreadable feedback").await;
    // A long poll is open.
    daemon.terminate();
    assert!(daemon.exit().await.success());
    let lines = daemon.lines();
    assert!(lines.iter().all(|line| !line.contains("example.org")), "{lines:?}");
    assert_eq!(total(place.sqs.counts(QUEUE)), 1, "the unreadable message");
}
