//! An SMTP server with scripted behaviour, which records commands and messages.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// What the server does at a stage: `greeting`, a command such as `RCPT`, or `message` (after the final dot).
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Replies with this text; `\r\n` is added.
    Reply(String),
    /// Replies, then closes the connection.
    ReplyAndClose(String),
    Close,
    /// Does not reply, and keeps the connection open until the client closes it.
    Hang,
    /// At DATA: asks for the message, and does not read it.
    NeverRead,
}

/// Dropping it closes all connections.
pub(crate) struct SmtpServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

#[derive(Default)]
struct Shared {
    acts: Mutex<HashMap<&'static str, Act>>,
    /// Commands, with the number of their connection, from 1.
    commands: Mutex<Vec<(usize, String)>>,
    messages: Mutex<Vec<String>>,
    /// The only valid argument of AUTH.
    login: Mutex<Option<String>>,
    connections: AtomicUsize,
}

impl SmtpServer {
    #[expect(clippy::unused_async, reason = "a listener needs the runtime")]
    pub(crate) async fn start() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Small, so that a message that is not read blocks its sender.
        socket.set_recv_buffer_size(8192).unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let listener = socket.listen(1024).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, tasks, shared) =
            (CancellationToken::new(), TaskTracker::new(), Arc::new(Shared::default()));
        let (token, children, state) = (stop.clone(), tasks.clone(), Arc::clone(&shared));
        tasks.spawn(async move {
            while let Some(Ok((stream, _))) = token.run_until_cancelled(listener.accept()).await {
                let (token, state) = (token.clone(), Arc::clone(&state));
                children.spawn(async move {
                    drop(token.run_until_cancelled(state.serve(stream)).await);
                });
            }
        });
        Self { address, shared, _stop: stop.drop_guard() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets what the server does at `stage` from now on.
    pub(crate) fn on(&self, stage: &'static str, act: Act) {
        self.shared.acts.lock().unwrap().insert(stage, act);
    }

    /// Forgets all acts: each message is accepted.
    pub(crate) fn accept_all(&self) {
        self.shared.acts.lock().unwrap().clear();
    }

    /// Refuses every other user and password from now on.
    pub(crate) fn require_login(&self, user: &str, password: &str) {
        let login = STANDARD.encode(format!("\0{user}\0{password}"));
        *self.shared.login.lock().unwrap() = Some(format!("AUTH PLAIN {login}"));
    }

    pub(crate) fn commands(&self) -> Vec<(usize, String)> {
        self.shared.commands.lock().unwrap().clone()
    }

    /// Returns the messages that were received completely, accepted or not.
    pub(crate) fn messages(&self) -> Vec<String> {
        self.shared.messages.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn act(&self, stage: &str) -> Act {
        let act = self.acts.lock().unwrap().get(stage).cloned();
        act.unwrap_or_else(|| {
            Act::Reply(
                match stage {
                    "greeting" => "220 test",
                    "EHLO" => "250-test\r\n250-ENHANCEDSTATUSCODES\r\n250 AUTH PLAIN LOGIN",
                    "AUTH" => "235 2.7.0 ok",
                    "DATA" => "354 go ahead",
                    "message" => "250 2.0.0 Ok: queued as 4F2A",
                    "QUIT" => "221 bye",
                    _ => "250 2.1.0 ok",
                }
                .to_owned(),
            )
        })
    }

    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let connection = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let mut stream = BufReader::new(stream);
        if !self.play("greeting", &mut stream).await? {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_owned();
            let command = line.split(' ').next().unwrap().to_uppercase();
            self.commands.lock().unwrap().push((connection, line.clone()));
            if command == "AUTH" && self.login.lock().unwrap().as_ref().is_some_and(|valid| *valid != line) {
                stream.write_all(b"535 5.7.8 authentication failed\r\n").await?;
                continue;
            }
            if !self.play(&command, &mut stream).await? {
                return Ok(());
            }
            let asks = matches!(self.act("DATA"), Act::Reply(reply) if reply.starts_with("354"));
            if command == "DATA" && asks {
                let message = read_message(&mut stream).await?;
                self.messages.lock().unwrap().push(message);
                if !self.play("message", &mut stream).await? {
                    return Ok(());
                }
            }
        }
    }

    /// Returns false if the connection is to be closed.
    async fn play(&self, stage: &str, stream: &mut BufReader<TcpStream>) -> std::io::Result<bool> {
        let (reply, goes_on) = match self.act(stage) {
            Act::Reply(reply) => (reply, true),
            Act::ReplyAndClose(reply) => (reply, false),
            Act::Close => return Ok(false),
            Act::Hang => {
                tokio::io::copy(stream, &mut tokio::io::sink()).await?;
                return Ok(false);
            }
            Act::NeverRead => {
                stream.write_all(b"354 go ahead\r\n").await?;
                return std::future::pending().await;
            }
        };
        stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
        Ok(goes_on)
    }
}

/// Returns the message without the final dot.
async fn read_message(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut message = Vec::new();
    while !message.ends_with(b"\r\n.\r\n") {
        let byte = stream.read_u8().await?;
        message.push(byte);
    }
    message.truncate(message.len() - 3);
    Ok(String::from_utf8(message).unwrap())
}
