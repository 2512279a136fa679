//! `/v1/users/import`

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use futures_util::StreamExt as _;
use futures_util::stream::{self, Stream};
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::Api;
use super::problem::Problem;
use super::request::{Parameters, content_type};
use crate::people::FileFormat;
use crate::people::import::{self, ImportError, ImportReport};

/// Imports at once. Each has a thread for as long as its client takes, and threads of that sort resolve the names of receivers
/// as well.
pub(super) const MAX_IMPORTS: usize = 8;

const TYPES: &str = "text/csv or application/x-ndjson";

/// Import users
///
/// A CSV file (columns `first_name,last_name,birth_date,time_zone`, and if wanted `send_at`, `leap_day`, `external_id`,
/// `id` and one for each further kind), or NDJSON with a user a line as `createUser` takes it, and if wanted `id`. However
/// long: it is read as it comes. A bad line is reported with its number, and the rest goes in. Running it again is safe: a
/// user with an `id`, as the export gives it, is brought up to date, or created under that id; else one with an external id
/// is brought up to date; one without both is known by its line.
#[utoipa::path(
    post, path = "/v1/users/import", tag = "users", operation_id = "importUsers",
    request_body(content((String = "text/csv"), (String = "application/x-ndjson"))),
    responses(
        (status = 200, body = ImportReport, description = "What became of the lines"),
        (status = 415, description = "Neither CSV nor NDJSON", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "As many imports are under way as one process takes (8), or the database is away: detail says which line was the first that did not go in", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The first line does not name the columns", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn import(
    State(api): State<Api>,
    given: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ImportReport>, Problem> {
    given.finish()?;
    let format = match content_type(&headers).as_str() {
        "text/csv" => FileFormat::Csv,
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => FileFormat::Ndjson,
        _ => return Err(Problem::unsupported_type(TYPES)),
    };
    let reader = StreamReader::new(Box::pin(with_patience(body, api.patience)));
    let input = io::BufReader::with_capacity(64 * 1024, SyncIoBridge::new(reader));
    let place =
        Arc::clone(&api.imports).try_acquire_owned().map_err(|_| Problem::too_many_imports(MAX_IMPORTS))?;
    // The reading side has a thread of its own, which may outlive this request: the place is free when both are done.
    let place = Arc::new(place);
    let reading = Arc::clone(&place);
    let progress = move |_| {
        let _held = &reading;
    };
    let imported = import::run(&api.store, &api.schedule, &api.clock, format, input, progress).await;
    drop(place);
    match imported {
        Ok(report) => Ok(Json(report)),
        Err(ImportError::Header(error)) => Err(Problem::unusable(error.to_string())),
        Err(error @ ImportError::Read { .. }) => {
            let detail =
                format!("{error}: the body ended before its time; what came before is in, so send it again");
            Err(Problem::bad_request(detail))
        }
        Err(ref error @ ImportError::Store { ref source, .. }) => {
            Err(Problem::from(source).adding(&error.to_string()))
        }
    }
}

/// The parts of a body. A client that sends nothing for so long is gone.
fn with_patience(body: Body, patience: Duration) -> impl Stream<Item = io::Result<axum::body::Bytes>> {
    stream::unfold(Some(body.into_data_stream()), move |parts| async move {
        let mut parts = parts?;
        match tokio::time::timeout(patience, parts.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(part))) => Some((Ok(part), Some(parts))),
            Ok(Some(Err(error))) => Some((Err(io::Error::other(error)), None)),
            Err(_) => Some((Err(io::ErrorKind::TimedOut.into()), None)),
        }
    })
}
