//! `/v1/users/export`

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use uuid::Uuid;

use super::Api;
use super::problem::Problem;
use super::request::Parameters;
use crate::people::FileFormat;
use crate::people::export::{ExportWriter, PAGE_SIZE};
use crate::store::chain;
use crate::store::{StoreError, UserFilter};

/// Export all users
///
/// As NDJSON, or as CSV with `format=csv` or `Accept: text/csv`; the import takes both back, and knows each user by the
/// `id`. A page at a time: nothing is held for as long as the reader is slow. Somebody who is added meanwhile may be missing;
/// nobody comes twice. If the database fails on the way, the answer breaks off without its proper end.
#[utoipa::path(
    get, path = "/v1/users/export", tag = "users", operation_id = "exportUsers",
    params(("format" = Option<ExportFormat>, Query, description = "`ndjson` [default] or `csv`")),
    responses(
        (status = 200, description = "A user a line", content(
            (String = "application/x-ndjson"),
            (String = "text/csv")
        )),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn export(
    State(api): State<Api>,
    headers: HeaderMap,
    mut given: Parameters,
) -> Result<Response, Problem> {
    let asked = given.optional("format", |text| match text {
        "csv" => Ok(FileFormat::Csv),
        "ndjson" => Ok(FileFormat::Ndjson),
        _ => Err("must be csv or ndjson".to_owned()),
    });
    given.finish()?;
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let format = asked.unwrap_or(if accept.is_some_and(|accept| accept.trim().starts_with("text/csv")) {
        FileFormat::Csv
    } else {
        FileFormat::Ndjson
    });
    let writer = ExportWriter::new(format, &api.schedule);
    let first = next_page(&api, &writer, writer.header(), Uuid::nil()).await?;
    let pages = stream::try_unfold(Some(first), move |page| {
        let (api, writer) = (api.clone(), writer.clone());
        async move {
            let Some((text, after)) = page else {
                return Ok(None);
            };
            let next = match after {
                None => None,
                Some(after) => Some(
                    next_page(&api, &writer, String::new(), after)
                        .await
                        .inspect_err(|error| tracing::error!(error = chain(error), "an export broke off"))?,
                ),
            };
            Ok::<_, StoreError>(Some((text, next)))
        }
    });
    let headers: [(HeaderName, &str); 2] = match format {
        FileFormat::Csv => [
            (CONTENT_TYPE, "text/csv; charset=utf-8"),
            (CONTENT_DISPOSITION, "attachment; filename=\"users.csv\""),
        ],
        FileFormat::Ndjson => [
            (CONTENT_TYPE, "application/x-ndjson"),
            (CONTENT_DISPOSITION, "attachment; filename=\"users.ndjson\""),
        ],
    };
    Ok((headers, Body::from_stream(pages)).into_response())
}

/// How the export is written.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes the parameter")]
pub(super) enum ExportFormat {
    Ndjson,
    Csv,
}

/// The lines of a page behind `text`, and where the next page begins.
async fn next_page(
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
