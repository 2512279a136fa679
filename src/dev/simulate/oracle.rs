//! When somebody must be greeted, found by looking at the clock on the wall there.
//!
//! The calendar goes from a local reading to an instant. This goes the other way only, from instants to readings
//! ([`Zone::local`]): it walks through the hours around a day, finds where the clock jumps, and sees when it shows the
//! send time. So a mistake in the one is not repeated in the other. (That the zone data itself is right is proved
//! elsewhere, against second sources.)

use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};

use crate::calendar::{AnnualDate, LeapDay, Rule, SendAt, Zone};

/// More than any clock on earth is off UTC.
const SPAN: TimeDelta = TimeDelta::hours(16);

/// When a greeting must be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    /// UTC.
    pub(super) at: DateTime<Utc>,
    /// What the calendar on the wall shows then.
    pub(super) local_date: NaiveDate,
    /// Why it is not simply "that date, that time".
    pub(super) rule: Option<Rule>,
}

/// A stretch of time in which the clock does not jump.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    offset: TimeDelta,
}

impl Stretch {
    fn shows(&self, reading: NaiveDateTime) -> Option<DateTime<Utc>> {
        let at = (reading - self.offset).and_utc();
        (self.from <= at && at < self.until).then_some(at)
    }
}

/// When `date` must be greeted in `year`; none for a 29 February that the rule leaves out.
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
        let stretches = stretches(zone, wanted.and_utc() - SPAN, wanted.and_utc() + SPAN);
        let mut shown = stretches.iter().filter_map(|stretch| stretch.shows(wanted));
        if let Some(at) = shown.next() {
            let clock_rule = shown.next().map(|_| Rule::Overlap);
            let moved = rule.filter(|rule| *rule == Rule::MissingDate);
            return Some(Due { at, local_date: day, rule: moved.or(clock_rule).or(rule) });
        }
        let jump = stretches.windows(2).find_map(|pair| {
            let [before, after] = pair else { return None };
            let (last, first) =
                ((before.until + before.offset).naive_utc(), (after.from + after.offset).naive_utc());
            (last <= wanted && wanted < first).then_some((before.until, last, first))
        });
        let (at, last, first) = jump?;
        let next = day.checked_add_days(Days::new(1))?;
        if last <= day.and_time(NaiveTime::MIN) && first >= next.and_time(NaiveTime::MIN) {
            (day, rule) = (next, Some(Rule::MissingDate));
            continue;
        }
        let at = at + (wanted - last);
        let moved = rule.filter(|rule| *rule == Rule::MissingDate);
        return Some(Due { at, local_date: zone.local(at).date(), rule: moved.or(Some(Rule::Gap)) });
    }
}

/// When `day` is over for good in `zone`.
pub(super) fn day_over(zone: Zone, day: NaiveDate) -> DateTime<Utc> {
    let midnight = day.and_time(NaiveTime::MIN).and_utc();
    let next = midnight + TimeDelta::days(1);
    let parts = stretches(zone, midnight - SPAN, next + SPAN);
    let ends = parts.iter().filter_map(|part| {
        let end = part.until.min(next - part.offset);
        let begin = part.from.max(midnight - part.offset);
        (begin < end).then_some(end)
    });
    ends.max().unwrap_or(next)
}

/// Where the clock in `zone` jumps between two instants, if not back within a day: the instant, and what it shows just
/// before and just after.
pub(super) fn jumps(
    zone: Zone,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Vec<(DateTime<Utc>, NaiveDateTime, NaiveDateTime)> {
    let jump = |pair: &[Stretch]| match pair {
        [before, after] => Some((
            after.from,
            (after.from + before.offset).naive_utc(),
            (after.from + after.offset).naive_utc(),
        )),
        _ => None,
    };
    let offset = |at: DateTime<Utc>| zone.local(at) - at.naive_utc();
    let days = std::iter::successors(Some((from, offset(from))), |(at, _)| {
        let next = *at + TimeDelta::days(1);
        (next < until).then(|| (next, offset(next)))
    });
    let days: Vec<_> = days.collect();
    let changing = days.windows(2).filter(|pair| pair[0].1 != pair[1].1);
    let parts = changing.flat_map(|pair| {
        stretches(zone, pair[0].0, pair[1].0).windows(2).filter_map(jump).collect::<Vec<_>>()
    });
    parts.collect()
}

fn stretches(zone: Zone, from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<Stretch> {
    let offset = |at: DateTime<Utc>| zone.local(at) - at.naive_utc();
    let mut found = vec![Stretch { from, until, offset: offset(from) }];
    let mut at = from;
    while at < until {
        let next = at + TimeDelta::hours(1);
        let now = offset(next);
        if let Some(last) = found.last_mut()
            && now != last.offset
        {
            // Jumps are at whole minutes, and hours apart.
            let jump = (1..=60).map(|n| at + TimeDelta::minutes(n)).find(|at| offset(*at) == now);
            let jump = jump.unwrap_or(next);
            last.until = jump;
            found.push(Stretch { from: jump, until, offset: now });
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
    fn it_agrees_with_the_calendar_on_each_day_on_which_a_clock_jumps_and_on_a_plain_day() {
        let instant = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().to_utc();
        let (from, until) = (instant("2025-01-01T00:00:00Z"), instant("2028-01-01T00:00:00Z"));
        let plain = NaiveDate::from_ymd_opt(2026, 2, 28).unwrap();
        let mut rules = 0;
        for zone in Zone::all() {
            let jumps = jumps(zone, from, until);
            let days = jumps.iter().flat_map(|(_, before, after)| [before.date(), after.date()]);
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
                assert_eq!(day_over(zone, day), zone.local_day_ends_at(day), "{zone} on {day}");
            }
        }
        assert!(rules > 500, "{rules}");
    }

    #[test]
    fn samoas_lost_day_is_the_day_after() {
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
