//! A sender of mails that speaks SMTP line by line.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::wait::within;

pub(crate) struct Sender(BufReader<TcpStream>);

impl Sender {
    /// Connects, and reads the greeting of the server.
    pub(crate) async fn connect(server: SocketAddr) -> Self {
        let mut sender = Self::connect_only(server).await;
        assert!(sender.reply().await.starts_with("220 "));
        sender
    }

    pub(crate) async fn connect_only(server: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(server).await.unwrap()))
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Returns the lines of the next reply; an empty text if the server has closed the connection.
    pub(crate) async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            let read = within("a reply", self.0.read_line(&mut reply)).await.unwrap();
            if read == 0 || reply.as_bytes().get(start + 3) != Some(&b'-') {
                return reply;
            }
        }
    }

    /// Sends a command, and returns the code of the reply; 0 without a reply.
    pub(crate) async fn command(&mut self, line: &str) -> u16 {
        self.write(format!("{line}\r\n")).await;
        code(&self.reply().await)
    }

    /// Sends a mail, and returns the code of the reply to its end.
    pub(crate) async fn send(&mut self, to: &str, mail: &str) -> u16 {
        self.start(to).await;
        self.write(format!("{mail}\r\n.\r\n")).await;
        code(&self.reply().await)
    }

    /// Sends the commands up to DATA.
    pub(crate) async fn start(&mut self, to: &str) {
        assert_eq!(self.command("EHLO test").await, 250);
        assert_eq!(self.command("MAIL FROM:<bday@example.org>").await, 250);
        assert_eq!(self.command(&format!("RCPT TO:<{to}>")).await, 250);
        assert_eq!(self.command("DATA").await, 354);
    }
}

pub(crate) fn code(reply: &str) -> u16 {
    reply.get(..3).map_or(0, |code| code.parse().unwrap())
}
