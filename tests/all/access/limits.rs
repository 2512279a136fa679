//! How much a client may take: time, bytes, connections. By clients that want more, on raw sockets.

use std::time::Duration;

use bday::clock::{Clock as _, SystemClock};
use bday::http::Limits;
use bday::model::Scope;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::{Door, LIMITS};
use crate::support::wait::{eventually, within};

const SHORT: Duration = Duration::from_millis(400);

/// Short limits; no token is needed.
async fn impatient() -> Door {
    let limits = Limits { connections: 64, head: SHORT, request: SHORT };
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
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n").await.unwrap();
    let answer = drip(&mut stream, "x-a: b\r\n").await;
    assert!(["none", "408"].contains(&status(&answer)), "{answer}");
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_first_or_later() {
    let door = impatient().await;
    let mut silent = connect(&door).await;
    assert!(["none", "408"].contains(&status(&rest(&mut silent).await)));
    let mut once = connect(&door).await;
    once.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
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
    stuck.write_all(format!("{head}9999\r\n\r\n ").as_bytes()).await.unwrap();
    let answer = rest(&mut stuck).await;
    assert_eq!(status(&answer), "400", "{answer}");
    // Twenty parts with 50 ms between them take over twice the limit.
    let mut slow = connect(&door).await;
    slow.write_all(format!("{head}20\r\n\r\n").as_bytes()).await.unwrap();
    let answer = drip(&mut slow, "\n").await;
    assert_eq!(status(&answer), "200", "{answer}");
}

#[tokio::test]
async fn a_head_that_is_too_long_or_has_too_many_headers_is_refused() {
    let door = Door::open().await;
    let long = format!("x-long: {}\r\n", "x".repeat(100_000));
    let many = "x-many: 1\r\n".repeat(100);
    for headers in [long, many] {
        let mut stream = connect(&door).await;
        let head = format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
        // It may be answered before all of it was sent.
        let _sent = stream.write_all(head.as_bytes()).await;
        let answer = rest(&mut stream).await;
        assert!(["431", "none"].contains(&status(&answer)), "{}: {answer}", &headers[..10]);
    }
    let mut stream = connect(&door).await;
    let path = "/x".repeat(50_000);
    let _sent = stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await;
    let answer = rest(&mut stream).await;
    assert!(["414", "431", "none"].contains(&status(&answer)), "{answer}");
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_however_it_is_sent() {
    let door = Door::open().await;
    let head = "POST /v1/users HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let mut stream = connect(&door).await;
    let told = format!("{head}content-length: 1000000000\r\n\r\n{}", "x".repeat(70_000));
    stream.write_all(told.as_bytes()).await.unwrap();
    let answer = rest(&mut stream).await;
    assert_eq!(status(&answer), "413", "{answer}");
    assert!(answer.contains("65536 bytes"), "{answer}");
    let mut stream = connect(&door).await;
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000)).repeat(5);
    let _sent = stream.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n{chunk}").as_bytes()).await;
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

/// The status of `path` on a new connection, and how long it took.
async fn timed(door: &Door, path: &str) -> (u16, Duration) {
    let began = SystemClock.monotonic();
    let answer = reqwest::get(format!("http://{}{path}", door.address)).await;
    (answer.unwrap().status().as_u16(), began.elapsed())
}

async fn few(connections: usize) -> Door {
    Door::new(false, Limits { connections, ..LIMITS }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_give_way_to_requests() {
    let door = few(16).await;
    let mut idle = Vec::new();
    for n in 0..400 {
        let mut stream = connect(&door).await;
        match n % 3 {
            0 => {}
            1 => stream.write_all(b"GET /livez HTTP/1.1\r\nhost: ").await.unwrap(),
            _ => stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap(),
        }
        idle.push(stream);
    }
    for path in ["/livez", "/v1/users"] {
        let (status, took) = timed(&door, path).await;
        assert_eq!(status, 200, "{path}");
        assert!(took < Duration::from_secs(1), "{path} took {took:?}");
    }
    // The first one made room; the last one is still served.
    rest(&mut idle[0]).await;
    let last = idle.last_mut().unwrap();
    last.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(rest(last).await.contains("200 OK"));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_answers_while_every_place_has_a_request() {
    let door = few(4).await;
    let head = "POST /v1/users HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{";
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut stream = connect(&door).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    eventually("every place to be taken", async || (timed(&door, "/v1/users").await.0 == 503).then_some(()))
        .await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(connect(&door).await);
    }
    for (path, expected) in [("/livez", 200), ("/v1/users", 503)] {
        let (status, took) = timed(&door, path).await;
        assert_eq!(status, expected, "{path}");
        assert!(took < Duration::from_secs(1), "{path} took {took:?}");
    }
    // No request was cut off to make room.
    for stream in &mut slow {
        stream.write_all(b"}").await.unwrap();
        let mut byte = [0];
        let early = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut byte)).await;
        assert!(early.is_err(), "it was closed");
    }
    drop(slow);
    eventually("a place to be free again", async || (timed(&door, "/v1/users").await.0 == 200).then_some(()))
        .await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_cut_off_and_delays_nobody() {
    let limits = Limits { connections: 1, head: Duration::from_secs(30), request: SHORT };
    let door = Door::new(false, limits).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut greedy = socket.connect(door.address).await.unwrap();
    // Their answers are more than the buffers of both sides hold.
    let requests = "GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(400);
    let cut_off = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        while greedy.write_all(requests.as_bytes()).await.is_ok() {
            ticks.tick().await;
        }
    };
    let other = eventually("another client to be served", async || {
        (timed(&door, "/v1/users").await.0 == 200).then_some(())
    });
    tokio::join!(within("it to be cut off", cut_off), other);
}
