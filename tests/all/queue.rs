//! The contract of a queue, kept by each of them: one suite, run on SQS over HTTP, on Postgres, and in memory.

use std::sync::Arc;
use std::time::Duration;

use bday::clock::SystemClock;
use bday::pipeline::queue::postgres::PostgresQueue;
use bday::pipeline::queue::sqs::{Options, SqsQueue};
use bday::pipeline::queue::{MemoryQueue, Queue, QueueError, Receipt, Received, decode};
use uuid::Uuid;

use crate::support::database::Database;
use crate::support::sqs::Sqs;

/// Long enough to be hidden while a test looks, short enough to be never waited for.
const VISIBILITY: Duration = Duration::from_secs(30);
const NO_WAIT: Duration = Duration::ZERO;
const NOW: Duration = Duration::ZERO;

/// A queue, and what it stands on.
struct Place {
    queue: Arc<dyn Queue>,
    sqs: Option<Sqs>,
    database: Option<Database>,
}

async fn sqs() -> Place {
    let sqs = Sqs::start().await;
    let options = Options {
        url: sqs.queue_url("greetings"),
        dead_letter_url: String::new(),
        visibility: VISIBILITY,
        max_receives: 5,
    };
    let queue = Arc::new(SqsQueue::new(sqs.client(), options));
    Place {
        queue,
        sqs: Some(sqs),
        database: None,
    }
}

async fn postgres() -> Place {
    let database = Database::new().await;
    let queue = Arc::new(PostgresQueue::new(database.store(), "greetings", VISIBILITY, 5).await);
    Place {
        queue,
        sqs: None,
        database: Some(database),
    }
}

async fn memory() -> Place {
    let queue = Arc::new(MemoryQueue::new(Arc::new(SystemClock), VISIBILITY, 5));
    Place {
        queue,
        sqs: None,
        database: None,
    }
}

macro_rules! conformance {
    ($($test:ident),* $(,)?) => {
        conformance!(@on sqs: $($test),*);
        conformance!(@on postgres: $($test),*);
        conformance!(@on memory: $($test),*);
    };
    (@on $place:ident: $($test:ident),*) => {
        mod $place {
            $(#[tokio::test]
            async fn $test() {
                let place = super::$place().await;
                place.queue.create().await.unwrap();
                super::$test(&*place.queue).await;
            })*
        }
    };
}

conformance!(
    what_is_sent_is_received_once_while_it_is_hidden,
    a_big_batch_is_confirmed_and_received_whole,
    a_message_that_is_acked_never_comes_again,
    a_message_made_visible_comes_again_with_its_count,
    a_message_put_off_stays_away,
    after_five_receives_a_message_is_a_dead_letter,
    a_dead_letter_leaves_the_queue_at_once,
    a_dead_letter_is_seen_by_one_at_a_time_and_stays,
    a_dead_letter_that_is_deleted_is_gone,
    what_became_a_dead_letter_by_itself_is_seen_too,
    a_wait_ends_when_a_message_comes,
    to_create_it_twice_changes_nothing,
    receipts_of_messages_that_are_gone_do_no_harm,
);

async fn what_is_sent_is_received_once_while_it_is_hidden(queue: &dyn Queue) {
    let id = Uuid::now_v7();
    assert_eq!(queue.send(&[id]).await.unwrap(), [id]);
    let received = all(queue).await;
    assert_eq!(ids(&received), [id]);
    assert_eq!(received[0].receive_count, 1);
    assert!(all(queue).await.is_empty());
    let depth = queue.depth().await.unwrap();
    assert_eq!((depth.visible, depth.in_flight, depth.dead_letters), (0, 1, 0));
}

async fn a_big_batch_is_confirmed_and_received_whole(queue: &dyn Queue) {
    let mut sent: Vec<Uuid> = (0..237).map(|_| Uuid::now_v7()).collect();
    let mut confirmed = queue.send(&sent).await.unwrap();
    confirmed.sort_unstable();
    sent.sort_unstable();
    assert_eq!(confirmed, sent);
    assert_eq!(queue.depth().await.unwrap().visible, 237);
    let mut received = ids(&all(queue).await);
    received.sort_unstable();
    assert_eq!(received, sent);
}

