//! `/v1/forecast`

use std::sync::Arc;

use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use tokio::sync::{Mutex, Semaphore};
use utoipa::IntoParams;

use super::Api;
use super::fields::Number;
use super::problem::Problem;
use super::request::{Json, Query};
use crate::people::forecast::{self, DEFAULT_DAYS, Forecast, MAX_DAYS};

/// How long a forecast is reused: each new one reads all users.
const MAX_AGE: TimeDelta = TimeDelta::minutes(1);

/// Concurrent requests for a forecast. One computes it, the others wait for the result. More get 503, so that they do not take every
/// request slot while the database is slow.
const MAX_REQUESTS: usize = 4;

/// The latest forecast, which one request at a time computes.
#[derive(Debug)]
pub(super) struct ForecastCache {
    requests: Semaphore,
    latest: Mutex<Option<CachedForecast>>,
}

impl Default for ForecastCache {
    fn default() -> Self {
        Self { requests: Semaphore::new(MAX_REQUESTS), latest: Mutex::default() }
    }
}

#[derive(Debug)]
struct CachedForecast {
    at: DateTime<Utc>,
    days: u32,
    forecast: Arc<Forecast>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ForecastQuery {
    /// Number of days (default 366)
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1830)]
    days: Option<Number<MAX_DAYS>>,
}

/// Forecast the load
///
/// Greetings due per UTC day, including all of today, and the busiest minutes, computed from the present users. The response may be a
/// minute old.
#[utoipa::path(
    get, path = "/v1/forecast", tag = "events", operation_id = "forecast",
    params(ForecastQuery),
    responses((status = 200, description = "The forecast", body = Forecast))
)]
pub(super) async fn forecast(
    State(api): State<Api>,
    Query(query): Query<ForecastQuery>,
) -> Result<Json<Arc<Forecast>>, Problem> {
    let days = query.days.map_or(DEFAULT_DAYS, |Number(days)| days);
    let cache = &api.forecasts;
    let _permit = cache.requests.try_acquire().map_err(|_| Problem::too_many_forecasts(MAX_REQUESTS))?;
    let mut latest = cache.latest.lock().await;
    let now = api.clock.now();
    let is_fresh = |cached: &&CachedForecast| {
        cached.days == days && now - cached.at < MAX_AGE && cached.forecast.from == now.date_naive()
    };
    if let Some(cached) = latest.as_ref().filter(is_fresh) {
        return Ok(Json(Arc::clone(&cached.forecast)));
    }
    let forecast = Arc::new(forecast::forecast(&api.store, &api.schedule, api.routes(), now, days).await?);
    *latest = Some(CachedForecast { at: now, days, forecast: Arc::clone(&forecast) });
    Ok(Json(forecast))
}
