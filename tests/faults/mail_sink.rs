//! A mail server that records each message. The local part of its sender is the name of a daemon.
//!
//! A message is accepted when the server replies, or would reply, with 250 to its final dot.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bday::clock::{Clock as _, SystemClock};
use bday::model::{BIRTHDAY, ChannelName};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::plan::ReceiverFault;
use super::sent::{Sent, key_of};

pub(crate) struct MailSink {
    address: SocketAddr,
    shared: Arc<Shared>,
    open: Mutex<Option<(CancellationToken, TaskTracker)>>,
}

struct Shared {
    started: Instant,
    fault: Mutex<Option<ReceiverFault>>,
    sent: Mutex<Vec<Sent>>,
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket.listen(1024).unwrap()
}

impl MailSink {
    #[expect(clippy::unused_async, reason = "a listener needs the runtime")]
    pub(crate) async fn start() -> Self {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)));
        let (fault, sent) = (Mutex::default(), Mutex::default());
        let sink = Self {
            address: listener.local_addr().unwrap(),
            shared: Arc::new(Shared { started: SystemClock.monotonic(), fault, sent }),
            open: Mutex::default(),
        };
        sink.accept_on(listener);
        sink
    }

    pub(crate) fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    pub(crate) fn behave(&self, fault: Option<ReceiverFault>) {
        *lock(&self.shared.fault) = fault;
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        lock(&self.shared.sent).clone()
    }

    /// Closes every connection and refuses new ones.
    pub(crate) async fn refuse(&self) {
        let open = lock(&self.open).take();
        if let Some((token, tasks)) = open {
            token.cancel();
            tasks.wait().await;
        }
    }

    /// Resumes accepting, on the same port.
    pub(crate) fn accept(&self) {
        self.accept_on(listen(self.address));
    }

    fn accept_on(&self, listener: TcpListener) {
        let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (shared, children, stop) = (Arc::clone(&self.shared), tasks.clone(), token.clone());
        tasks.spawn(async move {
            while let Some(Ok((stream, _))) = stop.run_until_cancelled(listener.accept()).await {
                let (shared, stop) = (Arc::clone(&shared), stop.clone());
                children.spawn(async move {
                    // Errors of the connection are ignored.
                    let _ended = stop.run_until_cancelled(Session::new(&shared, stream).serve()).await;
                });
            }
        });
        tasks.close();
        *lock(&self.open) = Some((token, tasks));
    }
}

