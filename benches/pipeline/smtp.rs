//! An SMTP server that accepts every mail. The server of the tests records every command and reads byte by byte, which costs more CPU
//! than the daemon.

use std::net::SocketAddr;

use bday::model::ChannelName;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::sink::Receiver;

/// Accepts mails until the process ends.
pub(crate) async fn start(receiver: Receiver) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let tasks = TaskTracker::new();
    let connections = tasks.clone();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let receiver = receiver.clone();
            connections.spawn(async move { drop(serve(&receiver, stream).await) });
        }
    });
    Ok(address)
}

async fn serve(receiver: &Receiver, stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 bench\r\n").await?;
    let (mut line, mut recipient) = (Vec::new(), String::new());
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let command = String::from_utf8_lossy(&line);
        let reply = match command.get(..4) {
            Some("EHLO") => "250-bench\r\n250 ENHANCEDSTATUSCODES\r\n",
            Some("RCPT") => {
                recipient = between(&command, '<', '>').unwrap_or_default().to_owned();
                "250 2.1.5 ok\r\n"
            }
            Some("DATA") => {
                stream.write_all(b"354 go ahead\r\n").await?;
                let event_id = read_mail(&mut stream).await?;
                receiver.accept(ChannelName::Mail, event_id, recipient.clone()).await;
                "250 2.0.0 ok: queued\r\n"
            }
            _ => "250 2.0.0 ok\r\n",
        };
        stream.write_all(reply.as_bytes()).await?;
    }
}

/// Reads a mail, and returns the event's id from its Message-ID.
async fn read_mail(stream: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<Uuid>> {
    let (mut line, mut event_id) = (Vec::new(), None);
    loop {
        line.clear();
        let length = stream.read_until(b'\n', &mut line).await?;
        if length == 0 || line == b".\r\n" {
            return Ok(event_id);
        }
        if event_id.is_none() && line.starts_with(b"Message-ID:") {
            let header = String::from_utf8_lossy(&line);
            event_id = between(&header, '<', '@').and_then(|id| Uuid::parse_str(id).ok());
        }
    }
}

fn between(text: &str, start: char, end: char) -> Option<&str> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end)?.0)
}
