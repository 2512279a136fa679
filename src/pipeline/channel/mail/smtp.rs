//! SMTP: a bounded pool of connections to one server.
//!
//! The conversation is driven command by command, since the outcome of a lost connection depends on how far it was: before the final dot
//! of the message nothing was accepted; after it, the server may have accepted the message. lettre's own transport does not tell.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lettre::address::Envelope;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::AsyncSmtpConnection;
#[cfg(feature = "tls")]
use lettre::transport::smtp::client::TlsParameters;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use lettre::transport::smtp::response::{Response, Severity};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::codes::{Phase, SmtpRow};
use super::url::{Encryption, SmtpServer};
use crate::clock::SharedClock;
use crate::model::{AttemptOutcome, Reason};
use crate::pipeline::channel::{Disposition, SendResult, excerpt, grace};

/// Connections of this process to the server. Servers limit them: Postfix by default to 50 for each client.
const MAX_CONNECTIONS: usize = 20;
/// Idle connections are not used after this time: servers close them, some after a minute.
const MAX_IDLE: Duration = Duration::from_secs(30);
/// The reply to DATA that asks for the message.
const START_MAIL_INPUT: u16 = 354;

pub(super) struct SmtpClient {
    server: SmtpServer,
    hello: ClientId,
    #[cfg(feature = "tls")]
    tls: TlsParameters,
    timeout: Duration,
    clock: SharedClock,
    slots: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

struct Connection {
    smtp: AsyncSmtpConnection,
    is_reused: bool,
    /// The last message was refused, so that the conversation must be reset.
    needs_reset: bool,
    idle_since: Instant,
}

impl fmt::Debug for SmtpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpClient").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Why a message was not accepted.
enum Failure {
    Refused { phase: Phase, code: u16, text: String },
    Lost { phase: Phase, cause: String },
    NotSent(SendResult),
}

/// How far an attempt is, for the case that its deadline ends it.
#[derive(Debug, Default)]
struct Progress {
    /// The final dot may have been sent.
    is_complete: AtomicBool,
}

impl Progress {
    fn is_complete(&self) -> bool {
        self.is_complete.load(Ordering::Relaxed)
    }
}

impl SmtpClient {
    /// `domain` is the name by which this client introduces itself.
    pub(super) fn new(
        server: SmtpServer,
        domain: &str,
        #[cfg(feature = "tls")] tls: TlsParameters,
        timeout: Duration,
        clock: SharedClock,
    ) -> Self {
        Self {
            server,
            hello: ClientId::Domain(domain.to_owned()),
            #[cfg(feature = "tls")]
            tls,
            timeout,
            clock,
            slots: Semaphore::new(MAX_CONNECTIONS),
            idle: Mutex::default(),
        }
    }

    /// Sends a message within the timeout, which includes the wait for a connection.
    pub(super) async fn send(&self, envelope: &Envelope, message: &[u8]) -> SendResult {
        let progress = Progress::default();
        let mut attempt = pin!(self.attempt(envelope, message, &progress));
        let mut result = timeout(self.timeout, &mut attempt).await.ok();
        if result.is_none() && progress.is_complete() {
            result = grace::arrived(attempt).await;
        }
        match result {
            Some(Ok(reply)) => delivered(&reply),
            Some(Err(failure)) => self.result(failure, &progress),
            None => self.timed_out(&progress),
        }
    }

    /// Connects and logs in; sends nothing.
    pub(super) async fn check(&self) -> Result<(), String> {
        let failed = |result: SendResult| result.error.unwrap_or_default();
        match timeout(self.timeout, self.connect()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(failure)) => Err(failed(self.result(failure, &Progress::default()))),
            Err(_) => Err(format!("no login within {} s", self.timeout.as_secs_f32())),
        }
    }

