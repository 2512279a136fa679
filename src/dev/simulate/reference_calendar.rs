//! An independent calendar, which finds a due instant by reading the local clock ([`Zone::local`]).
//!
//! The calendar under test converts local times to instants. This one only converts instants to local times: it reads the
//! hours around a day, finds where the UTC offset changes, and when the clock shows the send time. The zone data itself is
//! verified by other tests.

use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};

use crate::calendar::{AnnualDate, LeapDay, Rule, SendAt, Zone};

/// More than the largest UTC offset.
const MAX_OFFSET: TimeDelta = TimeDelta::hours(16);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) at: DateTime<Utc>,
    pub(super) local_date: NaiveDate,
    /// The rule for a date or send time that does not exist or occurs twice.
    pub(super) rule: Option<Rule>,
}

#[derive(Debug, Clone, Copy)]
struct OffsetPeriod {
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    offset: TimeDelta,
}

impl OffsetPeriod {
    fn instant_of(&self, local: NaiveDateTime) -> Option<DateTime<Utc>> {
        let at = (local - self.offset).and_utc();
        (self.from <= at && at < self.until).then_some(at)
    }
}

/// A change of the UTC offset: the local times just before and just after it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClockChange {
    pub(super) at: DateTime<Utc>,
    pub(super) before: NaiveDateTime,
    pub(super) after: NaiveDateTime,
}

impl ClockChange {
    fn between(before: &OffsetPeriod, after: &OffsetPeriod) -> Self {
        let local = |offset: TimeDelta| (after.from + offset).naive_utc();
        Self { at: after.from, before: local(before.offset), after: local(after.offset) }
    }
}

/// Returns the due instant of `date` in `year`; `None` for 29 February if the rule skips it.
pub(super) fn due(
    date: AnnualDate,
    year: i32,
    send_at: SendAt,
    zone: Zone,
    leap_day: LeapDay,
) -> Option<Due> {
    let in_year = NaiveDate::from_ymd_opt(year, date.month(), date.day());
    let (mut day, mut rule) = match (in_year, leap_day) {
        (Some(day), _) => (day, None),
        (None, LeapDay::Feb28) => (NaiveDate::from_ymd_opt(year, 2, 28)?, Some(Rule::LeapDay)),
        (None, LeapDay::Mar1) => (NaiveDate::from_ymd_opt(year, 3, 1)?, Some(Rule::LeapDay)),
        (None, LeapDay::LeapYearsOnly) => return None,
    };
    loop {
        let wanted = day.and_time(send_at.time());
        let periods = periods(zone, wanted.and_utc() - MAX_OFFSET, wanted.and_utc() + MAX_OFFSET);
        let mut instants = periods.iter().filter_map(|period| period.instant_of(wanted));
        let missing_date = rule.filter(|rule| *rule == Rule::MissingDate);
        if let Some(at) = instants.next() {
            let overlap = instants.next().map(|_| Rule::Overlap);
            return Some(Due { at, local_date: day, rule: missing_date.or(overlap).or(rule) });
        }
        let gap = changes(&periods).find(|change| change.before <= wanted && wanted < change.after)?;
        let next = day.checked_add_days(Days::new(1))?;
        if gap.before <= day.and_time(NaiveTime::MIN) && gap.after >= next.and_time(NaiveTime::MIN) {
            (day, rule) = (next, Some(Rule::MissingDate));
            continue;
        }
        let at = gap.at + (wanted - gap.before);
        return Some(Due { at, local_date: zone.local(at).date(), rule: missing_date.or(Some(Rule::Gap)) });
    }
}

/// Returns the last instant at which `day` ends in `zone`.
pub(super) fn day_ends_at(zone: Zone, day: NaiveDate) -> DateTime<Utc> {
    let midnight = day.and_time(NaiveTime::MIN).and_utc();
    let next = midnight + TimeDelta::days(1);
    let periods = periods(zone, midnight - MAX_OFFSET, next + MAX_OFFSET);
    let ends = periods.iter().filter_map(|period| {
        let end = period.until.min(next - period.offset);
        let begin = period.from.max(midnight - period.offset);
        (begin < end).then_some(end)
    });
    ends.max().unwrap_or(next)
}

