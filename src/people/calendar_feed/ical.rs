//! Writes iCalendar (RFC 5545): content lines, all-day events.

use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

/// Of a content line, without its line end (section 3.1).
const MAX_LINE_OCTETS: usize = 75;

#[derive(Debug)]
pub(super) struct CalendarFile(String);

/// An event of a whole day.
#[derive(Debug)]
pub(super) struct CalendarEvent {
    pub(super) uid: Uuid,
    pub(super) stamp: DateTime<Utc>,
    pub(super) date: NaiveDate,
    pub(super) summary: String,
    pub(super) description: String,
}

impl CalendarFile {
    pub(super) fn new() -> Self {
        let mut file = Self(String::new());
        file.line("BEGIN:VCALENDAR");
        file.line("VERSION:2.0");
        file.line("PRODID:-//bday//calendar feed//EN");
        file.line("CALSCALE:GREGORIAN");
        file.line("METHOD:PUBLISH");
        // RFC 7986, and the properties that clients had before it.
        file.line("NAME:Birthdays");
        file.line("X-WR-CALNAME:Birthdays");
        file.line("REFRESH-INTERVAL;VALUE=DURATION:PT1H");
        file.line("X-PUBLISHED-TTL:PT1H");
        file
    }

    /// Adds a component that shows nothing: a calendar has at least one (section 3.6).
    pub(super) fn add_time_zone(&mut self) {
        for line in [
            "BEGIN:VTIMEZONE",
            "TZID:UTC",
            "BEGIN:STANDARD",
            "DTSTART:19700101T000000",
            "TZOFFSETFROM:+0000",
            "TZOFFSETTO:+0000",
            "END:STANDARD",
            "END:VTIMEZONE",
        ] {
            self.line(line);
        }
    }

    pub(super) fn add(&mut self, event: &CalendarEvent) {
        let end = event.date.succ_opt().unwrap_or(event.date);
        self.line("BEGIN:VEVENT");
        self.line(&format!("UID:{}", event.uid));
        self.line(&format!("DTSTAMP:{}", event.stamp.format("%Y%m%dT%H%M%SZ")));
        self.line(&format!("DTSTART;VALUE=DATE:{}", event.date.format("%Y%m%d")));
        self.line(&format!("DTEND;VALUE=DATE:{}", end.format("%Y%m%d")));
        self.line(&format!("SUMMARY:{}", escape(&event.summary)));
        self.line(&format!("DESCRIPTION:{}", escape(&event.description)));
        self.line("TRANSP:TRANSPARENT");
        self.line("END:VEVENT");
    }

    pub(super) fn finish(mut self) -> String {
        self.line("END:VCALENDAR");
        self.0
    }

    /// Appends a content line, folded between characters.
    fn line(&mut self, line: &str) {
        let mut octets = 0;
        for c in line.chars() {
            if octets + c.len_utf8() > MAX_LINE_OCTETS {
                self.0.push_str("\r\n ");
                octets = 1;
            }
            self.0.push(c);
            octets += c.len_utf8();
        }
        self.0.push_str("\r\n");
    }
}

/// Escapes a text value (section 3.3.11). Other control characters are invalid in it.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | ';' | ',' => escaped.extend(['\\', c]),
            '\n' => escaped.push_str("\\n"),
            c if c.is_control() => {}
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(text: &str) -> String {
        let mut file = CalendarFile(String::new());
        file.line(text);
        file.0
    }

    #[test]
    fn texts_are_escaped() {
        assert_eq!(escape("a;b,c\\d\r\ne\u{0}:\"ü"), "a\\;b\\,c\\\\d\\ne:\"ü");
    }

    #[test]
    fn a_line_of_75_octets_is_not_folded_and_one_more_is() {
        assert_eq!(line(&"x".repeat(75)), format!("{}\r\n", "x".repeat(75)));
        assert_eq!(line(&"x".repeat(76)), format!("{}\r\n x\r\n", "x".repeat(75)));
        // A character of two octets that does not fit begins the next line.
        assert_eq!(line(&format!("{}é", "x".repeat(74))), format!("{}\r\n é\r\n", "x".repeat(74)));
    }

    proptest! {
        #[test]
        fn unfolding_restores_each_line(text in "[a-z é世🎂;,]{0,400}") {
            let folded = line(&text);
            prop_assert!(folded.split("\r\n").all(|line| line.len() <= MAX_LINE_OCTETS));
            prop_assert_eq!(folded.replace("\r\n ", ""), format!("{text}\r\n"));
        }
    }
}