impl Drop for MailSink {
    fn drop(&mut self) {
        if let Some((token, _)) = lock(&self.open).take() {
            token.cancel();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What happens after a message, other than its acceptance at once.
enum End {
    /// Accepts after a delay, unless the client has closed the connection.
    Slow(Duration),
    /// Accepts, and replies when the client has lost patience.
    Late,
    /// Accepts, and closes the connection without a reply.
    Close,
    /// Accepts, and never ends the reply.
    Endless,
    /// Does not accept. The reply; none: it does not reply.
    Refuse(Option<&'static str>),
}

/// Longer than the timeout of the channel.
const LATE: Duration = Duration::from_secs(3);
const ENDLESS_LINE_EVERY: Duration = Duration::from_millis(10);

fn end(fault: Option<ReceiverFault>) -> End {
    match fault {
        Some(ReceiverFault::Slow(ms)) => End::Slow(Duration::from_millis(ms)),
        Some(ReceiverFault::LateResponses) => End::Late,
        Some(ReceiverFault::BrokenConnections) => End::Close,
        Some(ReceiverFault::Endless) => End::Endless,
        Some(ReceiverFault::Hanging | ReceiverFault::Unavailable) => End::Refuse(None),
        Some(ReceiverFault::InvalidResponses) => End::Refuse(Some("SSH-2.0-OpenSSH_9.2")),
        // The event is dead at once, so that redrives have events to redrive.
        Some(ReceiverFault::Status(410)) => End::Refuse(Some("554 5.6.0 content not accepted")),
        Some(ReceiverFault::Status(500)) => End::Refuse(Some("451 4.3.0 out of order")),
        _ => End::Slow(Duration::ZERO),
    }
}

struct Session<'a> {
    shared: &'a Shared,
    stream: BufReader<TcpStream>,
    from: String,
    to: String,
}

impl<'a> Session<'a> {
    fn new(shared: &'a Shared, stream: TcpStream) -> Self {
        Self { shared, stream: BufReader::new(stream), from: String::new(), to: String::new() }
    }

    async fn serve(mut self) -> std::io::Result<()> {
        self.stream.get_ref().set_nodelay(true)?;
        self.reply("220 sink").await?;
        loop {
            let Some(line) = self.line().await? else { return Ok(()) };
            let fault = *lock(&self.shared.fault);
            match line.get(..4).unwrap_or_default().to_uppercase().as_str() {
                "EHLO" => self.reply("250-sink\r\n250-ENHANCEDSTATUSCODES\r\n250 8BITMIME").await?,
                "MAIL" if matches!(fault, Some(ReceiverFault::Status(503))) => {
                    return self.reply("421 4.3.2 too many connections").await;
                }
                "MAIL" => {
                    self.from = in_brackets(&line);
                    self.reply("250 2.1.0 ok").await?;
                }
                "RCPT" => {
                    self.to = in_brackets(&line);
                    let refusal = self.refusal(fault);
                    if refusal.is_some() {
                        self.record(None, None);
                    }
                    self.reply(refusal.unwrap_or("250 2.1.5 ok")).await?;
                }
                "DATA" if matches!(fault, Some(ReceiverFault::Resetting)) => {
                    return self.stream.get_ref().set_zero_linger();
                }
                "DATA" => {
                    self.reply("354 go ahead").await?;
                    let Some(message) = self.message().await? else { return Ok(()) };
                    let position = self.record_message(&message);
                    let fault = *lock(&self.shared.fault);
                    self.end(end(fault), position).await?;
                }
                "QUIT" => return self.reply("221 2.0.0 bye").await,
                _ => self.reply("250 2.0.0 ok").await?,
            }
        }
    }

    fn refusal(&self, fault: Option<ReceiverFault>) -> Option<&'static str> {
        match fault {
            Some(ReceiverFault::Throttling) => Some("450 4.7.1 too many messages"),
            Some(ReceiverFault::Status(404)) => Some("450 4.2.0 mailbox busy"),
            Some(ReceiverFault::Status(302)) => Some("452 4.2.2 mailbox full"),
            _ => self.to.starts_with("refused-").then_some("550 5.1.1 no such user"),
        }
    }

    async fn end(&mut self, end: End, position: usize) -> std::io::Result<()> {
        let accept = |shared: &Shared| {
            lock(&shared.sent)[position].accepted_at = Some(shared.started.elapsed());
        };
        match end {
            End::Slow(delay) => {
                self.unless_closed(delay).await?;
                accept(self.shared);
                return self.reply(&format!("250 2.0.0 queued as {position}")).await;
            }
            End::Late => {
                accept(self.shared);
                self.unless_closed(LATE).await?;
                return self.reply("250 2.0.0 queued").await;
            }
            End::Close => accept(self.shared),
            End::Endless => {
                accept(self.shared);
                loop {
                    self.reply("250-more").await?;
                    self.unless_closed(ENDLESS_LINE_EVERY).await?;
                }
            }
            End::Refuse(Some(reply)) => return self.reply(reply).await,
            End::Refuse(None) => self.unless_closed(Duration::from_secs(3600)).await?,
        }
        Err(std::io::ErrorKind::ConnectionAborted.into())
    }

    /// Fails as soon as the client has closed the connection.
    async fn unless_closed(&self, delay: Duration) -> std::io::Result<()> {
        let closed = async {
            if let Ok(1..) = self.stream.get_ref().peek(&mut [0]).await {
                std::future::pending::<()>().await;
            }
        };
        if delay.is_zero() {
            return Ok(());
        }
        match tokio::time::timeout(delay, closed).await {
            Ok(()) => Err(std::io::ErrorKind::ConnectionAborted.into()),
            Err(_) => Ok(()),
        }
    }

    fn record_message(&self, message: &str) -> usize {
        let headers = message.split("\r\n\r\n").next().unwrap_or_default();
        let id = headers.split("\r\n").find_map(|line| line.strip_prefix("Message-ID: <")?.split('@').next());
        let is_whole = headers.contains(&self.to) && message.contains("birthday");
        self.record(Some(id.unwrap_or_default()), (!is_whole).then(|| format!("the message {message:?}")))
    }

    /// Returns the position of the record.
    fn record(&self, event_id: Option<&str>, fault: Option<String>) -> usize {
        let mut sent = lock(&self.shared.sent);
        sent.push(Sent {
            channel: ChannelName::Mail,
            event_id: event_id.map(str::to_owned),
            user: key_of(&self.to),
            kind: BIRTHDAY,
            sender: self.from.split('@').next().unwrap_or_default().to_owned(),
            fault,
            at: self.shared.started.elapsed(),
            accepted_at: None,
        });
        sent.len() - 1
    }

    async fn reply(&mut self, text: &str) -> std::io::Result<()> {
        self.stream.write_all(format!("{text}\r\n").as_bytes()).await
    }

    async fn line(&mut self) -> std::io::Result<Option<String>> {
        let mut line = String::new();
        let n = self.stream.read_line(&mut line).await?;
        Ok((n > 0).then(|| line.trim_end().to_owned()))
    }

    /// Returns the message without the final dot; none if the connection ended before.
    async fn message(&mut self) -> std::io::Result<Option<String>> {
        let mut message = String::new();
        while !message.ends_with("\r\n.\r\n") {
            if self.stream.read_line(&mut message).await? == 0 {
                return Ok(None);
            }
        }
        message.truncate(message.len() - 3);
        Ok(Some(message))
    }
}

fn in_brackets(line: &str) -> String {
    let address = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    address.map(|(address, _)| address.to_owned()).unwrap_or_default()
}
