//! The output of the demo.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use indicatif::ProgressBar;

use crate::calendar::format_count;
use crate::cli::output::{BOLD, GREEN, RED, YELLOW, lateness, paint, progress};
use crate::dev::demo::{GreetingTracker, SamplePeople};
use crate::dev::inbox::ReceivedRequest;

/// All instants are within a few minutes.
const TIME: &str = "%H:%M:%S";

#[derive(Debug)]
pub(super) struct Reporter {
    /// The URL of the inbox.
    page: String,
    /// Hidden unless standard error is a terminal.
    spinner: ProgressBar,
}

impl Reporter {
    pub(super) fn new(page: String) -> Self {
        Self { page, spinner: progress("{spinner:.cyan} {msg}", 0) }
    }

    pub(super) fn starting(&self, smtp: SocketAddr) -> io::Result<()> {
        self.print(&format!("Inbox    {}  open it to watch the greetings arrive", paint(BOLD, &self.page)))?;
        self.print(&format!("Mail     smtp://{smtp}"))?;
        self.spinner.enable_steady_tick(Duration::from_millis(100));
        self.spinner.set_message("starting a private PostgreSQL …");
        Ok(())
    }

    pub(super) fn started(
        &self,
        people: &SamplePeople,
        api: SocketAddr,
        now: DateTime<Utc>,
    ) -> io::Result<()> {
        let dues: Vec<_> = people.celebrating().map(|(_, due)| due.due_at).collect();
        let ahead: Vec<_> = dues.iter().filter(|due_at| **due_at > now).collect();
        let late = format_count(dues.len() - ahead.len(), "was", "were");
        let next = ahead.last().map_or_else(String::new, |last| {
            let (count, secs) = (format_count(ahead.len(), "is", "are"), (**last - now).num_seconds());
            format!(" {count} due by {} UTC, in {secs} s.", last.format(TIME))
        });
        let lines = format!(
            "Console  http://{api}/  open it to see who is greeted when, and why\nAPI      http://{api}/docs\n\nImported {} in {}, {} with a birthday today.\n{late} due in the last minutes, and \
             greeted now.{next}",
            format_count(people.people.len(), "user", "users"),
            format_count(people.time_zones(), "time zone", "time zones"),
            dues.len()
        );
        self.spinner.set_message("waiting for greetings");
        let head = row("CHANNEL", "NAME", "TIME ZONE", "DUE (LOCAL)", "DUE (UTC)", "LATENESS");
        self.print(&format!("{lines}\n\n{}", paint(BOLD, &head)))
    }

    pub(super) fn arrival(&self, arrival: &ReceivedRequest, tracker: &GreetingTracker) -> io::Result<()> {
        self.spinner.set_message(format!("waiting for {} more", tracker.missing().len()));
        let channel = arrival.channel.as_str();
        let Some(expected) = tracker.expected(arrival) else {
            return self.print(&paint(RED, &format!("{channel:8}  a request that is no expected greeting")));
        };
        let due = expected.due;
        let (due_utc, late) = (due.due_at.format(TIME).to_string(), lateness(expected.lateness_ms(arrival)));
        let local = format!("{} {} {}", due.local_date, due.local_time().format("%H:%M"), due.offset);
        let (style, note) = match arrival.status {
            _ if arrival.duplicate => (RED, "  duplicate".to_owned()),
            Some(_) if arrival.accepted() && expected.on_time => (GREEN, String::new()),
            Some(_) if arrival.accepted() => (YELLOW, "  was due before the start".to_owned()),
            Some(status) => (RED, format!("  answered {status}")),
            None => (RED, "  not answered".to_owned()),
        };
        let late = paint(style, &format!("{late:>10}"));
        let name = expected.person.full_name();
        self.print(&(row(channel, &name, expected.person.time_zone, &local, &due_utc, &late) + &note))
    }

    pub(super) fn summary(&self, tracker: &GreetingTracker) -> io::Result<()> {
        self.spinner.finish_and_clear();
        let result = tracker.summary();
        let quality = match (result.repeated, result.unexpected) {
            (0, 0) => "each once".to_owned(),
            (repeated, unexpected) => {
                format!("{}, {unexpected} unexpected", format_count(repeated, "duplicate", "duplicates"))
            }
        };
        let by_channel = result.channels.iter().map(|(channel, count)| format!("{count} by {channel}"));
        let by_channel = by_channel.collect::<Vec<_>>().join(", ");
        let line = format!("accepted {} of {}, {quality}: {by_channel}", result.accepted, result.expected);
        let style = if result.is_complete() { GREEN } else { RED };
        let mut lines = vec![String::new(), paint(style.bold(), &line)];
        if let Some((p50, p99)) = result.lateness_ms {
            let (p50, p99) = (lateness(p50), lateness(p99));
            lines.push(format!("on time ({}): lateness p50 {p50}, p99 {p99}", result.on_time));
        }
        lines.extend(tracker.missing().into_iter().map(|expected| {
            let (name, zone) = (expected.person.full_name(), expected.person.time_zone);
            format!("missing: {name}, {zone}, due {} UTC", expected.due.due_at.format(TIME))
        }));
        self.print(&lines.join("\n"))
    }

    pub(super) fn still_running(&self) -> io::Result<()> {
        self.print(&format!("\nInbox and API run until Ctrl-C: {}", self.page))
    }

    pub(super) fn stopped(&self) -> io::Result<()> {
        self.spinner.finish_and_clear();
        self.print("\nStopped; nothing is left running.")
    }

    /// Unlike `println!`, fails on a closed pipe: that ends the demo.
    fn print(&self, text: &str) -> io::Result<()> {
        self.spinner.suspend(|| {
            let mut out = io::stdout().lock();
            writeln!(out, "{text}")?;
            out.flush()
        })
    }
}

fn row(channel: &str, name: &str, zone: &str, local: &str, utc: &str, lateness: &str) -> String {
    format!("{channel:8}  {name:20}  {zone:20}  {local:23}  {utc:9}  {lateness:>10}")
}
