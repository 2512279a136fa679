//! One connection of a sender.

use std::io;
use std::time::Duration;

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::SmtpLimits;
use super::command::Command;
use super::reader::{self, Line};
use crate::dev::inbox::arrival::Arrival;
use crate::dev::inbox::request::Content;
use crate::dev::inbox::{InboxState, mail};
use crate::model::ChannelName;

const MAX_RECIPIENTS: usize = 100;
/// After this many invalid commands the connection is closed.
const MAX_ERRORS: u32 = 10;
const TOO_LARGE: &str = "552 5.3.4 message too large";

pub(super) struct Session {
    stream: BufReader<TcpStream>,
    inbox: InboxState,
    limits: SmtpLimits,
    /// After MAIL.
    has_sender: bool,
    recipients: Vec<String>,
    errors: u32,
}

enum Next {
    Reply(String),
    Data,
    Close(&'static str),
}

impl Next {
    fn reply(text: &str) -> Self {
        Self::Reply(text.to_owned())
    }
}

impl Session {
    pub(super) fn new(stream: TcpStream, inbox: InboxState, limits: SmtpLimits) -> Self {
        let stream = BufReader::new(stream);
        Self { stream, inbox, limits, has_sender: false, recipients: Vec::new(), errors: 0 }
    }

    /// Serves until the sender quits, disconnects or is idle, or until the inbox stops.
    pub(super) async fn run(mut self) {
        // A reply is one small packet: Nagle's algorithm would delay it by up to 40 ms.
        let ended = async {
            self.stream.get_ref().set_nodelay(true)?;
            self.converse().await
        };
        if let Err(error) = ended.await {
            tracing::debug!(%error, "smtp connection failed");
        }
    }

    async fn converse(&mut self) -> io::Result<()> {
        self.reply("220 inbox ESMTP bday").await?;
        loop {
            let line = timeout(self.limits.idle_timeout, reader::line(&mut self.stream));
            let stop = self.inbox.stop.clone();
            let next = match stop.run_until_cancelled(line).await {
                None => Next::Close("421 4.3.2 the inbox stops"),
                Some(Err(_)) => Next::Close("421 4.4.2 idle for too long"),
                Some(Ok(line)) => match line? {
                    Line::End => return Ok(()),
                    Line::TooLong => self.invalid("500 5.5.6 line too long"),
                    Line::Text(line) => self.command(Command::parse(&line)),
                },
            };
            match next {
                Next::Reply(text) => self.reply(&text).await?,
                Next::Close(text) => return self.reply(text).await,
                Next::Data => {
                    if !self.receive().await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn command(&mut self, command: Command) -> Next {
        match command {
            Command::Hello { extended } => {
                self.reset();
                let size = self.limits.max_mail_bytes;
                Next::Reply(if extended {
                    format!(
                        "250-inbox\r\n250-SIZE {size}\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES"
                    )
                } else {
                    "250 inbox".to_owned()
                })
            }
            Command::Mail { .. } if self.has_sender => self.invalid("503 5.5.1 MAIL was already sent"),
            Command::Mail { size, .. } if size.is_some_and(|size| size > self.limits.max_mail_bytes) => {
                Next::reply(TOO_LARGE)
            }
            Command::Mail { .. } => {
                self.has_sender = true;
                Next::reply("250 2.1.0 ok")
            }
            Command::Recipient(_) if !self.has_sender => self.invalid("503 5.5.1 MAIL first"),
            Command::Recipient(_) if self.recipients.len() == MAX_RECIPIENTS => {
                Next::reply("452 4.5.3 too many recipients")
            }
            Command::Recipient(to) => {
                self.recipients.push(to);
                Next::reply("250 2.1.5 ok")
            }
            Command::Data if self.recipients.is_empty() => self.invalid("503 5.5.1 MAIL and RCPT first"),
            Command::Data => Next::Data,
            Command::Reset => {
                self.reset();
                Next::reply("250 2.0.0 ok")
            }
            Command::Noop => Next::reply("250 2.0.0 ok"),
            Command::Verify => Next::reply("252 2.1.5 any address is accepted"),
            Command::Quit => Next::Close("221 2.0.0 bye"),
            Command::Http => Next::Close("421 4.7.0 this is not an HTTP server"),
            Command::BadArguments => self.invalid("501 5.5.4 invalid arguments"),
            Command::Unknown => self.invalid("502 5.5.1 command not implemented"),
        }
    }

    fn invalid(&mut self, reply: &str) -> Next {
        self.errors += 1;
        if self.errors > MAX_ERRORS {
            return Next::Close("421 4.7.0 too many invalid commands");
        }
        Next::reply(reply)
    }

    fn reset(&mut self) {
        self.has_sender = false;
        self.recipients.clear();
    }

    /// Reads a mail and answers it. Returns whether the sender is still connected.
    async fn receive(&mut self) -> io::Result<bool> {
        self.reply("354 end with <CRLF>.<CRLF>").await?;
        let max = self.limits.max_mail_bytes;
        let Ok(read) = timeout(self.limits.idle_timeout, reader::data(&mut self.stream, max)).await else {
            self.reply("421 4.4.2 idle for too long").await?;
            return Ok(false);
        };
        let Some(raw) = read? else { return Ok(false) };
        let arrived_at = self.inbox.clock.now();
        let to = std::mem::take(&mut self.recipients);
        self.reset();
        let (content, refusal) = if raw.len() > max {
            (Content::unreadable(format!("the mail is over {} KiB", max / 1024), b""), Some(552))
        } else {
            (mail::parse(&raw, to), None)
        };
        let Some(code) = self.answer(arrived_at, content, refusal).await else { return Ok(false) };
        let reply = match code {
            200..300 => "250 2.0.0 ok",
            552 => TOO_LARGE,
            550 => "550 5.1.1 no such mailbox, as asked for by the options of the inbox",
            _ => "451 4.3.0 failed, as asked for by the options of the inbox",
        };
        self.reply(reply).await?;
        Ok(true)
    }

    /// Returns the code of the reply, or `None` if the sender disconnected before it.
    async fn answer(
        &mut self,
        arrived_at: DateTime<Utc>,
        content: Content,
        refusal: Option<u16>,
    ) -> Option<u16> {
        let (channel, path) = (ChannelName::Mail, String::new());
        let arrival = Arrival { arrived_at, channel, path, webhook_id: None, content };
        let answer = arrival.answer(&self.inbox, refusal, smtp_code);
        tokio::select! {
            biased;
            code = answer => Some(code),
            () = disconnected(&mut self.stream) => None,
        }
    }

    async fn reply(&mut self, text: &str) -> io::Result<()> {
        let reply = format!("{text}\r\n");
        timeout(Duration::from_secs(10), self.stream.write_all(reply.as_bytes()))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Completes when the sender has disconnected. Never if it has sent something already.
async fn disconnected(stream: &mut BufReader<TcpStream>) {
    let open = stream.fill_buf().await.is_ok_and(|read| !read.is_empty());
    if open {
        std::future::pending::<()>().await;
    }
}

/// A failure is temporary, except for 410.
fn smtp_code(status: StatusCode) -> u16 {
    match status {
        StatusCode::GONE => 550,
        status if status.is_success() => 250,
        _ => 451,
    }
}
