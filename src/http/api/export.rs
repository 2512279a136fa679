//! `/v1/users/export`

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::Api;
use super::problem::Problem;
use super::request::Query;
use crate::people::export::{ExportFormat, ExportWriter, PAGE_SIZE};
use crate::store::{StoreError, UserFilter, chain};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportQuery {
    /// `ndjson` (default) or `csv`
    format: Option<ExportFormat>,
}

/// Export all users
///
/// As NDJSON, or as CSV with `format=csv` or `Accept: text/csv`. The import reads both and finds each user by `id`. Users created during
/// the export may be missing; no user appears twice. If the database fails, the response breaks off without its end.
#[utoipa::path(
    get, path = "/v1/users/export", tag = "users", operation_id = "exportUsers",
    params(ExportQuery),
    responses(
        (status = 200, description = "One user per line", content(
            (String = "application/x-ndjson"),
            (String = "text/csv")
        ))
    )
)]
pub(super) async fn export(
    State(api): State<Api>,
    headers: HeaderMap,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Problem> {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = match query.format {
        Some(format) => format,
        None if accept.trim().starts_with("text/csv") => ExportFormat::Csv,
        None => ExportFormat::Ndjson,
    };
    let writer = ExportWriter::new(format, &api.schedule);
    let first = read_page(&api, &writer, writer.header(), Uuid::nil()).await?;
    // One page at a time: a slow client holds neither a connection nor a transaction.
    let pages = stream::try_unfold(Some(first), move |page| {
        let (api, writer) = (api.clone(), writer.clone());
        async move {
            let Some((text, after)) = page else { return Ok(None) };
            let next = match after {
                None => None,
                Some(after) => Some(read_page(&api, &writer, String::new(), after).await.inspect_err(log)?),
            };
            Ok::<_, StoreError>(Some((text, next)))
        }
    });
    let headers: [(HeaderName, &str); 2] = match format {
        ExportFormat::Csv => [
            (CONTENT_TYPE, "text/csv; charset=utf-8"),
            (CONTENT_DISPOSITION, "attachment; filename=\"users.csv\""),
        ],
        ExportFormat::Ndjson => [
            (CONTENT_TYPE, "application/x-ndjson"),
            (CONTENT_DISPOSITION, "attachment; filename=\"users.ndjson\""),
        ],
    };
    Ok((headers, Body::from_stream(pages)).into_response())
}

fn log(error: &StoreError) {
    tracing::error!(error = chain(error), "export failed");
}

/// Appends the users after the id `after` to `text`; returns it, and the last id if another page follows.
async fn read_page(
    api: &Api,
    writer: &ExportWriter,
    mut text: String,
    after: Uuid,
) -> Result<(String, Option<Uuid>), StoreError> {
    let page = api.store.list_users(&UserFilter::default(), after, PAGE_SIZE).await?;
    for user in &page.users {
        text.push_str(&writer.line(user));
    }
    Ok((text, page.next))
}
