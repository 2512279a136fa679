//! The API under `/v1`: users, events, and operations on them.
//!
//! JSON in camelCase; every error is a problem detail (RFC 9457) that names each invalid field. Lists have pages with an opaque cursor.
//! `ETag` and `If-Match` protect against concurrent edits. `/openapi.json` describes the API, and `/docs` shows it.

mod audit;
mod by_external_id;
mod contacts;
pub(super) mod dead_letters;
mod docs;
mod event_actions;
mod events;
mod explain;
pub(super) mod export;
pub(super) mod fields;
mod forecast;
pub(super) mod import;
pub(super) mod page;
mod pause;
mod preconditions;
mod preview;
pub(super) mod problem;
mod request;
mod statistics;
mod tokens;
mod upcoming;
pub(super) mod users;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::Method;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use tokio::sync::Semaphore;
use tower_http::timeout::RequestBodyTimeoutLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{self, Authorizer};
use super::calendar_feed::CalendarFeed;
use super::unsubscribe::{self, Unsubscribe};
use crate::calendar::text::shortened;
use crate::clock::SharedClock;
use crate::model::{FieldError, Schedule};
use crate::operations::dead_letters::DeadLetters;
use crate::operations::statistics::Statistics;
use crate::people::explain::ExplainSettings;
use crate::people::export::ExportFormat;
use crate::people::preview::PreviewSettings;
use crate::store::{Routes, Store};
use problem::Problem;

/// The state of the handlers.
#[derive(Debug, Clone)]
pub struct Api {
    pub(in crate::http) store: Store,
    pub(in crate::http) schedule: Arc<Schedule>,
    pub(in crate::http) explain_settings: Arc<ExplainSettings>,
    pub(in crate::http) preview_settings: Arc<PreviewSettings>,
    pub(in crate::http) dead_letters: DeadLetters,
    pub(in crate::http) statistics: Arc<Statistics>,
    forecasts: Arc<forecast::ForecastCache>,
    pub(in crate::http) clock: SharedClock,
    imports: Arc<Semaphore>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "bday",
        description = "Greets every user on their birthday at 09:00 in their own time zone, once.\n\nErrors are problem details \
            (RFC 9457). A field that is null is not set."
    ),
    // Schemas of parameters and of errors: the operations do not add them.
    components(schemas(audit::WriteMethod, contacts::ContactStatusInput, events::Direction, ExportFormat, Problem, FieldError)),
    tags(
        (name = "users", description = "Users and their dates"),
        (name = "events", description = "Greetings that were sent, will be sent, or were not sent"),
        (name = "dead letters", description = "Events that failed for good, and their redrive"),
        (name = "operations", description = "Pause and resume sending"),
        (name = "statistics", description = "Counts of events by date"),
        (name = "access", description = "Tokens and the audit log")
    )
)]
struct Description;

impl Api {
    #[must_use]
    pub fn new(
        store: Store,
        explain_settings: ExplainSettings,
        preview_settings: PreviewSettings,
        dead_letters: DeadLetters,
        clock: SharedClock,
    ) -> Self {
        let schedule = Arc::new(explain_settings.schedule.clone());
        let statistics = Statistics::new(store.clone(), schedule.leap_day, Arc::clone(&clock));
        Self {
            store,
            schedule,
            explain_settings: Arc::new(explain_settings),
            preview_settings: Arc::new(preview_settings),
            dead_letters,
            statistics: Arc::new(statistics),
            forecasts: Arc::default(),
            clock,
            imports: Arc::new(Semaphore::new(import::MAX_IMPORTS)),
        }
    }

    /// Keeps the counts of what is ahead: no visitor of the calendar waits for them.
    pub async fn count_ahead(self) -> Infallible {
        loop {
            tokio::time::sleep(self.statistics.count_ahead().await).await;
        }
    }

    /// Returns the channels of each kind; none if every kind uses the webhook alone.
    fn routes(&self) -> Option<&Routes> {
        self.explain_settings.routes.as_ref()
    }

    /// Returns `/v1` and the calendar feed, guarded by `authorizer`; the description and the links to unsubscribe, which are open; and a
    /// problem for every other path.
    ///
    /// `request_timeout` runs from the end of a request's head to the beginning of the response; for an import, between two parts of the
    /// body.
    pub fn router(self, authorizer: Authorizer, request_timeout: Duration) -> Router {
        let (routes, mut description) = routes(request_timeout).split_for_parts();
        let (clock, schedule) = (Arc::clone(&self.clock), Arc::clone(&self.schedule));
        let feed = CalendarFeed::new(self.store.clone(), schedule, clock, authorizer.clone());
        let (feed, of_feed) = feed.router().split_for_parts();
        description.merge(of_feed);
        access::describe(&mut description);
        access::operations(&mut description).for_each(|(.., operation)| problem::describe(operation));
        let open = Unsubscribe { store: self.store.clone(), clock: Arc::clone(&self.clock) };
        let open = unsubscribe::router(open).merge(feed);
        let open = open.layer(from_fn_with_state(request_timeout, timeout));
        let v1 = routes.with_state(self).route_layer(from_fn_with_state(authorizer, access::api));
        v1.merge(docs::router(&description))
            .merge(open)
            .fallback(path_not_found)
            .method_not_allowed_fallback(method_not_allowed)
    }
}

fn routes(request_timeout: Duration) -> OpenApiRouter<Api> {
    let with_timeout = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::get, users::replace, users::patch, users::delete))
        .routes(routes!(by_external_id::get, by_external_id::put, by_external_id::delete))
        .routes(routes!(contacts::put))
        .routes(routes!(export::export))
        .routes(routes!(upcoming::upcoming))
        .routes(routes!(explain::explain))
        .routes(routes!(preview::preview))
        .routes(routes!(forecast::forecast))
        .routes(routes!(events::of_user))
        .routes(routes!(events::list))
        .routes(routes!(events::get))
        .routes(routes!(event_actions::retry))
        .routes(routes!(event_actions::cancel))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::groups))
        .routes(routes!(dead_letters::get))
        .routes(routes!(dead_letters::redrive))
        .routes(routes!(statistics::day))
        .routes(routes!(statistics::days))
        .routes(routes!(pause::get, pause::put, pause::delete))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::delete))
        .routes(routes!(audit::list))
        .layer(DefaultBodyLimit::max(request::MAX_BODY_BYTES))
        .layer(from_fn_with_state(request_timeout, timeout));
    let import = OpenApiRouter::new()
        .routes(routes!(import::import))
        .layer(RequestBodyTimeoutLayer::new(request_timeout));
    with_timeout.merge(import)
}

async fn timeout(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    let response = tokio::time::timeout(limit, next.run(request)).await;
    response.unwrap_or_else(|_| Problem::timeout(limit.as_secs()).into_response())
}

pub(super) async fn path_not_found(request: Request) -> Problem {
    Problem::not_found(format!("no such path {:?}: see /docs", shortened(request.uri().path())))
}

async fn method_not_allowed(method: Method) -> Problem {
    Problem::method_not_allowed(&shortened(method.as_str()))
}
