//! The calendar feed: the local dates ahead that have greetings, as an iCalendar file (RFC 5545).
//!
//! A date is that of the users: in each time zone, the greetings of that day. Bounded: the counts of [`DAYS`] dates, and a few names
//! of each.

mod ical;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{DateTime, Datelike as _, Days, NaiveDate, Utc};

use crate::calendar::{LeapDay, format_count};
use crate::model::{BIRTHDAY, Schedule};
use crate::store::{self, CalendarDate, DateName, Store};
use ical::{CalendarEvent, CalendarFile};

/// How many dates the feed has, beginning with the UTC date of today.
pub const DAYS: u64 = 90;
const MAX_NAMES: usize = 20;

/// A local date with greetings.
#[derive(Debug, Default, PartialEq, Eq)]
struct Day {
    /// The number of users of each kind.
    counts: BTreeMap<String, u64>,
    /// The first [`MAX_NAMES`], by kind and name.
    names: Vec<String>,
}

/// Returns the feed at `now`.
pub async fn feed(store: &Store, schedule: &Schedule, now: DateTime<Utc>) -> store::Result<String> {
    let kinds: Vec<&str> = schedule.kinds.keys().map(String::as_str).collect();
    let dates = dates(now.date_naive());
    let key = store.installation_key().await?;
    let (counts, names) = store.occasions_on(&dates, &kinds, schedule.leap_day).await?;
    let mut days: BTreeMap<NaiveDate, Day> = BTreeMap::new();
    for count in counts {
        days.entry(count.local_date).or_default().counts.insert(count.kind, count.users as u64);
    }
    for (date, names) in names_by_date(names) {
        days.entry(date).or_default().names = names;
    }
    days.retain(|_, day| !day.counts.is_empty());
    let mut file = CalendarFile::new();
    if days.is_empty() {
        file.add_time_zone();
    }
    for (date, day) in &days {
        file.add(&CalendarEvent {
            uid: key.calendar_day_id(*date),
            stamp: now,
            date: *date,
            summary: day.summary(),
            description: day.description(),
        });
    }
    Ok(file.finish())
}

/// Returns the dates from `from` on, with the occasions that belong to them.
fn dates(from: NaiveDate) -> Vec<CalendarDate> {
    let mut dates = Vec::new();
    for local_date in from.iter_days().take_while(|date| *date < from + Days::new(DAYS)) {
        let (month, day) = (local_date.month(), local_date.day());
        dates.push(CalendarDate { local_date, month, day, rule: None });
        let rule = match (month, day) {
            (2, 28) => LeapDay::Feb28,
            (3, 1) => LeapDay::Mar1,
            _ => continue,
        };
        if !local_date.leap_year() {
            dates.push(CalendarDate { local_date, month: 2, day: 29, rule: Some(rule) });
        }
    }
    dates
}

fn names_by_date(names: Vec<DateName>) -> BTreeMap<NaiveDate, Vec<String>> {
    let mut sorted: BTreeMap<NaiveDate, Vec<(bool, String)>> = BTreeMap::new();
    for DateName { local_date, kind, first_name, last_name } in names {
        let mut name = format!("{first_name} {last_name}").trim_end().to_owned();
        if kind != BIRTHDAY {
            let _ = write!(name, " ({})", words(&kind));
        }
        sorted.entry(local_date).or_default().push((kind != BIRTHDAY, name));
    }
    let first = |mut names: Vec<(bool, String)>| {
        names.sort();
        names.truncate(MAX_NAMES);
        names.into_iter().map(|(_, name)| name).collect()
    };
    sorted.into_iter().map(|(date, names)| (date, first(names))).collect()
}

impl Day {
    /// `2 birthdays, 1 work anniversary`
    fn summary(&self) -> String {
        let mut kinds: Vec<(&String, &u64)> = self.counts.iter().collect();
        kinds.sort_by_key(|(kind, _)| *kind != BIRTHDAY);
        let kinds = kinds.into_iter().map(|(kind, users)| {
            let one = words(kind);
            format_count(*users, &one, &plural(&one))
        });
        kinds.collect::<Vec<_>>().join(", ")
    }

    fn description(&self) -> String {
        let mut text = self.names.join("\n");
        let more = self.counts.values().sum::<u64>().saturating_sub(self.names.len() as u64);
        if more > 0 {
            let _ = write!(text, "\nand {more} more");
        }
        text
    }
}

fn words(kind: &str) -> String {
    kind.replace('_', " ")
}

/// Returns the regular plural of an English word.
fn plural(word: &str) -> String {
    let stem = word.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'i', 'o', 'u']));
    match stem {
        Some(stem) => format!("{stem}ies"),
        None if word.ends_with(['s', 'x', 'z']) || word.ends_with("ch") || word.ends_with("sh") => {
            format!("{word}es")
        }
        None => format!("{word}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> NaiveDate {
        text.parse().expect("a date")
    }

    #[test]
    fn the_summary_counts_each_kind_in_words() {
        let day = |counts: &[(&str, u64)]| Day {
            counts: counts.iter().map(|(kind, users)| ((*kind).to_owned(), *users)).collect(),
            names: Vec::new(),
        };
        assert_eq!(day(&[("birthday", 2)]).summary(), "2 birthdays");
        let kinds = [("anniversary", 1), ("birthday", 1), ("name_day", 3), ("work_anniversary", 2000)];
        assert_eq!(day(&kinds).summary(), "1 birthday, 1 anniversary, 3 name days, 2000 work anniversaries");
        assert_eq!(["bus", "wish", "day"].map(plural), ["buses", "wishes", "days"]);
    }

    #[test]
    fn twenty_names_are_listed_and_the_rest_counted() {
        let entry = |n: usize, kind: &str| DateName {
            local_date: date("2026-12-10"),
            kind: kind.to_owned(),
            first_name: format!("N{n:02}"),
            last_name: if n == 7 { String::new() } else { "X".to_owned() },
        };
        let birthdays = (0..15).rev().map(|n| entry(n, "birthday"));
        let entries = birthdays.chain((0..15).map(|n| entry(n, "work_anniversary"))).collect();
        let mut by_date = names_by_date(entries);
        let day = Day {
            counts: [("birthday".to_owned(), 15), ("work_anniversary".to_owned(), 400)].into(),
            names: by_date.remove(&date("2026-12-10")).expect("names"),
        };
        let text = day.description();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 21, "{text}");
        assert_eq!((lines[0], lines[7], lines[14]), ("N00 X", "N07", "N14 X"));
        assert_eq!((lines[15], lines[20]), ("N00 X (work anniversary)", "and 395 more"));
    }

    #[test]
    fn a_leap_day_belongs_to_two_dates_in_a_common_year_only() {
        let leap_days = |from: &str| {
            let found = dates(date(from)).into_iter().filter(|date| (date.month, date.day) == (2, 29));
            found.map(|date| (date.local_date.to_string(), date.rule)).collect::<Vec<_>>()
        };
        assert_eq!(
            leap_days("2027-02-01"),
            [("2027-02-28".to_owned(), Some(LeapDay::Feb28)), ("2027-03-01".to_owned(), Some(LeapDay::Mar1))]
        );
        assert_eq!(leap_days("2028-02-01"), [("2028-02-29".to_owned(), None)]);
        assert!(leap_days("2027-03-02").is_empty());
        assert_eq!(dates(date("2026-11-24")).len() as u64, DAYS);
    }
}
