//! The receivers in `docs/receivers.md` accept each greeting once and reject other requests.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use bday::clock::{Clock as _, SystemClock};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::support::process::Bday;
use crate::support::wait::{eventually, within};
use crate::wire_signature::{NEW, OLD};

const PAGE: &str = include_str!("../../docs/receivers.md");

/// Returns the code block of this language in the page.
fn recipe(language: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

async fn send(port: u16, secrets: &str) -> Option<i32> {
    Bday::new(["webhook", "test", "--url", &format!("http://127.0.0.1:{port}/")])
        .env("BDAY__QUEUE__KIND", "postgres")
        .env("BDAY__WEBHOOK__SECRETS", secrets)
        .finish()
        .await
        .status
        .code()
}

/// Sends a greeting as bday does; returns the status of the response.
async fn greet(port: u16, id: &str) -> u16 {
    let body = format!("{{\"message\":\"Hey, {id}\"}}");
    let at = SystemClock.now().timestamp();
    let signature = standardwebhooks::Webhook::new(OLD).unwrap().sign(id, at, body.as_bytes()).unwrap();
    let request = reqwest::Client::new()
        .post(format!("http://127.0.0.1:{port}/"))
        .header("webhook-id", id)
        .header("webhook-timestamp", at.to_string())
        .header("webhook-signature", signature)
        .body(body);
    request.send().await.unwrap().status().as_u16()
}

/// Sends these headers and the beginning of a body; returns the connection.
async fn begin(port: u16, headers: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("POST / HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Returns the status of the response, once the receiver has closed the connection.
async fn refusal(port: u16, headers: &str) -> String {
    let mut stream = begin(port, headers, "").await;
    let mut answer = String::new();
    within("the refusal", stream.read_to_string(&mut answer)).await.unwrap();
    let status = answer.split_whitespace().nth(1);
    status.unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

async fn works(language: &str, program: &str, name: &str) {
    let folder = std::env::temp_dir().join(format!("bday-recipe-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join(name);
    std::fs::write(&file, recipe(language)).unwrap();
    // The recipes read the port from PORT.
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let mut receiver = Command::new(program)
        .arg(Path::new(&file))
        .env("WEBHOOK_SECRETS", OLD)
        .env("PORT", port.to_string())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"));
    eventually("the receiver to listen", async || TcpStream::connect(("127.0.0.1", port)).await.ok()).await;

    // A client that disconnects within its request must not affect other requests.
    drop(begin(port, "content-length: 99\r\n", "{").await);
    assert_eq!(refusal(port, "content-length: 65537\r\n").await, "413");
    assert_eq!(refusal(port, "content-length: 99999999999\r\n").await, "413");
    assert_eq!(refusal(port, "transfer-encoding: chunked\r\n").await, "411");
    assert_eq!(send(port, NEW).await, Some(1), "another secret");
    assert_eq!(send(port, "").await, Some(1), "no signature");
    assert_eq!(send(port, OLD).await, Some(0));
    assert_eq!(send(port, &format!("{NEW},{OLD}")).await, Some(0), "a second sample, in a rotation");
    for id in ["Ada", "Ada", "Bob"] {
        assert_eq!(greet(port, id).await, 204, "{id}");
    }
    receiver.start_kill().unwrap();
    let mut lines = BufReader::new(receiver.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    while let Some(line) = within("the receiver's output", lines.next_line()).await.unwrap() {
        said.push(line);
    }
    assert_eq!(said, ["Hey, Ada", "Hey, Bob"], "the receiver printed a sample or a repeat");
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn the_python_receiver_accepts_each_greeting_once() {
    works("python", "python3", "receiver.py").await;
}

#[tokio::test]
async fn the_javascript_receiver_accepts_each_greeting_once() {
    works("js", "node", "receiver.mjs").await;
}

#[test]
fn the_signature_in_the_documentation_is_valid() {
    let after = |beginning: &str| {
        let (_, rest) = PAGE.split_once(beginning).unwrap();
        rest.lines().next().unwrap()
    };
    let body = format!("{{\"message\"{}", after("{\"message\""));
    let signed = standardwebhooks::Webhook::new(after("of this example is `").split('`').next().unwrap())
        .unwrap()
        .sign(after("webhook-id: "), after("webhook-timestamp: ").parse().unwrap(), body.as_bytes())
        .unwrap();
    assert_eq!(signed, after("webhook-signature: "));
}
