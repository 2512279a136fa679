//! Sample people for one instant.

use std::fmt::Write as _;

use chrono::{DateTime, Datelike, Days, DurationRound as _, NaiveDate, TimeDelta, Timelike, Utc};
use uuid::Uuid;

use super::names::CANDIDATES;
use crate::calendar::{AnnualDate, Occurrence, SendAt, Zone};
use crate::model::{BIRTHDAY, EventState, Occasion, Schedule};

/// So many different full names can be made of the candidates.
pub const MAX_PEOPLE: u16 = (CANDIDATES.len() * CANDIDATES.len()) as u16;

/// So many are due in a minute that has any.
const DUE_A_MINUTE: usize = 4;
/// A minute that begins sooner than this is left out: the people must be in, and the audience must have read what is
/// going to happen.
const LEAD: TimeDelta = TimeDelta::seconds(8);

/// One of the sample people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// By which it is found again once it is a user.
    pub external_id: String,
    /// Given name.
    pub first_name: &'static str,
    /// Family name.
    pub last_name: &'static str,
    /// IANA name.
    pub time_zone: &'static str,
    /// The day of birth.
    pub birth_date: NaiveDate,
    /// Own send time; the others have the default.
    pub send_at: Option<SendAt>,
    /// When the greeting is due, for those who have their birthday right now.
    pub due: Option<Occurrence>,
}

impl Person {
    /// First and last name.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{} {}", self.first_name, self.last_name)
    }
}

/// The sample people of one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cast {
    /// The instant from which everything follows, UTC. The people must be written as of this instant, too.
    pub now: DateTime<Utc>,
    /// Everybody. Those who are due come first, in the order in which they are.
    pub people: Vec<Person>,
}

impl Cast {
    /// `size` people (at most [`MAX_PEOPLE`]). Four of them were due in the minutes up to `now`, and four more in each
    /// of the next `minutes` minutes, as far as `size` allows; nobody else within three days.
    #[must_use]
    pub fn new(now: DateTime<Utc>, size: u16, minutes: u8, schedule: &Schedule) -> Self {
        let size = usize::from(size.min(MAX_PEOPLE));
        let mut slots = slots(now, minutes);
        slots.truncate(size);
        let mut waiting: Vec<usize> = (0..size).collect();
        let mut people = Vec::with_capacity(size);
        for due_at in slots {
            // Who cannot be due at that instant is passed over: it may be the second 01:30 of a night, or the last
            // minute of a day that is over.
            let found = waiting
                .iter()
                .enumerate()
                .find_map(|(place, index)| Some((place, celebrating(*index, now, due_at, schedule)?)));
            if let Some((place, person)) = found {
                waiting.remove(place);
                people.push(person);
            }
        }
        people.extend(waiting.into_iter().map(|index| ordinary(index, size, now.date_naive())));
        Self { now, people }
    }

    /// Those who have their birthday right now, with when they are due.
    pub fn celebrating(&self) -> impl Iterator<Item = (&Person, Occurrence)> {
        self.people.iter().filter_map(|person| Some((person, person.due?)))
    }

    /// How many time zones there are people in.
    #[must_use]
    pub fn time_zones(&self) -> usize {
        let mut zones: Vec<_> = self.people.iter().map(|person| person.time_zone).collect();
        zones.sort_unstable();
        zones.dedup();
        zones.len()
    }

    /// The file that `bday user import` would read.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut csv = "external_id,first_name,last_name,birth_date,time_zone,send_at\n".to_owned();
        for person in &self.people {
            let send_at = person.send_at.map(|at| at.to_string()).unwrap_or_default();
            let Person { external_id, first_name, last_name, birth_date, time_zone, .. } = person;
            // Writing to a string cannot fail.
            let _ =
                writeln!(csv, "{external_id},{first_name},{last_name},{birth_date},{time_zone},{send_at}");
        }
        csv
    }
}

/// The instants at which somebody is to be due, in order. Every zone in use today is whole minutes from UTC, so a
/// minute of UTC is a minute everywhere.
fn slots(now: DateTime<Utc>, minutes: u8) -> Vec<DateTime<Utc>> {
    let minute = TimeDelta::minutes(1);
    let this = now.duration_trunc(minute).unwrap_or(now);
    let past = (0..DUE_A_MINUTE as i32).rev().map(|back| this - minute * back);
    let mut next = this + minute;
    if next - now < LEAD {
        next += minute;
    }
    let ahead = (0..i32::from(minutes)).flat_map(|ahead| [next + minute * ahead; DUE_A_MINUTE]);
    past.chain(ahead).collect()
}

/// The person of that index, born so as to be due at exactly `due_at` when bday learns of it at `now`.
fn celebrating(
    index: usize,
    now: DateTime<Utc>,
    due_at: DateTime<Utc>,
    schedule: &Schedule,
) -> Option<Person> {
    let mut person = named(index);
    let time_zone = Zone::parse(person.time_zone).ok()?;
    let local = time_zone.local(due_at);
    let send_at = SendAt::from_minutes((local.hour() * 60 + local.minute()) as i16)?;
    person.birth_date = born(index, local.date());
    person.send_at = Some(send_at);
    let date = person.birth_date;
    let occasion = Occasion {
        user_id: Uuid::nil(),
        kind: BIRTHDAY.to_owned(),
        date: AnnualDate::new(Some(date.year()), date.month(), date.day()).ok()?,
        time_zone,
        send_at: Some(send_at),
        leap_day: None,
        known_at: now,
    };
    let event = schedule.event(&occasion, local.year())?;
    person.due = Some(event.occurrence);
    (event.state == EventState::Pending && event.occurrence.due_at == due_at).then_some(person)
}

