//! Sample people for one instant.

use std::collections::HashSet;
use std::fmt::Write as _;

use chrono::{DateTime, Datelike, Days, DurationRound as _, NaiveDate, TimeDelta, Timelike, Utc};
use uuid::Uuid;

use super::names::NAMES;
use crate::calendar::{AnnualDate, Occurrence, SendAt, Zone};
use crate::model::{BIRTHDAY, ChannelName, EventState, Occasion, Schedule};

pub const MAX_PEOPLE: u16 = (NAMES.len() * NAMES.len()) as u16;

const DUE_PER_MINUTE: usize = 4;
/// A minute that begins sooner is skipped: the people must be imported and the daemon must have started before it.
const MIN_LEAD: TimeDelta = TimeDelta::seconds(5);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SamplePerson {
    pub external_id: String,
    pub first_name: &'static str,
    pub last_name: &'static str,
    pub time_zone: &'static str,
    pub birth_date: NaiveDate,
    pub send_at: Option<SendAt>,
    /// The channel that reaches this person.
    pub channel: ChannelName,
    /// `Some` for those who have their birthday now.
    pub due: Option<Occurrence>,
}

impl SamplePerson {
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{} {}", self.first_name, self.last_name)
    }

    /// Returns the address of a person who is reached by mail.
    #[must_use]
    pub fn email(&self) -> Option<String> {
        (self.channel == ChannelName::Mail).then(|| format!("{}@example.org", self.external_id))
    }

    /// Returns the Slack id of a person who is reached by Slack.
    #[must_use]
    pub fn slack_user_id(&self) -> Option<String> {
        (self.channel == ChannelName::Slack)
            .then(|| format!("U0{}", self.external_id.replace('-', "").to_uppercase()))
    }

    /// Returns the birthday as it is planned if the person is written at `now`.
    fn occasion(&self, now: DateTime<Utc>) -> Option<Occasion> {
        let date = self.birth_date;
        Some(Occasion {
            user_id: Uuid::nil(),
            kind: BIRTHDAY.to_owned(),
            date: AnnualDate::new(Some(date.year()), date.month(), date.day()).ok()?,
            time_zone: Zone::parse(self.time_zone).ok()?,
            send_at: self.send_at,
            leap_day: None,
            known_at: now,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SamplePeople {
    /// Those who have their birthday come first, in the order in which they are due.
    pub people: Vec<SamplePerson>,
}

impl SamplePeople {
    /// Returns `size` people, at most [`MAX_PEOPLE`], to be written at `now`. Four were due in the minutes up to `now`, and four
    /// are due in each of the next `minutes` minutes, as far as `size` allows; the others not within three days. One after the other,
    /// they are reached by one of `channels`.
    #[must_use]
    pub fn new(
        now: DateTime<Utc>,
        size: u16,
        minutes: u8,
        schedule: &Schedule,
        channels: &[ChannelName],
    ) -> Self {
        let size = usize::from(size.min(MAX_PEOPLE));
        let mut remaining: Vec<usize> = (0..size).collect();
        let mut people = Vec::with_capacity(size);
        for due_at in due_instants(now, minutes).into_iter().take(size) {
            // Not every zone has a send time for every instant: it may be in an overlap, or the last minute of a past day.
            let found = remaining.iter().enumerate().find_map(|(position, index)| {
                Some((position, with_birthday(*index, now, due_at, schedule)?))
            });
            if let Some((position, person)) = found {
                remaining.remove(position);
                people.push(person);
            }
        }
        people.extend(remaining.into_iter().map(|index| without_birthday(index, size, now.date_naive())));
        for (person, channel) in people.iter_mut().zip(channels.iter().cycle()) {
            person.channel = *channel;
        }
        Self { people }
    }

    pub fn celebrating(&self) -> impl Iterator<Item = (&SamplePerson, Occurrence)> {
        self.people.iter().filter_map(|person| Some((person, person.due?)))
    }

    #[must_use]
    pub fn time_zones(&self) -> usize {
        self.people.iter().map(|person| person.time_zone).collect::<HashSet<_>>().len()
    }

    /// For `bday user import`.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut csv =
            "external_id,first_name,last_name,birth_date,time_zone,send_at,email,slack_user_id\n".to_owned();
        for person in &self.people {
            let SamplePerson { external_id, first_name, last_name, birth_date, time_zone, .. } = person;
            let send_at = person.send_at.map(|at| at.to_string()).unwrap_or_default();
            let email = person.email().unwrap_or_default();
            let slack = person.slack_user_id().unwrap_or_default();
            let _ = writeln!(
                csv,
                "{external_id},{first_name},{last_name},{birth_date},{time_zone},{send_at},{email},{slack}"
            );
        }
        csv
    }
}

/// Returns the due instants in order. All zones are whole minutes from UTC today, so a minute of UTC is a minute everywhere.
fn due_instants(now: DateTime<Utc>, minutes: u8) -> Vec<DateTime<Utc>> {
    let minute = TimeDelta::minutes(1);
    let current = now.duration_trunc(minute).unwrap_or(now);
    let past = (0..DUE_PER_MINUTE as i32).rev().map(|back| current - minute * back);
    let mut next = current + minute;
    if next - now < MIN_LEAD {
        next += minute;
    }
    let future = (0..i32::from(minutes)).flat_map(|ahead| [next + minute * ahead; DUE_PER_MINUTE]);
    past.chain(future).collect()
}

/// Returns the person with that index, due at exactly `due_at` if written at `now`; `None` where the zone does not allow it.
fn with_birthday(
    index: usize,
    now: DateTime<Utc>,
    due_at: DateTime<Utc>,
    schedule: &Schedule,
) -> Option<SamplePerson> {
    let mut person = named(index);
    let local = Zone::parse(person.time_zone).ok()?.local(due_at);
    person.birth_date = birth_date(index, local.date());
    person.send_at = SendAt::from_minutes((local.hour() * 60 + local.minute()) as i16);
    let event = schedule.event(&person.occasion(now)?, local.year())?;
    person.due = Some(event.occurrence);
    (event.state == EventState::Pending && event.occurrence.due_at == due_at).then_some(person)
}

/// Returns the person with that index, with a birthday at least three days before and after `today`.
fn without_birthday(index: usize, size: usize, today: NaiveDate) -> SamplePerson {
    let mut person = named(index);
    let ahead = 3 + index as u64 * 358 / size as u64;
    person.birth_date = birth_date(index, today.checked_add_days(Days::new(ahead)).unwrap_or(today));
    person
}

/// Indexes above the number of names combine first names with other family names.
fn named(index: usize) -> SamplePerson {
    let count = NAMES.len();
    let (first_name, _, time_zone) = NAMES[index % count];
    let (_, last_name, _) = NAMES[(index + index / count) % count];
    SamplePerson {
        external_id: format!("demo-{:03}", index + 1),
        first_name,
        last_name,
        time_zone,
        birth_date: NaiveDate::default(),
        send_at: None,
        channel: ChannelName::Webhook,
        due: None,
    }
}

/// Returns an adult's birth date with this birthday, in a leap year for 29 February.
fn birth_date(index: usize, birthday: NaiveDate) -> NaiveDate {
    let age = 18 + (index * 11 % 67) as i32;
    (age..age + 8).find_map(|age| birthday.with_year(birthday.year() - age)).unwrap_or(birthday)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNELS: [ChannelName; 3] = [ChannelName::Mail, ChannelName::Slack, ChannelName::Webhook];

    fn schedule() -> Schedule {
        Schedule::of_kinds(&[BIRTHDAY])
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a valid instant")
    }

    fn sample(now: DateTime<Utc>, size: u16, minutes: u8) -> SamplePeople {
        SamplePeople::new(now, size, minutes, &schedule(), &CHANNELS)
    }

    #[test]
    fn the_same_instant_gives_the_same_people() {
        let now = at("2026-11-24T08:12:34Z");
        assert_eq!(sample(now, 36, 2), sample(now, 36, 2));
    }

    #[test]
    fn four_people_were_due_and_four_are_due_in_each_of_the_next_minutes() {
        let sample = sample(at("2026-11-24T08:12:34Z"), 36, 2);
        assert_eq!(sample.people.len(), 36);
        assert_eq!(sample.time_zones(), 36);
        let due: Vec<_> =
            sample.celebrating().map(|(_, due)| due.due_at.format("%H:%M:%S").to_string()).collect();
        let expected = ["08:09:00", "08:10:00", "08:11:00", "08:12:00"].into_iter();
        let expected = expected.chain(["08:13:00"; 4]).chain(["08:14:00"; 4]);
        assert!(due.iter().eq(expected), "{due:?}");
    }

    #[test]
    fn a_minute_that_is_about_to_begin_is_skipped() {
        let sample = sample(at("2026-11-24T08:12:56Z"), 36, 1);
        let last = sample.celebrating().last().map(|(_, due)| due.due_at);
        assert_eq!(last, Some(at("2026-11-24T08:14:00Z")));
    }

    #[test]
    fn each_channel_reaches_a_third_of_the_people_and_nobody_has_two_addresses() {
        let sample = sample(at("2026-11-24T08:12:34Z"), 36, 1);
        let first: Vec<_> = sample.celebrating().map(|(person, _)| person.channel).take(4).collect();
        assert_eq!(first, [CHANNELS[0], CHANNELS[1], CHANNELS[2], CHANNELS[0]]);
        for person in &sample.people {
            let addresses = (person.email().is_some(), person.slack_user_id().is_some());
            assert_eq!(addresses, (person.channel == CHANNELS[0], person.channel == CHANNELS[1]));
        }
        assert_eq!(sample.people.iter().filter(|person| person.channel == CHANNELS[1]).count(), 12);
        let line = sample.csv().lines().nth(2).expect("a second person").to_owned();
        assert!(line.ends_with(",,U0DEMO002"), "{line}");
    }

    #[test]
    fn a_small_sample_consists_of_birthdays_only() {
        assert_eq!(sample(at("2026-11-24T08:12:34Z"), 3, 2).celebrating().count(), 3);
    }

    /// Covers New Year, a leap day, both clock changes on both hemispheres, and every hour of a day.
    #[test]
    fn at_any_time_twelve_people_are_due_and_no_others_within_two_days() {
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
                let sample = sample(now, 36, 2);
                assert_eq!(sample.celebrating().count(), 12, "at {now}");
                let names: HashSet<_> = sample.people.iter().map(SamplePerson::full_name).collect();
                assert_eq!(names.len(), 36, "at {now}");
                for person in &sample.people {
                    assert!(person.birth_date < now.date_naive() - Days::new(17 * 365), "{person:?}");
                    assert_eq!(events(&schedule, person, now), person.due.as_slice(), "{person:?} at {now}");
                }
            }
        }
    }

    /// Plans a person's occurrences from two days before to two days after `now`.
    fn events(schedule: &Schedule, person: &SamplePerson, now: DateTime<Utc>) -> Vec<Occurrence> {
        let occasion = person.occasion(now).expect("a valid date and zone");
        let near = now - TimeDelta::days(2)..now + TimeDelta::days(2);
        (now.year() - 1..=now.year() + 1)
            .filter_map(|year| schedule.event(&occasion, year))
            .map(|event| event.occurrence)
            .filter(|occurrence| near.contains(&occurrence.due_at))
            .collect()
    }

    #[test]
    fn every_person_has_a_known_zone_and_a_unique_name() {
        let sample = sample(at("2026-11-24T08:12:34Z"), MAX_PEOPLE, 2);
        let names: HashSet<_> = sample.people.iter().map(SamplePerson::full_name).collect();
        assert_eq!(names.len(), usize::from(MAX_PEOPLE));
        assert!(sample.people.iter().all(|person| Zone::parse(person.time_zone).is_ok()));
    }
}
