//! The contract of the queue: one test suite for SQS over HTTP and PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use bday::clock::SystemClock;
use bday::pipeline::queue::postgres::PostgresQueue;
use bday::pipeline::queue::sqs::{SqsOptions, SqsQueue};
use bday::pipeline::queue::{DeadLetter, Message, Pack, Queue, QueueError, Receipt, Received, decode};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::database::Database;
use crate::support::sqs::Sqs;

/// Exceeds the duration of each test.
const VISIBILITY: Duration = Duration::from_secs(30);
const NO_WAIT: Duration = Duration::ZERO;

struct Fixture {
    queue: Arc<dyn Queue>,
    sqs: Option<Sqs>,
    database: Option<(Database, PgPool)>,
}

async fn sqs() -> Fixture {
    let sqs = Sqs::start().await;
    let options = SqsOptions {
        url: sqs.queue_url("greetings"),
        dead_letter_url: String::new(),
        visibility: VISIBILITY,
    };
    let queue = Arc::new(SqsQueue::new(sqs.client(), options));
    Fixture { queue, sqs: Some(sqs), database: None }
}

async fn postgres() -> Fixture {
    let database = Database::new().await;
    let queue = PostgresQueue::new(database.store(), Arc::new(SystemClock), VISIBILITY);
    let pool = database.pool().await;
    Fixture { queue: Arc::new(queue), sqs: None, database: Some((database, pool)) }
}

impl Fixture {
    /// Sends packs of these sizes as a scheduler does; returns their events.
    async fn send(&self, packs: &[usize]) -> Vec<Vec<Uuid>> {
        let mut sent = Vec::new();
        for (at, size) in packs.iter().enumerate() {
            let event_ids: Vec<Uuid> = (0..*size).map(|_| Uuid::now_v7()).collect();
            let mut pack = Pack { id: at as i64 + 1, event_ids, traceparent: None };
            if let Some((_, pool)) = &self.database {
                let insert = sqlx::query_scalar(
                    "INSERT INTO outbox (event_ids, created_at, available_at) VALUES ($1, now(), now()) RETURNING id",
                );
                pack.id = insert.bind(&pack.event_ids).fetch_one(pool).await.unwrap();
            }
            sent.push(pack);
        }
        let confirmed = self.queue.send(&sent).await.unwrap();
        if !self.queue.is_outbox() {
            let mut confirmed = confirmed;
            confirmed.sort_unstable();
            assert_eq!(confirmed, sent.iter().map(|pack| pack.id).collect::<Vec<_>>());
        }
        sent.into_iter().map(|pack| pack.event_ids).collect()
    }

    /// Acknowledges messages as a worker does after leasing their events.
    async fn ack(&self, received: &[Received]) {
        if let Some((database, _)) = &self.database {
            let pack = |message: &Message| {
                Some(Pack { id: message.pack?, event_ids: message.event_ids.clone(), traceparent: None })
            };
            let packs: Vec<Pack> = received.iter().filter_map(|one| pack(message(one))).collect();
            database.store().delete_packs(&packs).await.unwrap();
        }
        let receipts: Vec<Receipt> = received.iter().map(|one| one.receipt.clone()).collect();
        self.queue.ack(&receipts).await.unwrap();
    }

    /// Sends `n` dead events to the dead-letter queue; returns them.
    async fn send_dead_letters(&self, n: usize) -> Vec<Uuid> {
        let events: Vec<Uuid> = (0..n).map(|_| Uuid::now_v7()).collect();
        for event in &events {
            if let Some((_, pool)) = &self.database {
                sqlx::query(
                    "INSERT INTO outbox (event_ids, dead_letter, created_at, available_at)
                     VALUES (ARRAY[$1], 'gone', now(), now())",
                )
                .bind(event)
                .execute(pool)
                .await
                .unwrap();
            }
        }
        if !self.queue.is_outbox() {
            let letters: Vec<_> = events.iter().map(|event| DeadLetter::of_event(*event, "gone")).collect();
            assert_eq!(self.queue.send_dead_letters(&letters).await.unwrap().len(), n);
        }
        events
    }

    /// Receives until the queue is empty.
    async fn all(&self) -> Vec<Received> {
        let mut all = Vec::new();
        loop {
            let received = self.queue.receive(10, NO_WAIT).await.unwrap();
            if received.is_empty() {
                return all;
            }
            all.extend(received);
        }
    }
}

