use std::cmp::Reverse;
use std::collections::BinaryHeap;

use chrono::{DateTime, Datelike as _, Days, NaiveDate, TimeDelta, Utc};

use super::{Day, Minute, midnight};
use crate::model::{Occasion, Schedule, first_year, nominal_date};

const MINUTES_A_DAY: usize = 24 * 60;
/// More than the UTC date of an occasion can differ from its nominal date.
const MAX_SHIFT: Days = Days::new(4);

#[derive(Debug)]
pub(super) struct Counts {
    from: NaiveDate,
    minutes: Vec<u32>,
}

/// Returns the instant at which the planner would make `occasion` due in that year.
pub(super) fn due_at(schedule: &Schedule, occasion: &Occasion, local_year: i32) -> Option<DateTime<Utc>> {
    if first_year(&occasion.kind, occasion.date).is_some_and(|first| first > local_year) {
        return None;
    }
    schedule.occurrence(occasion, local_year).map(|found| found.due_at)
}

impl Counts {
    pub(super) fn new(from: NaiveDate, days: u32) -> Self {
        Self { from, minutes: vec![0; days as usize * MINUTES_A_DAY] }
    }

    fn until(&self) -> NaiveDate {
        let days = (self.minutes.len() / MINUTES_A_DAY) as u64;
        self.from.checked_add_days(Days::new(days)).unwrap_or(NaiveDate::MAX)
    }

    /// Returns how many greetings it has added.
    pub(super) fn add(&mut self, schedule: &Schedule, occasion: &Occasion, users: u64) -> u64 {
        let mut added = 0;
        let (from, until) = (self.from, self.until());
        for year in from.year() - 1..=until.year() + 1 {
            let nominal = nominal_date(occasion.date, year);
            if nominal + MAX_SHIFT < from || nominal > until + MAX_SHIFT {
                continue;
            }
            let Some(due_at) = due_at(schedule, occasion, year) else {
                continue;
            };
            let minute = (due_at - midnight(from)).num_seconds().div_euclid(60);
            if let Some(count) = usize::try_from(minute).ok().and_then(|minute| self.minutes.get_mut(minute))
            {
                *count = count.saturating_add(users as u32);
                added += users;
            }
        }
        added
    }

    pub(super) fn per_day(&self) -> Vec<Day> {
        let days = self.minutes.chunks(MINUTES_A_DAY).map(|day| day.iter().copied().map(u64::from).sum());
        self.from.iter_days().zip(days).map(|(date, due)| Day { date, due }).collect()
    }

    /// Returns the `n` busiest minutes, without zones; of equal minutes the earlier.
    pub(super) fn busiest(&self, n: usize) -> Vec<Minute> {
        let mut heap = BinaryHeap::with_capacity(n + 1);
        for (minute, due) in self.minutes.iter().enumerate().filter(|(_, due)| **due > 0) {
            heap.push(Reverse((*due, Reverse(minute))));
            if heap.len() > n {
                heap.pop();
            }
        }
        let sorted = heap.into_sorted_vec();
        sorted
            .into_iter()
            .map(|Reverse((due, Reverse(minute)))| Minute {
                at: midnight(self.from) + TimeDelta::minutes(minute as i64),
                due: u64::from(due),
                zones: Vec::new(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_minutes_come_first_and_equal_ones_in_order() {
        let from = NaiveDate::from_ymd_opt(2026, 1, 1).unwrap();
        let mut counts = Counts::new(from, 1);
        for (minute, due) in [(5, 1), (10, 3), (20, 3), (30, 9)] {
            counts.minutes[minute] = due;
        }
        let found: Vec<(i64, u64)> = counts
            .busiest(3)
            .iter()
            .map(|minute| ((minute.at - midnight(from)).num_minutes(), minute.due))
            .collect();
        assert_eq!(found, [(30, 9), (10, 3), (20, 3)]);
        assert_eq!(counts.per_day(), [Day { date: from, due: 16 }]);
    }
}
