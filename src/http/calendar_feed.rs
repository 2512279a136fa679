//! `/calendar.ics`: the greetings ahead, for calendar programs to subscribe to.
//!
//! Such programs send no headers of their own, so the token may be in the URL. The scope `calendar` allows only this.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Mutex;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{Authorizer, FEED_PATH};
use super::api::problem::Problem;
use crate::clock::SharedClock;
use crate::model::Schedule;
use crate::people::calendar_feed;
use crate::store::Store;

/// How long a feed is reused: each new one reads a quarter of the dates of all users.
const MAX_AGE: TimeDelta = TimeDelta::minutes(5);
const CACHE: &str = "private, max-age=300";

#[derive(Debug, Clone)]
pub(super) struct CalendarFeed(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    schedule: Arc<Schedule>,
    clock: SharedClock,
    authorizer: Authorizer,
    /// The latest feed and its time. One request at a time computes it, the others wait for the result.
    latest: Mutex<Option<(DateTime<Utc>, Arc<str>)>>,
}

impl CalendarFeed {
    pub(super) fn new(
        store: Store,
        schedule: Arc<Schedule>,
        clock: SharedClock,
        authorizer: Authorizer,
    ) -> Self {
        Self(Arc::new(Inner { store, schedule, clock, authorizer, latest: Mutex::default() }))
    }

    pub(super) fn router(self) -> OpenApiRouter {
        OpenApiRouter::new().routes(routes!(feed)).with_state(self)
    }

    async fn latest(&self) -> Result<Arc<str>, Problem> {
        let Inner { store, schedule, clock, latest, .. } = &*self.0;
        let mut latest = latest.lock().await;
        let now = clock.now();
        let is_fresh =
            |at: DateTime<Utc>| at <= now && now - at < MAX_AGE && at.date_naive() == now.date_naive();
        if let Some((at, feed)) = &*latest
            && is_fresh(*at)
        {
            return Ok(Arc::clone(feed));
        }
        let feed: Arc<str> = calendar_feed::feed(store, schedule, now).await?.into();
        *latest = Some((now, Arc::clone(&feed)));
        Ok(feed)
    }
}

/// Read the calendar feed
///
/// The dates of the next 90 days that have greetings, as iCalendar (RFC 5545), for calendar programs to subscribe to. Each date is an
/// all-day event with the counts of its kinds and up to 20 names. A feed is reused for five minutes.
#[utoipa::path(
    get, path = FEED_PATH, tag = "users", operation_id = "getCalendarFeed",
    params(("token" = Option<String>, Query, description = "The token, for programs that send no headers")),
    responses(
        (status = 200, description = "The feed", body = String, content_type = "text/calendar"),
        (status = 401, description = "The token is missing, unknown, revoked or expired")
    )
)]
async fn feed(State(state): State<CalendarFeed>, headers: HeaderMap, uri: Uri) -> Result<Response, Problem> {
    let mut parameters = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let token = parameters.find(|(name, _)| name == "token").map(|(_, token)| token);
    state.0.authorizer.authorize_feed(&headers, token.as_deref()).await?;
    let feed = state.latest().await?;
    let headers = [
        (CONTENT_TYPE, "text/calendar; charset=utf-8"),
        (CONTENT_DISPOSITION, "inline; filename=\"birthdays.ics\""),
        (CACHE_CONTROL, CACHE),
    ];
    Ok((headers, feed.to_string()).into_response())
}