fn message(received: &Received) -> &Message {
    received.message.as_ref().expect("a valid message")
}

fn events(received: &[Received]) -> Vec<Uuid> {
    let mut events: Vec<Uuid> = received.iter().flat_map(|one| message(one).event_ids.clone()).collect();
    events.sort_unstable();
    events
}

macro_rules! conformance {
    ($($test:ident),* $(,)?) => {
        conformance!(@on sqs: $($test),*);
        conformance!(@on postgres: $($test),*);
    };
    (@on $place:ident: $($test:ident),*) => {
        mod $place {
            $(#[tokio::test]
            async fn $test() {
                let fixture = super::$place().await;
                fixture.queue.create().await.unwrap();
                super::$test(fixture).await;
            })*
        }
    };
}

conformance!(
    a_received_pack_is_hidden_from_other_receives,
    many_packs_are_confirmed_and_received_completely,
    an_acknowledged_message_is_not_redelivered,
    reading_dead_letters_does_not_delete_them,
    dead_letters_can_be_deleted,
    a_waiting_receive_ends_when_a_pack_is_sent,
    creating_an_existing_queue_has_no_effect,
    acknowledging_twice_has_no_effect,
);

async fn a_received_pack_is_hidden_from_other_receives(fixture: Fixture) {
    let sent = fixture.send(&[3]).await;
    let received = fixture.all().await;
    assert_eq!((received.len(), &message(&received[0]).event_ids), (1, &sent[0]));
    assert!(message(&received[0]).pack.is_some());
    assert!(fixture.all().await.is_empty());
    let depth = fixture.queue.depth().await.unwrap();
    assert_eq!((depth.visible, depth.in_flight, depth.dead_letters), (0, 1, 0));
}

async fn many_packs_are_confirmed_and_received_completely(fixture: Fixture) {
    let mut sizes = [1; 137];
    sizes[0] = 100;
    let mut sent: Vec<Uuid> = fixture.send(&sizes).await.concat();
    assert_eq!(fixture.queue.depth().await.unwrap().visible, 137);
    sent.sort_unstable();
    assert_eq!(events(&fixture.all().await), sent);
}

async fn an_acknowledged_message_is_not_redelivered(fixture: Fixture) {
    fixture.send(&[1; 25]).await;
    let received = fixture.all().await;
    fixture.ack(&received[..20]).await;
    let depth = fixture.queue.depth().await.unwrap();
    assert_eq!((depth.visible, depth.in_flight), (0, 5));
    fixture.ack(&received[20..]).await;
    let depth = fixture.queue.depth().await.unwrap();
    assert_eq!((depth.visible, depth.in_flight), (0, 0));
}

async fn reading_dead_letters_does_not_delete_them(fixture: Fixture) {
    let sent = fixture.send_dead_letters(1).await;
    let read = fixture.queue.dead_letters(None, 10, VISIBILITY).await.unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!(decode(&read[0].body).unwrap().event_ids, sent);
    assert_eq!(read[0].reason.as_deref(), Some("gone"));
    let more = fixture.queue.dead_letters(read.last(), 10, VISIBILITY).await.unwrap();
    assert!(more.is_empty());
    assert_eq!(fixture.queue.depth().await.unwrap().dead_letters, 1);
}

async fn dead_letters_can_be_deleted(fixture: Fixture) {
    fixture.send_dead_letters(23).await;
    let mut read = Vec::new();
    loop {
        let some = fixture.queue.dead_letters(read.last(), 100, VISIBILITY).await.unwrap();
        if some.is_empty() {
            break;
        }
        read.extend(some);
    }
    assert_eq!(read.len(), 23);
    let receipts: Vec<Receipt> = read.into_iter().map(|message| message.receipt).collect();
    assert_eq!(fixture.queue.delete_dead_letters(&receipts[..21]).await.unwrap(), 21);
    assert_eq!(fixture.queue.depth().await.unwrap().dead_letters, 2);
    assert_eq!(fixture.queue.delete_dead_letters(&[]).await.unwrap(), 0);
}

async fn a_waiting_receive_ends_when_a_pack_is_sent(fixture: Fixture) {
    let sending = async {
        tokio::task::yield_now().await;
        fixture.send(&[2]).await.concat()
    };
    let (received, mut sent) = tokio::join!(fixture.queue.receive(10, Duration::from_secs(20)), sending);
    sent.sort_unstable();
    assert_eq!(events(&received.unwrap()), sent);
}

