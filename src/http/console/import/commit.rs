//! The forms that import an uploaded file, or discard it.

use axum::extract::{Path, State};
use axum::response::Response;

use super::{actor_name, file, find, path};
use crate::http::api::fields::parse_id;
use crate::http::api::import::ImportPermit;
use crate::http::console::Console;
use crate::http::console::layout::{Notice, View};
use crate::http::console::problem::ConsoleProblem;

/// As `bday user import`. An import can be repeated: one that was interrupted is completed, and two at a time change nothing twice.
pub(super) async fn commit(
    State(console): State<Console>,
    view: View,
    Path(id): Path<String>,
) -> Result<Response, ConsoleProblem> {
    let upload = find(&console, &view, &id).await?;
    if upload.result.is_some() {
        return Ok(Notice::failed("The file was imported before.").on(&path(upload.id)));
    }
    let permit = ImportPermit::take(&console.api)?;
    let store = &console.api.store;
    let input = file::open(store, upload.id, upload.chunks);
    let report = permit.run(&console.api, file::options(&upload), input).await?;
    let json = serde_json::to_string(&report).unwrap_or_default();
    store.save_import(upload.id, &json, report.failed > 0).await?;
    Ok(Notice::done("The file is imported.").on(&path(upload.id)))
}

pub(super) async fn discard(
    State(console): State<Console>,
    view: View,
    Path(id): Path<String>,
) -> Result<Response, ConsoleProblem> {
    let actor = actor_name(view.operator());
    let deleted = match parse_id(&id) {
        Ok(id) => console.api.store.delete_upload(id, actor.as_deref()).await?,
        Err(_) => false,
    };
    let notice = if deleted {
        Notice::done("The upload is deleted.")
    } else {
        Notice::failed("This upload did not exist any more.")
    };
    Ok(notice.on("/import"))
}
