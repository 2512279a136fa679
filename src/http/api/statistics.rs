//! `/v1/statistics`

use std::sync::Arc;

use axum::extract::State;
use chrono::{Datelike as _, NaiveDate};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::fields;
use super::problem::Problem;
use super::request::{Json, Query};
use crate::model::FieldError;
use crate::operations::statistics::{DateCounts, MAX_DAYS};
use crate::store::{BusyMinute, DayStatistics};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DayQuery {
    /// The date in the zones of the users (default: today in UTC)
    #[serde(deserialize_with = "fields::date")]
    date: Option<NaiveDate>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DaysQuery {
    /// The first date (default: 1 January of this year)
    #[serde(deserialize_with = "fields::date")]
    from: Option<NaiveDate>,
    /// The last date, at most 399 days later (default: 31 December of the year of `from`)
    #[serde(deserialize_with = "fields::date")]
    to: Option<NaiveDate>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DaysAnswer {
    #[schema(value_type = Vec<DateCounts>)]
    days: Arc<Vec<DateCounts>>,
    /// The minutes ahead with the most planned events, at most ten, the busiest first.
    #[schema(value_type = Vec<BusyMinute>)]
    busiest_minutes: Arc<Vec<BusyMinute>>,
}

/// Count the events of a date
///
/// The events of one local date in all zones, grouped by due instant, state, reason, channel and lateness; the percentiles of the lateness
/// of those delivered; and how many events of any date are due and pending. Events of deleted users are left out. The response may be
/// seconds old.
#[utoipa::path(
    get, path = "/v1/statistics", tag = "statistics", operation_id = "getStatistics",
    params(DayQuery),
    responses((status = 200, description = "The statistics", body = DayStatistics))
)]
pub(super) async fn day(
    State(api): State<Api>,
    Query(query): Query<DayQuery>,
) -> Result<Json<Arc<DayStatistics>>, Problem> {
    let statistics = match query.date {
        Some(date) => api.statistics.day(date).await?,
        None => api.statistics.today().await?,
    };
    Ok(Json(statistics))
}

/// Count the events of each date
///
/// The counts of past dates are stored and outlive the events: they include users who were deleted later. They are null until they are
/// stored, minutes after the date is over in every zone. `due` of dates ahead is the number of users' dates, with 29 February by
/// `plan.leap_day`.
#[utoipa::path(
    get, path = "/v1/statistics/days", tag = "statistics", operation_id = "listDays",
    params(DaysQuery),
    responses((status = 200, description = "The dates in order", body = DaysAnswer))
)]
pub(super) async fn days(
    State(api): State<Api>,
    Query(query): Query<DaysQuery>,
) -> Result<Json<DaysAnswer>, Problem> {
    let (from, to) = query.range(api.clock.now().date_naive())?;
    let days = api.statistics.days(from, to).await?;
    Ok(Json(DaysAnswer { days, busiest_minutes: api.statistics.busiest_minutes().await? }))
}

impl DaysQuery {
    fn range(&self, today: NaiveDate) -> Result<(NaiveDate, NaiveDate), Problem> {
        let day_of = |year, month, day| NaiveDate::from_ymd_opt(year, month, day).unwrap_or(today);
        let from = self.from.unwrap_or_else(|| day_of(today.year(), 1, 1));
        let to = self.to.unwrap_or_else(|| day_of(from.year(), 12, 31));
        let days = (to - from).num_days() + 1;
        if (1..=MAX_DAYS as i64).contains(&days) {
            return Ok((from, to));
        }
        let problem = format!("is {to}: expected a date from {from} to {} days later", MAX_DAYS - 1);
        Err(Problem::invalid_parameters(vec![FieldError::new("to", problem)]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_this_year_unless_it_is_given() {
        let date = |text: &str| text.parse::<NaiveDate>().expect("a date");
        let range = |from: Option<&str>, to: Option<&str>| {
            let query = DaysQuery { from: from.map(date), to: to.map(date) };
            query.range(date("2026-11-24")).ok().map(|(from, to)| format!("{from} {to}"))
        };
        assert_eq!(range(None, None).as_deref(), Some("2026-01-01 2026-12-31"));
        assert_eq!(range(Some("2027-03-01"), None).as_deref(), Some("2027-03-01 2027-12-31"));
        assert_eq!(range(Some("2026-01-01"), Some("2027-02-04")).as_deref(), Some("2026-01-01 2027-02-04"));
        assert_eq!(range(Some("2026-01-01"), Some("2027-02-05")), None);
        assert_eq!(range(Some("2026-01-02"), Some("2026-01-01")), None);
        assert_eq!(range(None, Some("2025-12-31")), None);
    }
}
