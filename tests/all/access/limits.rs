//! Limits on time, bytes and connections, tested with raw sockets.

use std::time::Duration;

use bday::clock::{Clock as _, SystemClock};
use bday::http::Limits;
use bday::model::Scope;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::{LIMITS, TestServer};
use crate::support::wait::{eventually, within};

const SHORT: Duration = Duration::from_millis(400);

/// Starts a server that has short timeouts and requires no tokens.
async fn with_short_timeouts() -> TestServer {
    let limits = Limits { connections: 64, head: SHORT, request: SHORT };
    TestServer::new(false, limits).await
}

async fn connect(server: &TestServer) -> TcpStream {
    TcpStream::connect(server.address).await.unwrap()
}

/// Returns the bytes received until the server closes the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset also ends the connection.
    let _ended = within("the connection to end", stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends `part` every 50 ms until the server closes the connection, and returns the response.
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
async fn a_connection_with_a_slow_head_is_closed() {
    let server = with_short_timeouts().await;
    let mut stream = connect(&server).await;
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n").await.unwrap();
    let answer = drip(&mut stream, "x-a: b\r\n").await;
    assert!(["none", "408"].contains(&status(&answer)), "{answer}");
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed() {
    let server = with_short_timeouts().await;
    let mut silent = connect(&server).await;
    assert!(["none", "408"].contains(&status(&rest(&mut silent).await)));
    let mut once = connect(&server).await;
    once.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    assert_eq!(status(&rest(&mut once).await), "200");
}

#[tokio::test]
async fn a_slow_body_times_out_with_503() {
    let server = with_short_timeouts().await;
    let head = "POST /v1/users HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n{";
    let mut stream = connect(&server).await;
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = drip(&mut stream, " ").await;
    assert_eq!(status(&answer), "503", "{answer}");
    assert!(answer.contains("urn:bday:problem:timeout"), "{answer}");
}

#[tokio::test]
async fn a_stalled_import_times_out_and_a_slow_import_does_not() {
    let server = with_short_timeouts().await;
    let head = "POST /v1/users/import HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length: ";
    let mut stuck = connect(&server).await;
    stuck.write_all(format!("{head}9999\r\n\r\n ").as_bytes()).await.unwrap();
    let answer = rest(&mut stuck).await;
    assert_eq!(status(&answer), "400", "{answer}");
    // Twenty parts, 50 ms apart, take over twice the timeout.
    let mut slow = connect(&server).await;
    slow.write_all(format!("{head}20\r\n\r\n").as_bytes()).await.unwrap();
    let answer = drip(&mut slow, "\n").await;
    assert_eq!(status(&answer), "200", "{answer}");
}

#[tokio::test]
async fn a_head_with_too_many_bytes_or_headers_is_rejected() {
    let server = TestServer::open().await;
    let long = format!("x-long: {}\r\n", "x".repeat(100_000));
    let many = "x-many: 1\r\n".repeat(100);
    for headers in [long, many] {
        let mut stream = connect(&server).await;
        let head = format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
        // The server may respond before the end of the head.
        let _sent = stream.write_all(head.as_bytes()).await;
        let answer = rest(&mut stream).await;
        assert!(["431", "none"].contains(&status(&answer)), "{}: {answer}", &headers[..10]);
    }
    let mut stream = connect(&server).await;
    let path = "/x".repeat(50_000);
    let _sent = stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await;
    let answer = rest(&mut stream).await;
    assert!(["414", "431", "none"].contains(&status(&answer)), "{answer}");
}

#[tokio::test]
async fn a_body_over_the_limit_is_rejected_sized_or_chunked() {
    let server = TestServer::open().await;
    let head = "POST /v1/users HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let mut stream = connect(&server).await;
    let told = format!("{head}content-length: 1000000000\r\n\r\n{}", "x".repeat(70_000));
    stream.write_all(told.as_bytes()).await.unwrap();
    let answer = rest(&mut stream).await;
    assert_eq!(status(&answer), "413", "{answer}");
    assert!(answer.contains("65536 bytes"), "{answer}");
    let mut stream = connect(&server).await;
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000)).repeat(5);
    let _sent = stream.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n{chunk}").as_bytes()).await;
    assert_eq!(status(&rest(&mut stream).await), "413");
}

#[tokio::test]
async fn an_endless_body_of_a_rejected_request_is_not_read() {
    let server = TestServer::guarded().await;
    server.token("hr", Scope::Write).await;
    let mut stream = connect(&server).await;
    let head = "POST /v1/users/import HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = drip(&mut stream, &format!("4000\r\n{}\r\n", "x".repeat(0x4000))).await;
    assert_eq!(status(&answer), "401", "{answer}");
}

/// Returns the status of `path` on a new connection, and the time it took.
async fn timed(server: &TestServer, path: &str) -> (u16, Duration) {
    let began = SystemClock.monotonic();
    let answer = reqwest::get(format!("http://{}{path}", server.address)).await;
    (answer.unwrap().status().as_u16(), began.elapsed())
}

async fn few(connections: usize) -> TestServer {
    TestServer::new(false, Limits { connections, ..LIMITS }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_closed_to_make_room_for_new_ones() {
    let server = few(16).await;
    let mut idle = Vec::new();
    for n in 0..400 {
        let mut stream = connect(&server).await;
        match n % 3 {
            0 => {}
            1 => stream.write_all(b"GET /livez HTTP/1.1\r\nhost: ").await.unwrap(),
            _ => stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap(),
        }
        idle.push(stream);
    }
    for path in ["/livez", "/v1/users"] {
        let (status, took) = timed(&server, path).await;
        assert_eq!(status, 200, "{path}");
        assert!(took < Duration::from_secs(1), "{path} took {took:?}");
    }
    // The oldest connection was closed; the newest one is still served.
    rest(&mut idle[0]).await;
    let last = idle.last_mut().unwrap();
    last.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(rest(last).await.contains("200 OK"));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_checks_are_served_while_all_connections_are_in_use() {
    let server = few(4).await;
    let head = "POST /v1/users HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{";
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut stream = connect(&server).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    eventually("every slot to be taken", async || (timed(&server, "/v1/users").await.0 == 503).then_some(()))
        .await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(connect(&server).await);
    }
    for (path, expected) in [("/livez", 200), ("/v1/users", 503)] {
        let (status, took) = timed(&server, path).await;
        assert_eq!(status, expected, "{path}");
        assert!(took < Duration::from_secs(1), "{path} took {took:?}");
    }
    // No connection with a request was closed.
    for stream in &mut slow {
        stream.write_all(b"}").await.unwrap();
        let mut byte = [0];
        let early = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut byte)).await;
        assert!(early.is_err(), "the connection was closed");
    }
    drop(slow);
    eventually("a slot to be free again", async || {
        (timed(&server, "/v1/users").await.0 == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_reads_no_responses_is_disconnected() {
    let limits = Limits { connections: 1, head: Duration::from_secs(30), request: SHORT };
    let server = TestServer::new(false, limits).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut greedy = socket.connect(server.address).await.unwrap();
    // The responses exceed the buffers of both sides.
    let requests = "GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(400);
    let disconnected = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        while greedy.write_all(requests.as_bytes()).await.is_ok() {
            ticks.tick().await;
        }
    };
    let other = eventually("another client to be served", async || {
        (timed(&server, "/v1/users").await.0 == 200).then_some(())
    });
    tokio::join!(within("the client to be disconnected", disconnected), other);
}
