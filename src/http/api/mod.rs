//! The API under `/v1`: users, their events, and the calendar ahead of them.
//!
//! JSON in camelCase; every error is a problem detail (RFC 9457) that names each wrong field. Lists go by pages with an
//! opaque cursor. What is edited by two at once is guarded by `ETag` and `If-Match`. `/openapi.json` describes it all, and
//! `/docs` shows that to people.

mod by_external_id;
mod dead_letters;
mod docs;
mod event_actions;
mod events;
mod explain;
mod export;
mod forecast;
mod import;
mod pause;
pub(super) mod problem;
mod request;
mod upcoming;
mod users;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use tokio::sync::Semaphore;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{self, Authorizer};
use crate::clock::SharedClock;
use crate::model::Schedule;
use crate::operations::dead_letters::DeadLetters;
use crate::people::explain::ExplainSettings;
use crate::store::{Store, StoreError};
use problem::Problem;

/// What the handlers work with.
#[derive(Debug, Clone)]
pub struct Api {
    store: Store,
    schedule: Arc<Schedule>,
    terms: Arc<ExplainSettings>,
    dead_letters: DeadLetters,
    forecasts: Arc<forecast::Latest>,
    clock: SharedClock,
    /// A place for each import.
    imports: Arc<Semaphore>,
    /// See [`Api::router`].
    patience: Duration,
}

/// A part of a list.
#[derive(Debug, Serialize, ToSchema)]
struct Page<T> {
    /// What this part has.
    items: Vec<T>,
    /// Give it as `cursor` to get the next part; null at the end.
    next: Option<String>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "bday",
        description = "Sends every person a greeting on their birthday at 09:00 in their own time zone, once.\n\nErrors are \
            problem details (RFC 9457). A field that is null is not set."
    ),
    // Those of parameters: they are not collected from the operations.
    components(schemas(events::Direction, export::ExportFormat)),
    tags(
        (name = "users", description = "People and the dates on which they are greeted"),
        (name = "events", description = "What was sent, is to be sent, or was not sent, and why"),
        (name = "dead letters", description = "What was given up, and a second start for it"),
        (name = "operations", description = "What an operator does to the whole")
    )
)]
struct Description;

impl Api {
    /// Kinds, defaults and horizons are those of `terms`.
    #[must_use]
    pub fn new(store: Store, terms: ExplainSettings, dead_letters: DeadLetters, clock: SharedClock) -> Self {
        let schedule = Arc::new(terms.schedule.clone());
        Self {
            store,
            schedule,
            terms: Arc::new(terms),
            dead_letters,
            forecasts: Arc::default(),
            clock,
            imports: Arc::new(Semaphore::new(import::MAX_IMPORTS)),
            patience: Duration::from_secs(30),
        }
    }

    /// The routes, and an answer to every other address: `/v1` behind `gate`, and its description, which is open.
    ///
    /// `patience` is the time from the end of a request's head to the beginning of its answer; for an import, that between
    /// two parts of its body.
    pub fn router(mut self, gate: Authorizer, patience: Duration) -> Router {
        self.patience = patience;
        let (routes, mut description) = routes(patience).split_for_parts();
        access::describe(&mut description);
        let v1 = routes.with_state(self).route_layer(from_fn_with_state(gate, access::api));
        v1.merge(docs::router(&description))
            .fallback(no_such_address)
            .method_not_allowed_fallback(no_such_method)
    }
}

fn routes(patience: Duration) -> OpenApiRouter<Api> {
    let quick = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::get, users::replace, users::patch, users::delete))
        .routes(routes!(by_external_id::get, by_external_id::put, by_external_id::delete))
        .routes(routes!(export::export))
        .routes(routes!(upcoming::upcoming))
        .routes(routes!(explain::explain))
        .routes(routes!(forecast::forecast))
        .routes(routes!(events::of_user))
        .routes(routes!(events::list))
        .routes(routes!(events::get))
        .routes(routes!(event_actions::retry))
        .routes(routes!(event_actions::cancel))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::get))
        .routes(routes!(dead_letters::redrive))
        .routes(routes!(pause::get, pause::put, pause::delete))
        .layer(from_fn_with_state(patience, in_time));
    quick.merge(OpenApiRouter::new().routes(routes!(import::import)))
}

/// Answers in time, if only that it took too long.
async fn in_time(State(patience): State<Duration>, request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(patience, next.run(request)).await;
    answer.unwrap_or_else(|_| {
        let seconds = patience.as_secs();
        Problem::timeout(format!("no answer within {seconds} s")).into_response()
    })
}

/// For every address that nobody knows.
async fn no_such_address(request: Request) -> Problem {
    let path: String = request.uri().path().chars().take(200).collect();
    Problem::not_found(format!("there is nothing at {path}: see /docs"))
}

/// For every method that an address does not have.
async fn no_such_method(method: Method) -> Problem {
    let method: String = method.as_str().chars().take(20).collect();
    Problem::method_not_allowed(format!("{method} is not possible here: the header Allow has what is"))
}

/// How often a write is tried that concurrent writes get in the way of.
const TRIES: u32 = 3;

/// Repeats `write` where that may help. A request that has waited for a lock in vain had a connection all the time: to repeat that
/// is for the client.
async fn persist<T, F: Future<Output = Result<T, StoreError>>>(
    write: impl Fn() -> F,
) -> Result<T, StoreError> {
    let mut tries = 1;
    loop {
        match write().await {
            Err(error) if tries < TRIES && error.is_contention() && !error.is_lock_timeout() => tries += 1,
            result => return result,
        }
    }
}
