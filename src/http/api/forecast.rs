//! `/v1/forecast`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{Mutex, Semaphore};

use super::Api;
use super::problem::Problem;
use super::request::Parameters;
use crate::people::forecast::{self, DEFAULT_DAYS, Forecast, MAX_DAYS};

/// For so long an answer is given again: each new one reads all users.
const FRESH: TimeDelta = TimeDelta::minutes(1);

/// Requests for a forecast at once. One computes, the others wait for it; more are answered 503, so that they do not take every
/// place for requests while the database is slow.
pub(super) const MAX_FORECASTS: usize = 4;

/// The latest answer. There is one computation at a time.
#[derive(Debug)]
pub(super) struct Latest {
    places: Semaphore,
    computed: Mutex<Option<Computed>>,
}

impl Default for Latest {
    fn default() -> Self {
        Self { places: Semaphore::new(MAX_FORECASTS), computed: Mutex::default() }
    }
}

#[derive(Debug)]
struct Computed {
    at: DateTime<Utc>,
    days: u32,
    found: Arc<Forecast>,
}

/// How much is due when in the time ahead
///
/// Greetings due per UTC day, today as a whole included, and the busiest minutes. Computed from the people there are now;
/// an answer may be a minute old.
#[utoipa::path(
    get, path = "/v1/forecast", tag = "events", operation_id = "forecast",
    params(("days" = Option<u32>, Query, description = "How many days [366]", minimum = 1, maximum = 1830)),
    responses(
        (status = 200, description = "The forecast", body = Forecast),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn forecast(
    State(api): State<Api>,
    mut given: Parameters,
) -> Result<Json<Arc<Forecast>>, Problem> {
    let wanted = given.number("days", DEFAULT_DAYS, MAX_DAYS);
    given.finish()?;
    let _place =
        api.forecasts.places.try_acquire().map_err(|_| Problem::too_many_forecasts(MAX_FORECASTS))?;
    let mut latest = api.forecasts.computed.lock().await;
    let now = api.clock.now();
    if let Some(Computed { at, days, found }) = &*latest
        && *days == wanted
        && now - *at < FRESH
        && found.from == now.date_naive()
    {
        return Ok(Json(Arc::clone(found)));
    }
    let found = Arc::new(forecast::forecast(&api.store, &api.schedule, now, wanted).await?);
    *latest = Some(Computed { at: now, days: wanted, found: Arc::clone(&found) });
    Ok(Json(found))
}
