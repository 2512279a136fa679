//! How much a client may take: time, bytes, connections. By clients that want more, on raw sockets.

use std::time::Duration;

use bday::http::Limits;
use bday::model::Scope;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::{Door, LIMITS};
use crate::support::wait::within;

const SHORT: Duration = Duration::from_millis(400);

/// Short limits; no token is needed.
async fn impatient() -> Door {
    let limits = Limits {
        connections: 64,
        head: SHORT,
        request: SHORT,
    };
    Door::new(false, limits).await
}

async fn connect(door: &Door) -> TcpStream {
    TcpStream::connect(door.address).await.unwrap()
}

/// All that comes until the other side has had enough.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end as well.
    let _ended = within("the connection to end", stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends `part` again and again, with a moment in between, until the other side has had enough; gives what it said.
async fn drip(stream: &mut TcpStream, part: &str) -> String {
    let (mut reader, mut writer) = stream.split();
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    let write = async {
        loop {
            ticks.tick().await;
            if writer.write_all(part.as_bytes()).await.is_err() {
                return std::future::pending().await;
            }
        }
    };
    let read = async {
        let mut bytes = Vec::new();
        let _ended = reader.read_to_end(&mut bytes).await;
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let both = async {
        tokio::select! {
            text = read => text,
            () = write => String::new(),
        }
    };
    within("the connection to end", both).await
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_cut_off() {
    let door = impatient().await;
    let mut stream = connect(&door).await;
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n")
        .await
        .unwrap();
    let answer = drip(&mut stream, "x-a: b\r\n").await;
    assert!(["none", "408"].contains(&status(&answer)), "{answer}");
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_first_or_later() {
    let door = impatient().await;
    let mut silent = connect(&door).await;
    assert!(["none", "408"].contains(&status(&rest(&mut silent).await)));
    let mut once = connect(&door).await;
    once.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(status(&rest(&mut once).await), "200");
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_is_answered_before_its_end() {
    let door = impatient().await;
    let head = "POST /v1/users HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n{";
    let mut stream = connect(&door).await;
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = drip(&mut stream, " ").await;
    assert_eq!(status(&answer), "503", "{answer}");
    assert!(answer.contains("urn:bday:problem:timeout"), "{answer}");
}

#[tokio::test]
async fn an_import_that_stops_coming_is_answered_and_one_that_is_slow_is_not() {
    let door = impatient().await;
    let head = "POST /v1/users/import HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length: ";
    let mut stuck = connect(&door).await;
    stuck
        .write_all(format!("{head}9999\r\n\r\n ").as_bytes())
        .await
        .unwrap();
    let answer = rest(&mut stuck).await;
    assert_eq!(status(&answer), "400", "{answer}");
    // Twenty parts with 50 ms between them take over twice the limit.
    let mut slow = connect(&door).await;
    slow.write_all(format!("{head}20\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let answer = drip(&mut slow, "\n").await;
    assert_eq!(status(&answer), "200", "{answer}");
}

#[tokio::test]
async fn a_head_that_is_too_long_or_has_too_many_headers_is_refused() {
    let door = Door::local().await;
    let long = format!("x-long: {}\r\n", "x".repeat(100_000));
    let many = "x-many: 1\r\n".repeat(100);
    for headers in [long, many] {
        let mut stream = connect(&door).await;
        let head = format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
        // It may be answered before all of it was sent.
        let _sent = stream.write_all(head.as_bytes()).await;
        let answer = rest(&mut stream).await;
        assert!(
            ["431", "none"].contains(&status(&answer)),
            "{}: {answer}",
            &headers[..10]
        );
    }
    let mut stream = connect(&door).await;
    let path = "/x".repeat(50_000);
    let _sent = stream
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes())
        .await;
    let answer = rest(&mut stream).await;
    assert!(["414", "431", "none"].contains(&status(&answer)), "{answer}");
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_however_it_is_sent() {
    let door = Door::local().await;
    let head = "POST /v1/users HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let mut stream = connect(&door).await;
    let told = format!("{head}content-length: 1000000000\r\n\r\n{}", "x".repeat(70_000));
    stream.write_all(told.as_bytes()).await.unwrap();
    let answer = rest(&mut stream).await;
    assert_eq!(status(&answer), "413", "{answer}");
    assert!(answer.contains("65536 bytes"), "{answer}");
    let mut stream = connect(&door).await;
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000)).repeat(5);
    let _sent = stream
        .write_all(format!("{head}transfer-encoding: chunked\r\n\r\n{chunk}").as_bytes())
        .await;
    assert_eq!(status(&rest(&mut stream).await), "413");
}

#[tokio::test]
async fn whoever_is_refused_cannot_make_us_read_an_endless_body() {
    let door = Door::guarded().await;
    door.token("hr", Scope::Write).await;
    let mut stream = connect(&door).await;
    let head = "POST /v1/users/import HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = drip(&mut stream, &format!("4000\r\n{}\r\n", "x".repeat(0x4000))).await;
    assert_eq!(status(&answer), "401", "{answer}");
}

#[tokio::test]
async fn more_connections_than_there_are_places_wait_for_one() {
    let limits = Limits {
        connections: 2,
        ..LIMITS
    };
    let door = Door::new(false, limits).await;
    let request = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut answer = [0; 12];
    let mut holders = Vec::new();
    for _ in 0..2 {
        let mut stream = connect(&door).await;
        stream.write_all(request).await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();
        holders.push(stream);
    }
    let mut third = connect(&door).await;
    third.write_all(request).await.unwrap();
    let early = tokio::time::timeout(SHORT, third.read_exact(&mut answer)).await;
    assert!(early.is_err(), "it had a place");
    drop(holders.pop());
    within("a place", third.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test]
async fn whoever_does_not_read_what_it_asked_for_loses_its_place() {
    let limits = Limits {
        connections: 1,
        head: Duration::from_secs(30),
        request: SHORT,
    };
    let door = Door::new(false, limits).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut greedy = socket.connect(door.address).await.unwrap();
    // More than the buffers of both sides hold.
    let requests = "GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(400);
    let (_reader, mut writer) = greedy.split();
    let write = async {
        let _cut_off = writer.write_all(requests.as_bytes()).await;
        std::future::pending::<()>().await;
    };
    let other = async {
        let mut stream = connect(&door).await;
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        rest(&mut stream).await
    };
    tokio::select! {
        answer = other => assert_eq!(status(&answer), "200", "{answer}"),
        () = write => {}
    }
}