/// Skips changes that are reversed within a day.
pub(super) fn clock_changes(zone: Zone, from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<ClockChange> {
    let offsets = std::iter::successors(Some(from), |at| Some(*at + TimeDelta::days(1)))
        .take_while(|at| *at < until)
        .map(|at| (at, offset(zone, at)));
    let days: Vec<_> = offsets.collect();
    let changed = days.windows(2).filter(|pair| pair[0].1 != pair[1].1);
    changed.flat_map(|pair| changes(&periods(zone, pair[0].0, pair[1].0)).collect::<Vec<_>>()).collect()
}

fn changes(periods: &[OffsetPeriod]) -> impl Iterator<Item = ClockChange> {
    periods.windows(2).map(|pair| ClockChange::between(&pair[0], &pair[1]))
}

fn offset(zone: Zone, at: DateTime<Utc>) -> TimeDelta {
    zone.local(at) - at.naive_utc()
}

fn periods(zone: Zone, from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<OffsetPeriod> {
    let mut found = vec![OffsetPeriod { from, until, offset: offset(zone, from) }];
    let mut at = from;
    while at < until {
        let next = at + TimeDelta::hours(1);
        let new = offset(zone, next);
        if let Some(last) = found.last_mut()
            && new != last.offset
        {
            // Changes are at whole minutes, and hours apart.
            let mut minutes = (1..=60).map(|n| at + TimeDelta::minutes(n));
            let change = minutes.find(|at| offset(zone, *at) == new).unwrap_or(next);
            last.until = change;
            found.push(OffsetPeriod { from: change, until, offset: new });
        }
        at = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use chrono::Datelike as _;

    use super::*;
    use crate::calendar;

    #[test]
    fn it_agrees_with_the_calendar_on_each_day_with_a_clock_change() {
        let instant = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().to_utc();
        let (from, until) = (instant("2025-01-01T00:00:00Z"), instant("2028-01-01T00:00:00Z"));
        let plain = NaiveDate::from_ymd_opt(2026, 2, 28).unwrap();
        let mut rules = 0;
        for zone in Zone::all() {
            let changes = clock_changes(zone, from, until);
            let days = changes.iter().flat_map(|change| [change.before.date(), change.after.date()]);
            for day in days.chain([plain]) {
                let date = AnnualDate::new(None, day.month(), day.day()).unwrap();
                for send_at in
                    ["00:00", "00:30", "01:30", "02:30", "09:00", "23:30"].map(|text| text.parse().unwrap())
                {
                    let found = due(date, day.year(), send_at, zone, LeapDay::Feb28).unwrap();
                    let expected =
                        calendar::occurrence(date, day.year(), send_at, zone, LeapDay::Feb28).unwrap();
                    let expected = (expected.due_at, expected.local_date, expected.rule);
                    assert_eq!(
                        (found.at, found.local_date, found.rule),
                        expected,
                        "{zone} on {day} at {send_at}"
                    );
                    rules += usize::from(found.rule.is_some());
                }
                assert_eq!(day_ends_at(zone, day), zone.local_day_ends_at(day), "{zone} on {day}");
            }
        }
        assert!(rules > 500, "{rules} rules applied");
    }

    #[test]
    fn the_date_that_samoa_skipped_is_greeted_on_the_next_day() {
        let date = "1990-12-30".parse().unwrap();
        let found =
            due(date, 2011, SendAt::default(), "Pacific/Apia".parse().unwrap(), LeapDay::Feb28).unwrap();
        assert_eq!(
            (found.local_date.to_string().as_str(), found.rule),
            ("2011-12-31", Some(Rule::MissingDate))
        );
        assert_eq!(found.at.to_rfc3339(), "2011-12-30T19:00:00+00:00");
    }
}
