//! Tests of the SQS endpoint, with the SDK of the product.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message, MessageAttributeValue,
    MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry,
};

use crate::support::sqs::{Faults, Sqs};
use crate::support::wait::within;

/// Starts an endpoint with a queue `q` that moves messages to its dead-letter queue after 5 receives.
async fn world() -> (Sqs, Client, String) {
    let sqs = Sqs::start().await;
    let client = sqs.client();
    client.create_queue().queue_name("q-dlq").send().await.unwrap();
    let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:q-dlq","maxReceiveCount":5}"#;
    let created = client
        .create_queue()
        .queue_name("q")
        .attributes(QueueAttributeName::RedrivePolicy, policy)
        .attributes(QueueAttributeName::VisibilityTimeout, "30")
        .send()
        .await
        .unwrap();
    let url = created.queue_url.unwrap();
    assert_eq!(url, sqs.queue_url("q"));
    (sqs, client, url)
}

fn entry(id: usize) -> SendMessageBatchRequestEntry {
    let body = format!(r#"{{"n":"{id}"}}"#);
    SendMessageBatchRequestEntry::builder().id(id.to_string()).message_body(body).build().unwrap()
}

async fn send(client: &Client, url: &str, n: usize) {
    let sent = client
        .send_message_batch()
        .queue_url(url)
        .set_entries(Some((0..n).map(entry).collect()))
        .send()
        .await;
    let sent = sent.unwrap();
    assert_eq!((sent.successful.len(), sent.failed.len()), (n, 0));
}

async fn receive(client: &Client, url: &str) -> Vec<Message> {
    let answer = client
        .receive_message()
        .queue_url(url)
        .max_number_of_messages(10)
        .message_system_attribute_names(MessageSystemAttributeName::All)
        .send();
    answer.await.unwrap().messages.unwrap_or_default()
}

fn receives(message: &Message) -> u32 {
    message.attributes.as_ref().unwrap()[&MessageSystemAttributeName::ApproximateReceiveCount]
        .parse()
        .unwrap()
}

fn delete(message: &Message, id: usize) -> DeleteMessageBatchRequestEntry {
    let handle = message.receipt_handle.as_deref().unwrap();
    DeleteMessageBatchRequestEntry::builder().id(id.to_string()).receipt_handle(handle).build().unwrap()
}

#[tokio::test]
async fn a_batch_comes_back_in_order_and_a_deleted_one_stays_away() {
    let (sqs, client, url) = world().await;
    send(&client, &url, 10).await;
    let messages = receive(&client, &url).await;
    let bodies: Vec<&str> = messages.iter().map(|message| message.body.as_deref().unwrap()).collect();
    assert_eq!(bodies, (0..10).map(|n| format!(r#"{{"n":"{n}"}}"#)).collect::<Vec<_>>());
    assert!(messages.iter().all(|message| receives(message) == 1));
    assert_eq!(messages[0].md5_of_body.as_deref().unwrap(), "ce781408cd5299de230dbbc7ded5e939");
    assert_eq!((sqs.counts("q").visible, sqs.counts("q").in_flight), (0, 10));

    let entries = messages.iter().enumerate().map(|(n, message)| delete(message, n)).collect();
    let deleted =
        client.delete_message_batch().queue_url(&url).set_entries(Some(entries)).send().await.unwrap();
    assert_eq!(deleted.successful.len(), 10);
    sqs.skip(Duration::from_secs(31));
    assert!(receive(&client, &url).await.is_empty());
    assert_eq!(sqs.calls("ReceiveMessage"), 2);
}

#[tokio::test]
async fn a_message_is_redelivered_and_dead_lettered_after_five_receives() {
    let (sqs, client, url) = world().await;
    send(&client, &url, 1).await;
    let mut id = None;
    for n in 1..=5 {
        let messages = receive(&client, &url).await;
        assert_eq!(receives(&messages[0]), n);
        id = messages[0].message_id.clone();
        assert!(receive(&client, &url).await.is_empty(), "the message is in flight");
        sqs.skip(Duration::from_secs(31));
    }
    assert!(receive(&client, &url).await.is_empty(), "the sixth receive moves the message");
    let dead = receive(&client, &sqs.queue_url("q-dlq")).await;
    assert_eq!(dead[0].message_id, id);
    let source = &dead[0].attributes.as_ref().unwrap()[&MessageSystemAttributeName::DeadLetterQueueSourceArn];
    assert_eq!(source, "arn:aws:sqs:us-east-1:000000000000:q");
    assert_eq!(sqs.bodies("q-dlq"), [r#"{"n":"0"}"#]);

    sqs.skip(Duration::from_secs(31));
    let arn = "arn:aws:sqs:us-east-1:000000000000:q-dlq";
    client.start_message_move_task().source_arn(arn).send().await.unwrap();
    let back = receive(&client, &url).await;
    assert_eq!(receives(&back[0]), 1);
    assert_ne!(back[0].message_id, id);
}

#[tokio::test]
async fn a_long_poll_ends_with_the_message_it_waited_for() {
    let (_sqs, client, url) = world().await;
    let poll = client.receive_message().queue_url(&url).wait_time_seconds(20).send();
    let send = client.send_message().queue_url(&url).message_body("late").send();
    let (received, sending) = within("the poll", Box::pin(async { tokio::join!(poll, send) })).await;
    sending.unwrap();
    assert_eq!(received.unwrap().messages.unwrap()[0].body.as_deref(), Some("late"));
}

#[tokio::test]
async fn a_test_can_wait_for_a_queue_to_fill_and_to_drain() {
    let (sqs, client, url) = world().await;
    let work = async {
        send(&client, &url, 3).await;
        sqs.until("three in flight", "q", |counts| counts.in_flight == 3).await;
        client.purge_queue().queue_url(&url).send().await.unwrap();
    };
    let watch = async {
        sqs.until("three to come", "q", |counts| counts.visible == 3).await;
        assert_eq!(receive(&client, &url).await.len(), 3);
        sqs.until("all to go", "q", |counts| counts.in_flight == 0).await;
    };
    Box::pin(async { tokio::join!(work, watch) }).await;
}

#[tokio::test]
async fn a_poll_whose_client_is_gone_takes_no_message() {
    let (sqs, client, url) = world().await;
    {
        let poll = client.receive_message().queue_url(&url).wait_time_seconds(20).send();
        tokio::pin!(poll);
        // Wait until the endpoint has received, and so counted, the request.
        within("the poll to arrive", async {
            while sqs.calls("ReceiveMessage") == 0 {
                let _pending = tokio::time::timeout(Duration::from_millis(1), &mut poll).await;
            }
        })
        .await;
    }
    drop(client);
    let client = sqs.client();
    send(&client, &url, 1).await;
    assert_eq!(receives(&receive(&client, &url).await[0]), 1);
}

#[tokio::test]
async fn visibility_can_be_cut_to_nothing_and_stretched_up_to_twelve_hours() {
    let (sqs, client, url) = world().await;
    send(&client, &url, 2).await;
    let messages = receive(&client, &url).await;
    let change = |id: &str, handle: &str, seconds| {
        let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(id).receipt_handle(handle);
        entry.visibility_timeout(seconds).build().unwrap()
    };
    let handle = |n: usize| messages[n].receipt_handle.as_deref().unwrap();
    let batch = client.change_message_visibility_batch().queue_url(&url);
    let batch = batch.entries(change("a", handle(0), 0)).entries(change("b", handle(1), 3600));
    let answer = batch.entries(change("c", "nonsense", 5)).send().await.unwrap();
    assert_eq!(answer.successful.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(answer.failed[0].code, "ReceiptHandleIsInvalid");
    assert!(answer.failed[0].sender_fault);

    let again = receive(&client, &url).await;
    assert_eq!((again.len(), again[0].message_id.as_ref()), (1, messages[0].message_id.as_ref()));
    let late =
        client.change_message_visibility().queue_url(&url).receipt_handle(handle(0)).visibility_timeout(5);
    late.send().await.unwrap_err();
    sqs.skip(Duration::from_mins(50));
    let too_long = client.change_message_visibility().queue_url(&url).receipt_handle(handle(1));
    too_long.visibility_timeout(43_200).send().await.unwrap_err();
}

#[tokio::test]
async fn a_stale_handle_does_not_delete() {
    let (sqs, client, url) = world().await;
    send(&client, &url, 1).await;
    let first = receive(&client, &url).await;
    sqs.skip(Duration::from_secs(31));
    let second = receive(&client, &url).await;
    let delete = |message: &Message| {
        client
            .delete_message()
            .queue_url(&url)
            .receipt_handle(message.receipt_handle.as_deref().unwrap())
            .send()
    };
    delete(&first[0]).await.unwrap();
    assert_eq!(sqs.counts("q").in_flight, 1);
    delete(&second[0]).await.unwrap();
    delete(&second[0]).await.unwrap();
    assert_eq!(sqs.counts("q").in_flight, 0);
}

#[tokio::test]
async fn bad_requests_are_refused_as_the_service_refuses_them() {
    let (_sqs, client, url) = world().await;
    let batch = |entries| client.send_message_batch().queue_url(&url).set_entries(Some(entries)).send();
    let error = batch((0..11).map(entry).collect()).await.unwrap_err().into_service_error();
    assert!(error.is_too_many_entries_in_batch_request(), "{error:?}");
    let error = batch(vec![entry(1), entry(1)]).await.unwrap_err().into_service_error();
    assert!(error.is_batch_entry_ids_not_distinct(), "{error:?}");
    let error =
        client.receive_message().queue_url(format!("{url}x")).send().await.unwrap_err().into_service_error();
    assert!(error.is_queue_does_not_exist(), "{error:?}");
    client.receive_message().queue_url(&url).max_number_of_messages(11).send().await.unwrap_err();
    let other = client.create_queue().queue_name("q").attributes(QueueAttributeName::VisibilityTimeout, "31");
    assert!(other.send().await.unwrap_err().into_service_error().is_queue_name_exists());
}

#[tokio::test]
async fn attributes_and_message_attributes_come_back_as_they_were_set() {
    let (_sqs, client, url) = world().await;
    let kind = MessageAttributeValue::builder().data_type("String").string_value("birthday").build().unwrap();
    client
        .send_message()
        .queue_url(&url)
        .message_body("x")
        .message_attributes("kind", kind)
        .send()
        .await
        .unwrap();
    let set = client.set_queue_attributes().queue_url(&url).attributes(QueueAttributeName::DelaySeconds, "7");
    set.send().await.unwrap();
    client.send_message().queue_url(&url).message_body("delayed").send().await.unwrap();

    let got = client.get_queue_attributes().queue_url(&url).attribute_names(QueueAttributeName::All).send();
    let got: BTreeMap<String, String> = got
        .await
        .unwrap()
        .attributes
        .unwrap()
        .into_iter()
        .map(|(name, value)| (name.as_str().to_owned(), value))
        .collect();
    assert_eq!(got["VisibilityTimeout"], "30");
    assert_eq!(got["DelaySeconds"], "7");
    assert_eq!(got["ApproximateNumberOfMessages"], "1");
    assert_eq!(got["ApproximateNumberOfMessagesDelayed"], "1");
    assert!(got["RedrivePolicy"].contains("q-dlq"));
    assert!(got["QueueArn"].ends_with(":q"));

    let answer =
        client.receive_message().queue_url(&url).message_attribute_names("All").send().await.unwrap();
    let message = &answer.messages.unwrap()[0];
    assert_eq!(
        message.message_attributes.as_ref().unwrap()["kind"].string_value.as_deref(),
        Some("birthday")
    );
    assert!(message.attributes.is_none(), "no attributes were requested");
}

#[tokio::test]
async fn faults_hit_what_they_name_and_nothing_else() {
    let (sqs, client, url) = world().await;
    sqs.faults(|faults| faults.fail_send_entry_every = 5);
    let entries = Some((0..10).map(entry).collect());
    let sent = client.send_message_batch().queue_url(&url).set_entries(entries).send().await.unwrap();
    assert_eq!(sent.failed.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["4", "9"]);
    assert_eq!(sqs.counts("q").visible, 8);

    sqs.faults(|faults| faults.unavailable = true);
    receive_error(&client, &url).await;
    sqs.faults(|faults| *faults = Faults::default());
    sqs.refuse().await;
    receive_error(&client, &url).await;
    sqs.accept().await;
    assert_eq!(sqs.counts("q").visible, 8);

    sqs.faults(|faults| faults.lose_answer_every = 1);
    receive_error(&client, &url).await;
    assert_eq!(sqs.counts("q").in_flight, 1, "it was carried out all the same");
}

async fn receive_error(client: &Client, url: &str) {
    client.receive_message().queue_url(url).send().await.unwrap_err();
}

#[tokio::test]
async fn a_duplicate_is_the_same_message_under_another_handle() {
    let (sqs, client, url) = world().await;
    send(&client, &url, 4).await;
    sqs.faults(|faults| (faults.duplicate_every, faults.shuffle) = (2, true));
    let messages = receive(&client, &url).await;
    let ids: BTreeSet<_> = messages.iter().map(|message| message.message_id.clone()).collect();
    let handles: BTreeSet<_> = messages.iter().map(|message| message.receipt_handle.clone()).collect();
    assert_eq!(ids.len(), 4);
    assert!(messages.len() > 4, "{}", messages.len());
    assert_eq!(handles.len(), messages.len());
}