    async fn attempt(
        &self,
        envelope: &Envelope,
        message: &[u8],
        progress: &Progress,
    ) -> Result<Response, Failure> {
        // Half, so that the conversation has the other half at least.
        let Ok(_slot) = timeout(self.timeout / 2, self.slots.acquire()).await else {
            return Err(Failure::NotSent(self.no_slot()));
        };
        loop {
            let mut connection = match self.take_idle() {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            let result = converse(&mut connection, envelope, message, progress).await;
            match &result {
                // The server has closed the connection while it was idle; the others are as old.
                Err(failure) if connection.is_reused && failure.is_stale() => {
                    self.idle().clear();
                    continue;
                }
                Ok(_) => self.keep(connection, false),
                Err(Failure::Refused { code, .. }) if *code != 421 => self.keep(connection, true),
                Err(_) => {}
            }
            return result;
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_idle(&self) -> Option<Connection> {
        let now = self.clock.monotonic();
        let mut idle = self.idle();
        idle.retain(|connection| now.saturating_duration_since(connection.idle_since) < MAX_IDLE);
        idle.pop()
    }

    fn keep(&self, connection: Connection, needs_reset: bool) {
        let idle_since = self.clock.monotonic();
        self.idle().push(Connection { is_reused: true, needs_reset, idle_since, ..connection });
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let SmtpServer { host, port, encryption, login } = &self.server;
        let at = |phase| move |error: Error| failure(phase, &error);
        #[cfg(feature = "tls")]
        let tls = (*encryption == Encryption::Tls).then(|| self.tls.clone());
        #[cfg(not(feature = "tls"))]
        let tls = None;
        // Half, so that a second address of the host can be tried.
        let per_address = self.timeout / 2;
        let smtp = if tls.is_some() {
            let server = (host.as_str(), *port);
            AsyncSmtpConnection::connect_tokio1(server, Some(per_address), &self.hello, tls, None).await
        } else {
            let stream = open(host, *port, per_address).await;
            let lost = |cause: io::Error| Failure::Lost { phase: Phase::Connect, cause: cause.to_string() };
            AsyncSmtpConnection::connect_with_transport(Box::new(stream.map_err(lost)?), &self.hello).await
        };
        let mut smtp = smtp.map_err(at(Phase::Connect))?;
        #[cfg(feature = "tls")]
        if smtp.can_starttls() && *encryption != Encryption::None {
            smtp.starttls(self.tls.clone(), &self.hello).await.map_err(at(Phase::Connect))?;
        }
        if *encryption == Encryption::StartTls && !smtp.is_encrypted() {
            let text =
                "the mail server does not offer STARTTLS: nothing was sent; use smtps:// if it supports that";
            return Err(Failure::NotSent(channel_down(text)));
        }
        if let Some((user, password)) = login {
            if smtp.server_info().get_auth_mechanism(DEFAULT_MECHANISMS).is_none() {
                let text = "the mail server offers neither AUTH PLAIN nor AUTH LOGIN: remove user and password from \
                            channels.mail.url, or use the port for submission (587)";
                return Err(Failure::NotSent(channel_down(text)));
            }
            let credentials = Credentials::new(user.clone(), password.clone());
            smtp.auth(DEFAULT_MECHANISMS, &credentials).await.map_err(at(Phase::Auth))?;
        }
        let idle_since = self.clock.monotonic();
        Ok(Connection { smtp, is_reused: false, needs_reset: false, idle_since })
    }

    fn result(&self, failure: Failure, progress: &Progress) -> SendResult {
        match failure {
            Failure::NotSent(result) => result,
            Failure::Refused { phase, code, text } => refused(phase, code, &text),
            Failure::Lost { phase, cause } => {
                if progress.is_complete() {
                    let text = format!("connection lost after the message was sent: {cause}");
                    retry(AttemptOutcome::Unknown, Reason::Broken, text)
                } else if phase == Phase::Connect {
                    let SmtpServer { host, port, .. } = &self.server;
                    let text = format!("no connection to {host}:{port}: {cause}");
                    retry(AttemptOutcome::Failed, Reason::Connect, text)
                } else {
                    let text = format!("connection lost at {}: {cause}", phase.as_str());
                    retry(AttemptOutcome::Failed, Reason::Connect, text)
                }
            }
        }
    }

    fn no_slot(&self) -> SendResult {
        let secs = (self.timeout / 2).as_secs_f32();
        let text = format!("all {MAX_CONNECTIONS} connections to the mail server were in use for {secs} s");
        let (outcome, disposition) = (AttemptOutcome::Failed, Disposition::Defer(None));
        SendResult::failed(outcome, disposition, Reason::Throttled, text)
    }

    fn timed_out(&self, progress: &Progress) -> SendResult {
        let secs = self.timeout.as_secs_f32();
        if progress.is_complete() {
            let text = format!("no reply to the message within {secs} s");
            return retry(AttemptOutcome::Unknown, Reason::Timeout, text);
        }
        let text = format!("the message was not sent completely within {secs} s");
        retry(AttemptOutcome::Failed, Reason::Connect, text)
    }
}

/// Connects without Nagle's algorithm: lettre writes a message and its final dot separately, and the dot would wait for the
/// acknowledgement of the message, which servers delay by 40 ms. lettre's own connections, for smtps://, do wait.
async fn open(host: &str, port: u16, per_address: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in lookup_host((host, port)).await? {
        match timeout(per_address, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return stream.set_nodelay(true).map(|()| stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "connection timed out"),
        }
    }
    Err(last)
}

async fn converse(
    connection: &mut Connection,
    envelope: &Envelope,
    message: &[u8],
    progress: &Progress,
) -> Result<Response, Failure> {
    let at = |phase| move |error: Error| failure(phase, &error);
    let smtp = &mut connection.smtp;
    if connection.needs_reset {
        smtp.command(Rset).await.map_err(at(Phase::Mail))?;
    }
    let mut parameters = Vec::new();
    if !envelope.to().iter().chain(envelope.from()).all(|address| AsRef::<str>::as_ref(address).is_ascii()) {
        if !smtp.server_info().supports_feature(Extension::SmtpUtfEight) {
            let text =
                "the address has characters other than ASCII, and the mail server does not offer SMTPUTF8";
            let (outcome, disposition) = (AttemptOutcome::Failed, Disposition::Dead);
            return Err(Failure::NotSent(SendResult::failed(
                outcome,
                disposition,
                Reason::Rejected,
                text.to_owned(),
            )));
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    smtp.command(Mail::new(envelope.from().cloned(), parameters)).await.map_err(at(Phase::Mail))?;
    for to in envelope.to() {
        smtp.command(Rcpt::new(to.clone(), Vec::new())).await.map_err(at(Phase::Rcpt))?;
    }
    let reply = smtp.command(Data).await.map_err(at(Phase::Data))?;
    if !reply.has_code(START_MAIL_INPUT) {
        let cause = format!("the mail server answered {} to DATA", u16::from(reply.code()));
        return Err(Failure::Lost { phase: Phase::Data, cause });
    }
    // The iterator is asked for a second part when the first is sent: what follows is the final dot.
    let end = std::iter::from_fn(|| {
        progress.is_complete.store(true, Ordering::Relaxed);
        None
    });
    let reply = smtp.message_iter(std::iter::once(message).chain(end)).await.map_err(at(Phase::Data))?;
    if reply.code().severity != Severity::PositiveCompletion {
        let cause = format!("the mail server answered {} to the message", u16::from(reply.code()));
        return Err(Failure::Lost { phase: Phase::Data, cause });
    }
    Ok(reply)
}

impl Failure {
    /// Whether a connection that was idle is closed or being closed.
    fn is_stale(&self) -> bool {
        match self {
            Self::Lost { phase, .. } => *phase == Phase::Mail,
            Self::Refused { phase, code, .. } => *phase == Phase::Mail && *code == 421,
            Self::NotSent(_) => false,
        }
    }
}

fn failure(phase: Phase, error: &Error) -> Failure {
    let source = error.source();
    if let Some(code) = error.status() {
        let text = source.map(ToString::to_string).unwrap_or_default();
        return Failure::Refused { phase, code: code.into(), text };
    }
    let last = std::iter::successors(source, |&cause| cause.source()).last();
    Failure::Lost { phase, cause: last.map_or_else(|| error.to_string(), ToString::to_string) }
}

fn delivered(reply: &Response) -> SendResult {
    let text = excerpt(reply.first_line().unwrap_or_default().as_bytes());
    let provider_id = (!text.is_empty()).then_some(text);
    SendResult { provider_id, ..SendResult::delivered(reply.code().into()) }
}

fn refused(phase: Phase, code: u16, text: &str) -> SendResult {
    let row = SmtpRow::of(phase, code, text);
    let place = match phase {
        Phase::Connect => "at connecting".to_owned(),
        _ => format!("to {}", phase.as_str()),
    };
    let error = format!("the mail server answered {code} {place}: {}", row.meaning);
    let failed = SendResult::failed(AttemptOutcome::Failed, row.disposition, row.reason, error);
    let response = (!text.is_empty()).then(|| excerpt(text.as_bytes()));
    SendResult { status: Some(code), response, ..failed }
}

fn retry(outcome: AttemptOutcome, reason: Reason, error: String) -> SendResult {
    SendResult::failed(outcome, Disposition::Retry(None), reason, error)
}

fn channel_down(error: &str) -> SendResult {
    let (outcome, disposition) = (AttemptOutcome::Failed, Disposition::Defer(None));
    SendResult::failed(outcome, disposition, Reason::ChannelDown, error.to_owned())
}