async fn a_message_that_is_acked_never_comes_again(queue: &dyn Queue) {
    let sent: Vec<Uuid> = (0..25).map(|_| Uuid::now_v7()).collect();
    queue.send(&sent).await.unwrap();
    let received = all(queue).await;
    let (acked, kept) = received.split_at(20);
    queue.ack(&receipts(acked)).await.unwrap();
    queue.hide(&put_off(kept, NOW)).await.unwrap();
    let again = all(queue).await;
    assert_eq!(again.len(), 5);
    queue.ack(&receipts(&again)).await.unwrap();
    let depth = queue.depth().await.unwrap();
    assert_eq!((depth.visible, depth.in_flight), (0, 0));
}

async fn a_message_made_visible_comes_again_with_its_count(queue: &dyn Queue) {
    queue.send(&[Uuid::now_v7()]).await.unwrap();
    for count in 1..=5 {
        let received = all(queue).await;
        assert_eq!(received[0].receive_count, count);
        queue.hide(&put_off(&received, NOW)).await.unwrap();
    }
}

async fn a_message_put_off_stays_away(queue: &dyn Queue) {
    queue.send(&[Uuid::now_v7(), Uuid::now_v7()]).await.unwrap();
    let received = all(queue).await;
    queue
        .hide(&put_off(&received[..1], Duration::from_hours(1)))
        .await
        .unwrap();
    queue.hide(&put_off(&received[1..], NOW)).await.unwrap();
    assert_eq!(ids(&all(queue).await), ids(&received[1..]));
}

async fn after_five_receives_a_message_is_a_dead_letter(queue: &dyn Queue) {
    queue.send(&[Uuid::now_v7()]).await.unwrap();
    for _ in 0..5 {
        let received = all(queue).await;
        assert_eq!(received.len(), 1);
        queue.hide(&put_off(&received, NOW)).await.unwrap();
    }
    assert!(all(queue).await.is_empty());
    let depth = queue.depth().await.unwrap();
    assert_eq!((depth.visible, depth.in_flight, depth.dead_letters), (0, 0, 1));
}

async fn a_dead_letter_leaves_the_queue_at_once(queue: &dyn Queue) {
    queue.send(&[Uuid::now_v7()]).await.unwrap();
    let received = all(queue).await;
    queue.dead_letter(&received[0], "gone").await.unwrap();
    let depth = queue.depth().await.unwrap();
    assert_eq!((depth.visible, depth.in_flight, depth.dead_letters), (0, 0, 1));
}

/// Receives one message after the other and moves it to the dead-letter queue.
async fn bury(queue: &dyn Queue, n: usize) -> Vec<Uuid> {
    let sent: Vec<Uuid> = (0..n).map(|_| Uuid::now_v7()).collect();
    queue.send(&sent).await.unwrap();
    for message in all(queue).await {
        queue.dead_letter(&message, "unreadable: \"x\"").await.unwrap();
    }
    sent
}

async fn a_dead_letter_is_seen_by_one_at_a_time_and_stays(queue: &dyn Queue) {
    let sent = bury(queue, 1).await;
    let seen = queue.dead_letters(10, VISIBILITY).await.unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(decode(&seen[0].body), Ok(sent[0]));
    assert_eq!(seen[0].reason.as_deref(), Some("unreadable: \"x\""));
    assert!(queue.dead_letters(10, VISIBILITY).await.unwrap().is_empty());
    assert_eq!(
        queue.depth().await.unwrap().dead_letters,
        1,
        "it is there all the time"
    );
    let receipts = [seen[0].receipt.clone()];
    queue.release_dead_letters(&receipts).await.unwrap();
    let again = queue.dead_letters(10, VISIBILITY).await.unwrap();
    assert_eq!((again.len(), &again[0].id), (1, &seen[0].id));
}

async fn a_dead_letter_that_is_deleted_is_gone(queue: &dyn Queue) {
    bury(queue, 23).await;
    let mut seen = Vec::new();
    loop {
        let some = queue.dead_letters(100, VISIBILITY).await.unwrap();
        if some.is_empty() {
            break;
        }
        seen.extend(some.into_iter().map(|letter| letter.receipt));
    }
    assert_eq!(seen.len(), 23);
    assert_eq!(queue.delete_dead_letters(&seen[..21]).await.unwrap(), 21);
    assert_eq!(queue.depth().await.unwrap().dead_letters, 2);
    queue.release_dead_letters(&seen).await.unwrap();
    assert_eq!(queue.dead_letters(100, VISIBILITY).await.unwrap().len(), 2);
    assert_eq!(queue.delete_dead_letters(&[]).await.unwrap(), 0);
}