/// The person of that index, with a birthday at least three days away in both directions.
fn ordinary(index: usize, size: usize, today: NaiveDate) -> Person {
    let mut person = named(index);
    let ahead = 3 + index as u64 * 358 / size as u64;
    person.birth_date = born(index, today.checked_add_days(Days::new(ahead)).unwrap_or(today));
    person
}

/// Past the number of candidates, other family names make other people.
fn named(index: usize) -> Person {
    let count = CANDIDATES.len();
    let (first_name, _, time_zone) = CANDIDATES[index % count];
    let (_, last_name, _) = CANDIDATES[(index + index / count) % count];
    Person {
        external_id: format!("demo-{:03}", index + 1),
        first_name,
        last_name,
        time_zone,
        birth_date: NaiveDate::default(),
        send_at: None,
        due: None,
    }
}

/// An adult's birth date with this birthday. Who has it on 29 February was born in a leap year.
fn born(index: usize, birthday: NaiveDate) -> NaiveDate {
    let age = 18 + (index * 11 % 67) as i32;
    (age..age + 8).find_map(|age| birthday.with_year(birthday.year() - age)).unwrap_or(birthday)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn schedule() -> Schedule {
        Schedule::of_kinds(&[BIRTHDAY])
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("an instant")
    }

    fn cast(now: DateTime<Utc>, size: u16, minutes: u8) -> Cast {
        Cast::new(now, size, minutes, &schedule())
    }

    #[test]
    fn the_same_instant_gives_the_same_people() {
        let now = at("2026-11-24T08:12:34Z");
        assert_eq!(cast(now, 36, 2), cast(now, 36, 2));
    }

    #[test]
    fn four_were_due_and_four_are_in_each_of_the_next_minutes() {
        let cast = cast(at("2026-11-24T08:12:34Z"), 36, 2);
        assert_eq!(cast.people.len(), 36);
        assert_eq!(cast.time_zones(), 36);
        let due: Vec<_> =
            cast.celebrating().map(|(_, due)| due.due_at.format("%H:%M:%S").to_string()).collect();
        let expected = ["08:09:00", "08:10:00", "08:11:00", "08:12:00"].into_iter();
        let expected = expected.chain(["08:13:00"; 4]).chain(["08:14:00"; 4]);
        assert!(due.iter().eq(expected), "{due:?}");
    }

    #[test]
    fn a_minute_that_is_about_to_begin_is_left_out() {
        let cast = cast(at("2026-11-24T08:12:55Z"), 36, 1);
        let last = cast.celebrating().last().map(|(_, due)| due.due_at);
        assert_eq!(last, Some(at("2026-11-24T08:14:00Z")));
    }

    #[test]
    fn fewer_people_than_birthdays_all_have_one() {
        assert_eq!(cast(at("2026-11-24T08:12:34Z"), 3, 2).celebrating().count(), 3);
    }

    /// Over New Year, a leap day, both changes of the clock on both hemispheres, and every hour of a day.
    #[test]
    fn whenever_the_demo_runs_a_dozen_are_due_and_nobody_else_within_two_days() {
        let schedule = schedule();
        let starts = [
            "2026-11-24T00:00:00Z",
            "2026-12-31T00:00:07Z",
            "2028-02-28T12:00:01Z",
            "2028-02-29T12:00:01Z",
            "2027-02-28T00:00:59Z",
            "2026-03-08T00:00:30Z",
            "2026-03-29T00:00:30Z",
            "2026-10-25T00:00:30Z",
            "2026-11-01T00:00:30Z",
            "2027-04-03T12:00:30Z",
        ];
        for start in starts {
            for step in 0..(36 * 60 / 23) {
                let now = at(start) + TimeDelta::minutes(step * 23);
                let cast = cast(now, 36, 2);
                assert_eq!(cast.celebrating().count(), 12, "at {now}");
                let names: HashSet<_> = cast.people.iter().map(Person::full_name).collect();
                assert_eq!(names.len(), 36, "at {now}");
                for person in &cast.people {
                    assert!(person.birth_date < now.date_naive() - Days::new(17 * 365), "{person:?}");
                    assert_eq!(events(&schedule, person, now), person.due.as_slice(), "{person:?} at {now}");
                }
            }
        }
    }

    /// What planning makes of a person, from two days back to two days ahead.
    fn events(schedule: &Schedule, person: &Person, now: DateTime<Utc>) -> Vec<Occurrence> {
        let date = person.birth_date;
        let occasion = Occasion {
            user_id: Uuid::nil(),
            kind: BIRTHDAY.to_owned(),
            date: date.to_string().parse().expect("a date"),
            time_zone: Zone::parse(person.time_zone).expect("a zone"),
            send_at: person.send_at,
            leap_day: None,
            known_at: now,
        };
        let near = now - TimeDelta::days(2)..now + TimeDelta::days(2);
        (now.year() - 1..=now.year() + 1)
            .filter_map(|year| schedule.event(&occasion, year))
            .map(|event| event.occurrence)
            .filter(|occurrence| near.contains(&occurrence.due_at))
            .collect()
    }

    #[test]
    fn every_candidate_has_a_zone_that_exists_and_a_name_of_its_own() {
        let cast = cast(at("2026-11-24T08:12:34Z"), MAX_PEOPLE, 2);
        let names: HashSet<_> = cast.people.iter().map(Person::full_name).collect();
        assert_eq!(names.len(), usize::from(MAX_PEOPLE));
        assert!(cast.people.iter().all(|person| Zone::parse(person.time_zone).is_ok()));
    }
}
