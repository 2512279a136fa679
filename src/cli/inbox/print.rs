//! Arrivals as lines: for people, coloured on a terminal, or as JSON for programs.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use chrono::SecondsFormat;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio_util::sync::CancellationToken;

use crate::cli::output::{coloured, duration, harmless};
use crate::dev::inbox::{Content, ReceivedRequest};

/// So many lines are written at once in a burst.
const LINES_A_WRITE: usize = 512;

/// How arrivals are printed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Style {
    Json,
    Plain,
    Coloured,
}

impl Style {
    /// JSON if asked for, colours only for a terminal, and not where `NO_COLOR` is set.
    pub(super) fn for_stdout(json: bool) -> Self {
        match json {
            true => Self::Json,
            false if coloured() => Self::Coloured,
            false => Self::Plain,
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Coloured => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Plain | Self::Json => text.to_owned(),
        }
    }

    fn arrival(self, arrival: &ReceivedRequest) -> String {
        match self {
            // Every part of an arrival can be written as JSON; should that ever change, the line says so.
            Self::Json => serde_json::to_string(arrival)
                .unwrap_or_else(|error| json!({"error": error.to_string()}).to_string()),
            Self::Plain | Self::Coloured => self.line(arrival),
        }
    }

    fn missed(self, count: u64) -> String {
        match self {
            Self::Json => json!({"missed": count}).to_string(),
            Self::Plain | Self::Coloured => {
                self.paint("33", &format!("({count} arrivals not shown: the terminal is too slow for them)"))
            }
        }
    }

    fn line(self, arrival: &ReceivedRequest) -> String {
        let status = match arrival.status {
            None => self.paint("33", "hung up"),
            Some(status) => self.paint(if arrival.accepted() { "32" } else { "31" }, &format!("{status:<7}")),
        };
        let mut line = format!("{}  {status}", arrival.arrived_at.format("%H:%M:%S%.3f"));
        match &arrival.content {
            Content::Greeting(greeting) => {
                let due = greeting.timestamp.to_rfc3339_opts(SecondsFormat::AutoSi, true);
                let lateness = arrival.lateness_ms.map(duration).unwrap_or_default();
                let _ = write!(line, "  due {due}  {lateness:>9}  {}", harmless(&greeting.message));
            }
            Content::Unreadable(unreadable) => {
                let reason = format!("unreadable: {}", harmless(&unreadable.reason));
                let _ = write!(line, "  {}", self.paint("31", &reason));
            }
        }
        if arrival.sample {
            let _ = write!(line, "  {}", self.paint("36", "sample"));
        }
        if arrival.attempt > 1 {
            let _ = write!(line, "  {}", self.paint("33", &format!("attempt {}", arrival.attempt)));
        }
        if arrival.duplicate {
            let _ = write!(line, "  {}", self.paint("1;31", "DUPLICATE"));
        }
        line
    }
}

/// Writes arrivals until `served`, and then those that are still in the feed.
pub(super) async fn print(
    mut arrivals: Receiver<Arc<ReceivedRequest>>,
    style: Style,
    served: &CancellationToken,
) -> io::Result<()> {
    let mut stdout = tokio::io::stdout();
    let mut text = String::new();
    loop {
        let first = match served.run_until_cancelled(arrivals.recv()).await {
            None => None,
            Some(Err(RecvError::Closed)) => return Ok(()),
            Some(Ok(arrival)) => Some(style.arrival(&arrival)),
            Some(Err(RecvError::Lagged(missed))) => Some(style.missed(missed)),
        };
        let ended = first.is_none();
        text.clear();
        text.extend(first.map(|line| line + "\n"));
        let mut lines = 1;
        loop {
            let line = match arrivals.try_recv() {
                Ok(arrival) => style.arrival(&arrival),
                Err(TryRecvError::Lagged(missed)) => style.missed(missed),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            };
            text += &line;
            text.push('\n');
            lines += 1;
            if lines >= LINES_A_WRITE && !ended {
                break;
            }
        }
        stdout.write_all(text.as_bytes()).await?;
        stdout.flush().await?;
        if ended {
            return Ok(());
        }
    }
}