async fn creating_an_existing_queue_has_no_effect(fixture: Fixture) {
    fixture.send(&[1]).await;
    let (one, two) = tokio::join!(fixture.queue.create(), fixture.queue.create());
    one.and(two).unwrap();
    assert_eq!(fixture.all().await.len(), 1);
}

async fn acknowledging_twice_has_no_effect(fixture: Fixture) {
    fixture.send(&[1]).await;
    let received = fixture.all().await;
    fixture.ack(&received).await;
    fixture.ack(&received).await;
    assert!(fixture.all().await.is_empty());
}

#[tokio::test]
async fn a_missing_sqs_queue_has_its_own_error() {
    let error = sqs().await.queue.receive(1, NO_WAIT).await.unwrap_err();
    assert!(matches!(error, QueueError::Missing(_)), "{error}");
}

#[tokio::test]
async fn failed_entries_of_a_batch_are_not_confirmed() {
    let fixture = sqs().await;
    fixture.queue.create().await.unwrap();
    let sqs = fixture.sqs.as_ref().unwrap();
    sqs.faults(|faults| faults.fail_send_entry_every = 3);
    let pack = |id| Pack { id, event_ids: vec![Uuid::now_v7()], traceparent: None };
    let packs: Vec<Pack> = (0..30).map(pack).collect();
    let mut confirmed = fixture.queue.send(&packs).await.unwrap();
    assert_eq!(confirmed.len(), 20);
    let mut received: Vec<i64> = fixture.all().await.iter().map(|one| message(one).pack.unwrap()).collect();
    received.sort_unstable();
    confirmed.sort_unstable();
    assert_eq!(received, confirmed);
}

#[tokio::test]
async fn sqs_moves_unacknowledged_messages_to_the_dead_letter_queue() {
    let fixture = sqs().await;
    fixture.queue.create().await.unwrap();
    let sent = fixture.send(&[2]).await.concat();
    let sqs = fixture.sqs.as_ref().unwrap();
    for _ in 0..5 {
        assert_eq!(fixture.queue.receive(10, NO_WAIT).await.unwrap().len(), 1);
        sqs.skip(VISIBILITY);
    }
    assert!(fixture.all().await.is_empty());
    let read = fixture.queue.dead_letters(None, 10, VISIBILITY).await.unwrap();
    assert_eq!(decode(&read[0].body).unwrap().event_ids, sent);
    assert_eq!(read[0].reason, None);
}

#[tokio::test]
async fn a_created_sqs_queue_has_the_documented_attributes() {
    use aws_sdk_sqs::types::QueueAttributeName as Name;
    let fixture = sqs().await;
    fixture.queue.create().await.unwrap();
    let sqs = fixture.sqs.as_ref().unwrap();
    let attributes = sqs
        .client()
        .get_queue_attributes()
        .queue_url(sqs.queue_url("greetings"))
        .attribute_names(Name::All)
        .send()
        .await
        .unwrap()
        .attributes
        .unwrap();
    assert_eq!(attributes[&Name::VisibilityTimeout], "30");
    assert_eq!(attributes[&Name::MessageRetentionPeriod], "1209600");
    let redrive: serde_json::Value = serde_json::from_str(&attributes[&Name::RedrivePolicy]).unwrap();
    assert_eq!(redrive["maxReceiveCount"].to_string().trim_matches('"'), "5");
    assert!(redrive["deadLetterTargetArn"].as_str().unwrap().ends_with(":greetings-dlq"));
}

#[tokio::test]
async fn a_receive_on_a_slow_database_ends_in_time() {
    let fixture = postgres().await;
    let (_, pool) = fixture.database.as_ref().unwrap();
    for statement in [
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN NULL; END'",
        "CREATE TRIGGER slow BEFORE UPDATE ON outbox FOR EACH STATEMENT EXECUTE FUNCTION dawdle()",
    ] {
        sqlx::query(statement).execute(pool).await.unwrap();
    }
    // Two reads take two seconds. A read per quarter of a second of the wait would take ten.
    let wait = fixture.queue.receive(1, Duration::from_secs(2));
    let received = tokio::time::timeout(Duration::from_secs(6), wait).await;
    assert_eq!(received.unwrap().unwrap(), []);
}