async fn what_became_a_dead_letter_by_itself_is_seen_too(queue: &dyn Queue) {
    let id = Uuid::now_v7();
    queue.send(&[id]).await.unwrap();
    for _ in 0..5 {
        queue.hide(&put_off(&all(queue).await, NOW)).await.unwrap();
    }
    assert!(all(queue).await.is_empty());
    let seen = queue.dead_letters(10, VISIBILITY).await.unwrap();
    assert_eq!(decode(&seen[0].body), Ok(id));
}

async fn a_wait_ends_when_a_message_comes(queue: &dyn Queue) {
    let id = Uuid::now_v7();
    let send = async {
        tokio::task::yield_now().await;
        queue.send(&[id]).await.unwrap();
    };
    let (received, ()) = tokio::join!(queue.receive(10, Duration::from_secs(20)), send);
    assert_eq!(ids(&received.unwrap()), [id]);
}

async fn to_create_it_twice_changes_nothing(queue: &dyn Queue) {
    queue.send(&[Uuid::now_v7()]).await.unwrap();
    let (one, two) = tokio::join!(queue.create(), queue.create());
    one.and(two).unwrap();
    assert_eq!(all(queue).await.len(), 1);
}

async fn receipts_of_messages_that_are_gone_do_no_harm(queue: &dyn Queue) {
    queue.send(&[Uuid::now_v7()]).await.unwrap();
    let received = all(queue).await;
    queue.ack(&receipts(&received)).await.unwrap();
    queue.ack(&receipts(&received)).await.unwrap();
    queue.hide(&put_off(&received, NOW)).await.unwrap();
    assert!(all(queue).await.is_empty());
}

#[tokio::test]
async fn a_queue_that_does_not_exist_is_named() {
    for place in [sqs().await, postgres().await] {
        let error = place.queue.receive(1, NO_WAIT).await.unwrap_err();
        assert!(matches!(error, QueueError::Missing(_)), "{error}");
    }
}

#[tokio::test]
async fn entries_thatsqs_refuses_inside_a_200_are_not_confirmed() {
    let place = sqs().await;
    place.queue.create().await.unwrap();
    place
        .sqs
        .as_ref()
        .unwrap()
        .faults(|faults| faults.fail_send_entry_every = 3);
    let sent: Vec<Uuid> = (0..30).map(|_| Uuid::now_v7()).collect();
    let confirmed = place.queue.send(&sent).await.unwrap();
    assert_eq!(confirmed.len(), 20);
    let mut received = ids(&all(&*place.queue).await);
    received.sort_unstable();
    let mut confirmed = confirmed;
    confirmed.sort_unstable();
    assert_eq!(received, confirmed);
}

#[tokio::test]
async fn the_queue_insqs_has_the_attributes_of_the_design() {
    use aws_sdk_sqs::types::QueueAttributeName as Name;
    let place = sqs().await;
    place.queue.create().await.unwrap();
    let sqs = place.sqs.as_ref().unwrap();
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
    assert!(
        redrive["deadLetterTargetArn"]
            .as_str()
            .unwrap()
            .ends_with(":greetings-dlq")
    );
}

#[tokio::test]
async fn a_poll_of_a_slow_database_ends_in_time() {
    let place = postgres().await;
    place.queue.create().await.unwrap();
    let pool = place.database.as_ref().unwrap().pool().await;
    for statement in [
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN NULL; END'",
        "CREATE TRIGGER slow BEFORE UPDATE ON pgmq.q_greetings FOR EACH STATEMENT EXECUTE FUNCTION dawdle()",
    ] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    // Two looks, then: with one for each quarter of a second that it may wait, it would take ten seconds.
    let wait = place.queue.receive(1, Duration::from_secs(2));
    let received = tokio::time::timeout(Duration::from_secs(6), wait).await;
    assert_eq!(received.unwrap().unwrap(), []);
}

/// Receives until nothing comes.
async fn all(queue: &dyn Queue) -> Vec<Received> {
    let mut all = Vec::new();
    loop {
        let received = queue.receive(queue.receive_limit(), NO_WAIT).await.unwrap();
        if received.is_empty() {
            return all;
        }
        all.extend(received);
    }
}

fn ids(received: &[Received]) -> Vec<Uuid> {
    received
        .iter()
        .map(|message| decode(&message.body).unwrap())
        .collect()
}

fn receipts(received: &[Received]) -> Vec<Receipt> {
    received.iter().map(|message| message.receipt.clone()).collect()
}

fn put_off(received: &[Received], wait: Duration) -> Vec<(Receipt, Duration)> {
    received
        .iter()
        .map(|message| (message.receipt.clone(), wait))
        .collect()
}
