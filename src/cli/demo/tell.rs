//! What the demo says: what is going to happen, a line for each greeting, a countdown in between, and how it went.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::builder::styling::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use unicode_width::UnicodeWidthStr as _;

use crate::cli::output::{coloured, duration, harmless, padded, plural};
use crate::dev::demo::{GreetingTracker, SamplePeople, SamplePerson};
use crate::dev::inbox::ReceivedRequest;

/// How an instant is shown: all of them are today, or nearly so.
const TIME: &str = "%H:%M:%S";
/// Between two pictures of the spinner.
const SPIN: Duration = Duration::from_millis(100);

/// Writes to standard output, and shows on standard error, if that is a terminal, what it waits for.
#[derive(Debug)]
pub(super) struct Teller {
    page: String,
    colour: bool,
    /// Hidden unless standard error is a terminal.
    spinner: ProgressBar,
    /// Of the columns for the name and the zone.
    widths: [usize; 2],
}

impl Teller {
    /// `page` is the URL of the inbox's page.
    pub(super) fn new(page: String) -> Self {
        let style = ProgressStyle::with_template("{spinner:.cyan} {msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
        Self {
            page,
            colour: coloured(),
            spinner: ProgressBar::new_spinner().with_style(style),
            widths: [0, 0],
        }
    }

    /// The URL of the inbox's page.
    pub(super) fn page_url(&self) -> &str {
        &self.page
    }

    /// The first line: where to look.
    pub(super) fn page(&self) -> io::Result<()> {
        let page = self.paint(Style::new().bold(), &self.page);
        self.say(&format!("Inbox    {page}  open it to watch the greetings arrive"))
    }

    /// What is being done before anything can be shown.
    pub(super) fn busy(&self, with: &str) {
        self.spinner.enable_steady_tick(SPIN);
        self.spinner.set_message(format!("{with} …"));
    }

    /// What is going to happen, and the head of the table in which it will show.
    pub(super) fn explain(
        &mut self,
        people: &SamplePeople,
        http: SocketAddr,
        now: DateTime<Utc>,
    ) -> io::Result<()> {
        let guests: Vec<_> = people.celebrating().map(|(person, _)| person).collect();
        let width = |head: &str, cell: &dyn Fn(&SamplePerson) -> usize| {
            let cells = guests.iter().map(|guest| cell(guest));
            cells.chain([head.len()]).max().unwrap_or(0)
        };
        self.widths = [
            width("NAME", &|guest| guest.full_name().width()),
            width("TIME ZONE", &|guest| guest.time_zone.len()),
        ];
        let mut dues: BTreeMap<DateTime<Utc>, usize> = BTreeMap::new();
        for (_, due) in people.celebrating() {
            *dues.entry(due.due_at).or_default() += 1;
        }
        let ahead = dues.split_off(&now);
        let late: usize = dues.values().sum();

        let mut lines = vec![
            format!("Daemon   http://{http}/readyz and /metrics\n"),
            format!(
                "Imported {} in {}. {} today, each at a send time of their own:",
                plural(people.people.len(), "person", "people"),
                plural(people.time_zones(), "time zone", "time zones"),
                plural(guests.len(), "has a birthday", "have their birthday"),
            ),
        ];
        if late > 0 {
            let were = plural(late, "was", "were");
            lines.push(format!("  {were} due in the last minutes, before bday was there: greeted at once"));
        }
        lines.extend(ahead.into_iter().map(|(due_at, count)| {
            let (are, left) = (plural(count, "is", "are"), (due_at - now).num_seconds());
            format!("  {are} due at {} UTC, in {left} s", due_at.format(TIME))
        }));
        let head = self.row("NAME", "TIME ZONE", "DUE WHERE THEY LIVE", "DUE (UTC)", "LATENESS");
        lines.push(format!("\n{}", self.paint(Style::new().bold(), &head)));
        self.say(&lines.join("\n"))
    }

    /// A line for a greeting.
    pub(super) fn arrival(&self, arrival: &ReceivedRequest, tracker: &GreetingTracker) -> io::Result<()> {
        let Some(greeting) = arrival.content.greeting() else {
            return self.say(&self.paint(AnsiColor::Red.on_default(), "something that is no greeting"));
        };
        let due_utc = greeting.timestamp.format(TIME).to_string();
        let lateness = arrival.lateness_ms.map(duration).unwrap_or_default();
        let Some(guest) = tracker.expected(greeting) else {
            return self.say(&self.row(&harmless(&greeting.user_id), "", "", &due_utc, &lateness));
        };
        let due = guest.due;
        let local = format!("{} {} {}", due.local_date, due.local_time().format("%H:%M"), due.offset);
        let (colour, note) = match arrival.status {
            _ if arrival.duplicate => (AnsiColor::Red, "  a second time".to_owned()),
            Some(_) if arrival.accepted() && guest.on_time => (AnsiColor::Green, String::new()),
            Some(_) if arrival.accepted() => (AnsiColor::Yellow, "  was due before the start".to_owned()),
            Some(status) => (AnsiColor::Red, format!("  answered {status}")),
            None => (AnsiColor::Red, "  not answered".to_owned()),
        };
        let lateness = self.paint(colour.on_default(), &format!("{lateness:>8}"));
        let name = guest.person.full_name();
        self.say(&(self.row(&name, guest.person.time_zone, &local, &due_utc, &lateness) + &note))
    }

    /// Whether there is anybody to count down for.
    pub(super) fn counts_down(&self) -> bool {
        !self.spinner.is_hidden()
    }

    /// What comes next, and when.
    pub(super) fn countdown(&self, tracker: &GreetingTracker, now: DateTime<Utc>) {
        let missing = tracker.missing();
        let text = match missing.iter().map(|guest| guest.due.due_at).find(|due_at| *due_at > now) {
            Some(due_at) => {
                let count = missing.iter().filter(|guest| guest.due.due_at == due_at).count();
                // Rounded up, so that it is 0 only when it is time.
                let left = (due_at - now).num_milliseconds().unsigned_abs().div_ceil(1000);
                format!("{} due at {} UTC, in {left} s", plural(count, "is", "are"), due_at.format(TIME))
            }
            None => format!("{} due", plural(missing.len(), "is", "are")),
        };
        self.spinner.set_message(text);
    }

    /// How it went.
    pub(super) fn summary(&self, tracker: &GreetingTracker) -> io::Result<()> {
        self.spinner.finish_and_clear();
        let summary = tracker.summary();
        let how = match (summary.repeated, summary.unexpected) {
            (0, 0) => "each once".to_owned(),
            (repeated, 0) => format!("and {repeated} more than once"),
            (repeated, wrong) => format!("{repeated} more than once, {wrong} that were not expected"),
        };
        let line = format!("accepted {} of {}, {how}", summary.accepted, summary.expected);
        let colour = if summary.is_complete() { AnsiColor::Green } else { AnsiColor::Red };
        let mut lines = vec![String::new(), self.paint(colour.on_default().bold(), &line)];
        if let Some((p50, p99)) = summary.lateness_ms {
            let (p50, p99) = (duration(p50), duration(p99));
            lines.push(format!("on time ({}): lateness p50 {p50}, p99 {p99}", summary.on_time));
        }
        lines.extend(tracker.missing().into_iter().map(|guest| {
            let (name, zone) = (guest.person.full_name(), guest.person.time_zone);
            format!("missing: {name}, {zone}, due {} UTC", guest.due.due_at.format(TIME))
        }));
        lines.push(format!("page: {}", self.page));
        self.say(&lines.join("\n"))
    }

    /// What the demo does when there is nothing more to do.
    pub(super) fn stays_up(&self) -> io::Result<()> {
        self.say("\nAll of it stays up until Ctrl-C.")
    }

    /// The last line after a signal.
    pub(super) fn stopped(&self) -> io::Result<()> {
        self.spinner.finish_and_clear();
        self.say("\nStopped; nothing is left running.")
    }

    fn row(&self, name: &str, zone: &str, local: &str, utc: &str, lateness: &str) -> String {
        let [names, zones] = self.widths;
        let name = padded(name, names);
        format!("{name}  {zone:zones$}  {local:23}  {utc:9}  {lateness:>8}")
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// A pipe that nobody reads any more is an error here: the demo is for being watched.
    fn say(&self, text: &str) -> io::Result<()> {
        self.spinner.suspend(|| {
            let mut out = io::stdout().lock();
            writeln!(out, "{text}")?;
            out.flush()
        })
    }
}
