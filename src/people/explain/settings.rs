use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use sqlx::types::Json;

use crate::calendar::Occurrence;
use crate::config::Config;
use crate::model::{Occasion, Schedule};
use crate::store::Routes;

#[derive(Debug, Clone)]
pub struct ExplainSettings {
    pub schedule: Schedule,
    /// `plan.horizon_secs`
    pub horizon: Duration,
    /// `late.max_secs`
    pub late_max: Duration,
    /// The channels of each kind; none if every kind uses the webhook alone.
    pub routes: Option<Routes>,
}

impl ExplainSettings {
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            schedule: config.schedule(),
            horizon: config.plan.horizon,
            late_max: config.late.max,
            routes: config.routes().map(Json),
        }
    }

    /// Returns the instant from which the nominal date `day` is planned: the horizon and a day before its midnight in UTC, since
    /// some zone is a day ahead of UTC.
    #[must_use]
    pub fn planned_from(&self, day: NaiveDate) -> Option<DateTime<Utc>> {
        let reached = day.checked_sub_days(Days::new(1))?.and_time(NaiveTime::MIN).and_utc();
        reached.checked_sub_signed(TimeDelta::from_std(self.horizon).ok()?)
    }

    pub(super) fn describe_rule(&self, (occasion, occurrence): &(Occasion, Occurrence)) -> Option<String> {
        let leap_day = occasion.leap_day.unwrap_or(self.schedule.leap_day);
        occurrence.describe_rule(occasion.date, self.schedule.send_at(occasion)?, leap_day)
    }
}
