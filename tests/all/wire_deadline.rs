//! How long an answer is waited for.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use bday::clock::{Clock as _, SystemClock};
use bday::model::{AttemptOutcome, Reason};
use bday::pipeline::channel::signature::Signer;
use bday::pipeline::channel::webhook::Webhook;
use bday::pipeline::channel::wire::{Wire, WireOptions};
use bday::pipeline::channel::{Channel as _, Greeting, Sent};
use tokio::sync::{oneshot, watch};

use crate::support::receiver::{Behaviour, Receiver};

const TIMEOUT: Duration = Duration::from_millis(500);

fn webhook(url: &str) -> Webhook {
    let options = WireOptions { timeout: TIMEOUT, connect_timeout: TIMEOUT, ..WireOptions::default() };
    let (_, url) = watch::channel(url.parse().unwrap());
    Webhook::new(Wire::new(options).unwrap(), url, Signer::default(), Arc::new(SystemClock))
}

fn greeting() -> Greeting {
    Greeting {
        event_id: uuid::Uuid::now_v7(),
        user_id: uuid::Uuid::now_v7(),
        message: "Hey".to_owned(),
        due_at: chrono::DateTime::UNIX_EPOCH,
    }
}

/// A receiver on a thread of its own, so that it answers while this test's runtime stands still. Tells when it has read a request.
fn receiver() -> (SocketAddr, oneshot::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (received, reading) = oneshot::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let head = BufReader::new(&stream).lines().map_while(Result::ok);
        assert!(head.take_while(|line| !line.is_empty()).count() > 3);
        received.send(()).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        stream
    });
    (address, reading)
}

/// As when a process is stopped by a signal, its machine is suspended, or its container has used up its share of the CPU.
#[tokio::test]
async fn an_answer_that_arrived_while_the_process_stood_still_counts() {
    let (address, received) = receiver();
    let webhook = webhook(&format!("http://{address}/"));
    let greeting = greeting();
    let standstill = async {
        received.await.unwrap();
        #[expect(clippy::disallowed_methods, reason = "the runtime must stand still")]
        std::thread::sleep(TIMEOUT + Duration::from_millis(200));
    };
    let (sent, ()) = tokio::join!(webhook.send(&greeting), standstill);
    assert_eq!(sent, Sent::delivered(200));
}

#[tokio::test]
async fn a_head_or_body_that_hangs_is_waited_for_until_the_deadline() {
    let receiver = Receiver::start().await;
    let webhook = webhook(&receiver.url());
    for (behaviour, outcome, reason) in [
        (Behaviour::Hang, AttemptOutcome::Unknown, Some(Reason::Timeout)),
        (Behaviour::SlowBytes(Duration::from_millis(20)), AttemptOutcome::Unknown, Some(Reason::Timeout)),
        (Behaviour::SlowBody(Duration::from_millis(20)), AttemptOutcome::Delivered, None),
    ] {
        receiver.next([behaviour.clone()]);
        let begun = SystemClock.monotonic();
        let sent = webhook.send(&greeting()).await;
        assert_eq!((sent.outcome, sent.reason), (outcome, reason), "{behaviour:?}: {sent:?}");
        let took = SystemClock.monotonic().duration_since(begun);
        assert!(took >= TIMEOUT && took < TIMEOUT * 4, "{behaviour:?}: {took:?}");
    }
}
