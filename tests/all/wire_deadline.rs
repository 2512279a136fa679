//! The deadline for responses.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use bday::clock::{Clock as _, SystemClock};
use bday::model::{AttemptOutcome, Reason};
use bday::pipeline::channel::http_client::{HttpClient, HttpClientOptions};
use bday::pipeline::channel::{Channel as _, SendResult};
use tokio::sync::oneshot;

use crate::support::receiver::{Behaviour, Receiver};
use crate::support::webhook::{greeting, webhook};

const TIMEOUT: Duration = Duration::from_millis(500);

fn client() -> HttpClient {
    let options =
        HttpClientOptions { timeout: TIMEOUT, connect_timeout: TIMEOUT, ..HttpClientOptions::default() };
    HttpClient::new(options).unwrap()
}

/// Starts a receiver on its own thread, so that it responds while the test blocks its runtime. Signals each read request.
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

/// A process can be suspended by a signal, with its machine, or when its container has used up its CPU quota.
#[tokio::test]
async fn a_response_received_while_the_process_was_suspended_counts() {
    let (address, received) = receiver();
    let webhook = webhook(client(), &format!("http://{address}/"));
    let greeting = greeting();
    let suspension = async {
        received.await.unwrap();
        #[expect(clippy::disallowed_methods, reason = "blocks the runtime")]
        std::thread::sleep(TIMEOUT + Duration::from_millis(200));
    };
    let (result, ()) = tokio::join!(webhook.send(&greeting), suspension);
    assert_eq!(result, SendResult::delivered(200));
}

#[tokio::test]
async fn hanging_heads_and_bodies_end_at_the_deadline() {
    let receiver = Receiver::start().await;
    let webhook = webhook(client(), &receiver.url());
    for (behaviour, outcome, reason) in [
        (Behaviour::Hang, AttemptOutcome::Unknown, Some(Reason::Timeout)),
        (Behaviour::SlowBytes(Duration::from_millis(20)), AttemptOutcome::Unknown, Some(Reason::Timeout)),
        (Behaviour::SlowBody(Duration::from_millis(20)), AttemptOutcome::Delivered, None),
    ] {
        receiver.next([behaviour.clone()]);
        let began = SystemClock.monotonic();
        let result = webhook.send(&greeting()).await;
        assert_eq!((result.outcome, result.reason), (outcome, reason), "{behaviour:?}: {result:?}");
        let took = SystemClock.monotonic().duration_since(began);
        assert!(took >= TIMEOUT && took < TIMEOUT * 4, "{behaviour:?}: {took:?}");
    }
}
