//! Arrivals as lines of text or JSON.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use chrono::SecondsFormat;
use clap::builder::styling::Style;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio_util::sync::CancellationToken;

use crate::calendar::format_count;
use crate::cli::output::{CYAN, GREEN, RED, YELLOW, escape, lateness, paint};
use crate::dev::inbox::{Content, ReceivedRequest};

/// Lines per write.
const MAX_LINES: usize = 512;

#[derive(Debug, Clone, Copy)]
pub(super) struct Printer {
    pub(super) json: bool,
}

impl Printer {
    fn arrival(self, arrival: &ReceivedRequest) -> String {
        if self.json {
            serde_json::to_string(arrival)
                .unwrap_or_else(|error| json!({"error": error.to_string()}).to_string())
        } else {
            line(arrival)
        }
    }

    fn missed(self, count: u64) -> String {
        if self.json {
            json!({"missed": count}).to_string()
        } else {
            let arrivals = format_count(count, "arrival", "arrivals");
            paint(YELLOW, &format!("({arrivals} not shown: the terminal is too slow)"))
        }
    }
}

fn line(arrival: &ReceivedRequest) -> String {
    let status = match arrival.status {
        None => paint(YELLOW, "hung up"),
        Some(status) => paint(if arrival.accepted() { GREEN } else { RED }, &format!("{status:<7}")),
    };
    let at = arrival.arrived_at.format("%H:%M:%S%.3f");
    let mut line = format!("{at}  {status}  {:8}", arrival.channel.as_str());
    match &arrival.content {
        Content::Greeting(greeting) => {
            let due = greeting.timestamp.to_rfc3339_opts(SecondsFormat::AutoSi, true);
            let lateness = arrival.lateness_ms.map(lateness).unwrap_or_default();
            let _ = write!(line, "  due {due}  {lateness:>9}  {}", escape(&greeting.message));
        }
        Content::Message(message) => {
            let to = message.to.join(", ");
            let subject =
                message.subject.as_deref().map(|subject| format!("{subject:?}  ")).unwrap_or_default();
            let first = message.text.lines().next().unwrap_or_default();
            let _ = write!(line, "  to {}  {}{}", escape(&to), escape(&subject), escape(first));
        }
        Content::Unreadable(unreadable) => {
            let _ = write!(line, "  {}", paint(RED, &format!("unreadable: {}", escape(&unreadable.reason))));
        }
    }
    let attempt = format!("attempt {}", arrival.attempt);
    let notes: [(bool, Style, &str); 3] = [
        (arrival.sample, CYAN, "sample"),
        (arrival.attempt > 1, YELLOW, &attempt),
        (arrival.duplicate, RED.bold(), "DUPLICATE"),
    ];
    for (_, style, note) in notes.into_iter().filter(|(applies, ..)| *applies) {
        let _ = write!(line, "  {}", paint(style, note));
    }
    line
}

/// Writes arrivals until `served`, and then those still in the channel.
pub(super) async fn print(
    mut arrivals: Receiver<Arc<ReceivedRequest>>,
    printer: Printer,
    served: &CancellationToken,
) -> io::Result<()> {
    let mut stdout = tokio::io::stdout();
    let mut ended = false;
    while !ended {
        let mut lines = match served.run_until_cancelled(arrivals.recv()).await {
            None => {
                ended = true;
                Vec::new()
            }
            Some(Err(RecvError::Closed)) => return Ok(()),
            Some(Ok(arrival)) => vec![printer.arrival(&arrival)],
            Some(Err(RecvError::Lagged(missed))) => vec![printer.missed(missed)],
        };
        while ended || lines.len() < MAX_LINES {
            match arrivals.try_recv() {
                Ok(arrival) => lines.push(printer.arrival(&arrival)),
                Err(TryRecvError::Lagged(missed)) => lines.push(printer.missed(missed)),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if !lines.is_empty() {
            stdout.write_all((lines.join("\n") + "\n").as_bytes()).await?;
            stdout.flush().await?;
        }
    }
    Ok(())
}
