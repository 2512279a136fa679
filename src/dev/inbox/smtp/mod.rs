//! Receives mails by SMTP, for any address. It relays none, and offers neither TLS nor login.
//!
//! A mail counts from the dot that ends it: one whose sender disconnects before that is not listed.

mod command;
mod reader;
mod session;

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use self::session::Session;
use super::InboxState;

#[derive(Debug, Clone, Copy)]
pub struct SmtpLimits {
    pub max_mail_bytes: usize,
    pub max_connections: usize,
    /// Between two commands, and for a whole mail. Five minutes or more in RFC 5321.
    pub idle_timeout: Duration,
}

impl Default for SmtpLimits {
    fn default() -> Self {
        let idle_timeout = Duration::from_mins(5);
        Self { max_mail_bytes: 1024 * 1024, max_connections: 100, idle_timeout }
    }
}

/// Serves until the inbox stops, and until the mails that are being answered are answered.
pub(super) async fn serve(mut listener: TcpListener, inbox: InboxState, limits: SmtpLimits) {
    let mut sessions = JoinSet::new();
    loop {
        let mut stream = tokio::select! {
            (stream, _) = axum::serve::Listener::accept(&mut listener) => stream,
            Some(_) = sessions.join_next() => continue,
            () = inbox.stop.cancelled() => break,
        };
        if sessions.len() < limits.max_connections {
            sessions.spawn(Session::new(stream, inbox.clone(), limits).run());
        } else {
            // Fits into the empty buffer of the socket. A failure concerns only this sender.
            let _ = stream.write_all(b"421 4.3.2 too many connections\r\n").await;
        }
    }
    drop(listener);
    while sessions.join_next().await.is_some() {}
}
