//! Mail by SMTP and SES.

mod codes;
mod delivery;
mod phases;
mod ses;
mod tls;
mod unsubscribe;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bday::clock::{SettableClock, SharedClock};
use bday::pipeline::channel::mail::{Encryption, Mail, MailOptions, MailSender, MailUrl, SmtpServer};
use bday::pipeline::channel::{Greeting, Message, Recipient};
use tokio::sync::watch;
use uuid::Uuid;

use crate::support::python::PythonServer;
use crate::support::world::instant;

const NOW: &str = "2026-12-10T09:00:00Z";
const EVENT: Uuid = Uuid::from_u128(0x01a2_0c92_40bd_7496_a43a_0e7e_d8f7_3c8f);

fn greeting(address: &str, message: Message) -> Greeting {
    Greeting {
        event_id: EVENT,
        user_id: Uuid::from_u128(1),
        due_at: instant(NOW),
        message,
        recipient: Some(Recipient { address: address.to_owned(), address_hash: vec![7; 32] }),
        unsubscribe_url: None,
        span: None,
    }
}

fn ada() -> Greeting {
    greeting("ada@example.org", Message::of_text("Hey, Ada"))
}

fn options() -> MailOptions {
    MailOptions {
        sender: MailSender { from: "Größe & Co <greetings@example.com>".parse().unwrap(), reply_to: None },
        root_certificates: None,
        configuration_set: String::new(),
        timeout: Duration::from_secs(30),
        ses: None,
    }
}

/// A server without encryption and login.
fn plain(address: SocketAddr) -> SmtpServer {
    SmtpServer {
        host: address.ip().to_string(),
        port: address.port(),
        encryption: Encryption::Opportunistic,
        login: None,
    }
}

fn mail(options: MailOptions, server: SmtpServer) -> Mail {
    following(options, watch::channel(MailUrl::Smtp(server)).1)
}

fn following(options: MailOptions, url: watch::Receiver<MailUrl>) -> Mail {
    Mail::new(options, url, clock()).unwrap()
}

fn clock() -> SharedClock {
    Arc::new(SettableClock::new(instant(NOW)))
}

/// Starts aiosmtpd with these options; returns its address.
async fn catcher(options: serde_json::Value) -> (PythonServer, SocketAddr) {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/all/mail/catcher.py");
    let mut server = PythonServer::start(&[program, &options.to_string()]);
    let port = server.next().await["port"].as_u64().unwrap();
    (server, SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap())))
}
