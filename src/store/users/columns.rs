use std::fmt::Display;

use chrono::{NaiveTime, Timelike as _};
use uuid::Uuid;

use crate::calendar::{AnnualDate, LeapDay, SendAt, Zone};
use crate::store::{Result, StoreError};

pub(super) fn unreadable(user: Uuid, problem: impl Display) -> StoreError {
    StoreError::Unreadable(format!("user {user}: {problem}"))
}

pub(super) fn date(year: Option<i16>, month: i16, day: i16) -> Result<AnnualDate> {
    AnnualDate::new(year.map(i32::from), month as u32, day as u32)
        .map_err(|error| StoreError::Unreadable(error.to_string()))
}

pub(super) fn zone(user: Uuid, name: &str) -> Result<Zone> {
    Zone::parse(name).map_err(|error| unreadable(user, error))
}

pub(super) fn send_at(user: Uuid, time: Option<NaiveTime>) -> Result<Option<SendAt>> {
    let Some(time) = time else {
        return Ok(None);
    };
    let send_at = SendAt::from_minutes((time.hour() * 60 + time.minute()) as i16);
    let invalid = || unreadable(user, format_args!("the send time {time} is not in a day"));
    send_at.ok_or_else(invalid).map(Some)
}

pub(super) fn leap_day(user: Uuid, rule: Option<&str>) -> Result<Option<LeapDay>> {
    rule.map(str::parse).transpose().map_err(|error| unreadable(user, error))
}
