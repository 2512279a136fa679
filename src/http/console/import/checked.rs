//! `/import/{id}`: what an import of the file would do, or did, and its bad rows.

use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use futures_util::TryStreamExt as _;

use super::report::Report;
use super::{extension, file, find, path};
use crate::http::api::import::ImportPermit;
use crate::http::console::Console;
use crate::http::console::layout::{Layout, Section, View};
use crate::http::console::problem::{ConsoleProblem, Page};
use crate::http::console::time::Moment;
use crate::people::import::rejected_rows;
use crate::store::{UPLOAD_TIME, chain};

#[derive(Template)]
#[template(path = "import_checked.html", config = "src/http/console/askama.toml")]
struct CheckedPage {
    layout: Layout,
    file_name: String,
    path: String,
    is_imported: bool,
    /// Whether the file is stored.
    is_stored: bool,
    ends_at: Moment,
    report: Report,
    extension: &'static str,
}

impl CheckedPage {
    fn has_rejects(&self) -> bool {
        self.is_stored && self.report.failed > 0
    }
}

pub(super) async fn show(
    State(console): State<Console>,
    view: View,
    Path(id): Path<String>,
) -> Result<Response, ConsoleProblem> {
    let upload = find(&console, &view, &id).await?;
    let report = Report::parse(upload.result.as_deref().unwrap_or(&upload.dry_run));
    let title = if upload.result.is_some() { "Imported" } else { "Import" };
    Ok(Page(CheckedPage {
        layout: view.layout(format!("{title} {}", upload.file_name), Section::Import),
        path: path(upload.id),
        is_imported: upload.result.is_some(),
        is_stored: upload.is_stored,
        ends_at: Moment::utc(upload.created_at + UPLOAD_TIME),
        extension: extension(file::format(&upload)),
        file_name: upload.file_name,
        report,
    })
    .into_response())
}

/// The bad rows as a file of the same format.
pub(super) async fn rejected(
    State(console): State<Console>,
    view: View,
    Path(id): Path<String>,
) -> Result<Response, ConsoleProblem> {
    let upload = find(&console, &view, &id).await?;
    let permit = ImportPermit::take(&console.api)?;
    let api = console.api;
    let input = file::open(&api.store, upload.id, upload.chunks);
    let format = file::format(&upload);
    let (schedule, zone) = (Arc::clone(&api.schedule), file::time_zone(&upload));
    let rows = rejected_rows(api.store, schedule, api.clock, format, zone, input);
    let rows = rows.inspect_err(|error| tracing::error!(error = chain(error), "rejected rows not read"));
    let rows = rows.map_ok(move |row| {
        let _held = &permit;
        row
    });
    let headers = [
        (CONTENT_TYPE, format!("{}; charset=utf-8", format.media_type())),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"rejected.{}\"", extension(format))),
    ];
    Ok((headers, Body::from_stream(rows)).into_response())
}
