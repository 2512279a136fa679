//! Receives a file, stores it in chunks, and checks it by a dry run.

use std::path::Path;

use axum::extract::multipart::{Field, MultipartError, MultipartRejection};
use axum::extract::{Multipart, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use uuid::Uuid;

use super::{ImportPage, MAX_FILE_BYTES, actor_name, file, path};
use crate::calendar::Zone;
use crate::http::api::import::ImportPermit;
use crate::http::console::Console;
use crate::http::console::layout::View;
use crate::http::console::problem::{ConsoleProblem, Page};
use crate::people::import::{ImportError, ImportFormat, ImportOptions};
use crate::store::{CHUNK_BYTES, MAX_UPLOADS, NewUpload, StoreError};

/// Longest text of a field other than the file.
const MAX_TEXT_BYTES: usize = 200;
const MAX_FILE_NAME_CHARS: usize = 200;

/// Why a form was not accepted.
enum Refusal {
    File(StatusCode, String),
    Zone(String),
    Format(String),
    Problem(ConsoleProblem),
}

/// The fields before the file.
#[derive(Debug, Default)]
struct FileFields {
    format: String,
    zone: String,
}

/// A file that is stored and not checked yet.
struct StoredFile {
    id: Uuid,
    chunks: i32,
    options: ImportOptions,
}

pub(super) async fn upload(
    State(console): State<Console>,
    view: View,
    multipart: Result<Multipart, MultipartRejection>,
) -> Result<Response, ConsoleProblem> {
    let mut multipart = multipart.map_err(|rejection| ConsoleProblem::bad_request(rejection.body_text()))?;
    let permit = ImportPermit::take(&console.api)?;
    let mut fields = FileFields::default();
    let refusal = match receive(&console, &view, &mut multipart, &mut fields).await {
        Ok(stored) => match check(&console, &permit, stored).await {
            Ok(id) => return Ok(Redirect::to(&path(id)).into_response()),
            Err(refusal) => refusal,
        },
        Err(refusal) => refusal,
    };
    let page = ImportPage { zone: fields.zone, format: fields.format, ..ImportPage::new(&view) };
    let (status, page) = match refusal {
        Refusal::Problem(problem) => return Err(problem),
        Refusal::File(status, error) => (status, ImportPage { file_error: Some(error), ..page }),
        Refusal::Zone(error) => {
            (StatusCode::UNPROCESSABLE_ENTITY, ImportPage { zone_error: Some(error), ..page })
        }
        Refusal::Format(error) => {
            (StatusCode::UNPROCESSABLE_ENTITY, ImportPage { format_error: Some(error), ..page })
        }
    };
    Ok((status, Page(page)).into_response())
}

/// Reads the form to its end, also after an error: browsers show the answer only then.
async fn receive(
    console: &Console,
    view: &View,
    multipart: &mut Multipart,
    fields: &mut FileFields,
) -> Result<StoredFile, Refusal> {
    let mut stored = None;
    while let Some(mut field) = multipart.next_field().await? {
        match field.name() {
            Some("format") => fields.format = text(&mut field).await?,
            Some("zone") => fields.zone = text(&mut field).await?,
            Some("file") if stored.is_none() => {
                let begun = match begin(console, view, fields, &field).await {
                    Ok(begun) => write(console, begun, &mut field).await,
                    Err(refusal) => Err(refusal),
                };
                while field.chunk().await?.is_some() {}
                stored = Some(begun);
            }
            _ => while field.chunk().await?.is_some() {},
        }
    }
    stored.unwrap_or_else(|| Err(no_file()))
}

fn no_file() -> Refusal {
    Refusal::File(StatusCode::UNPROCESSABLE_ENTITY, "Choose a file, or drop one here.".to_owned())
}

async fn text(field: &mut Field<'_>) -> Result<String, Refusal> {
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await? {
        if bytes.len() + chunk.len() > MAX_TEXT_BYTES {
            let detail = format!("A field of the form has over {MAX_TEXT_BYTES} bytes.");
            return Err(Refusal::Problem(ConsoleProblem::bad_request(detail)));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// Creates the upload, without chunks yet.
async fn begin(
    console: &Console,
    view: &View,
    fields: &FileFields,
    file: &Field<'_>,
) -> Result<StoredFile, Refusal> {
    let name = file.file_name().unwrap_or_default().to_owned();
    if name.is_empty() {
        return Err(no_file());
    }
    let format = match &*fields.format {
        "" => ImportFormat::of_file_name(Path::new(&name)),
        "csv" => ImportFormat::Csv,
        "ndjson" => ImportFormat::Ndjson,
        "vcard" => ImportFormat::Vcard,
        other => return Err(Refusal::Format(format!("Unknown format {other:?}: use csv, ndjson or vcard."))),
    };
    let zone = Some(fields.zone.as_str()).filter(|zone| !zone.is_empty());
    let zone = zone.map(Zone::parse).transpose().map_err(|error| Refusal::Zone(error.to_string()))?;
    // The rows of other formats have their zones.
    let time_zone = zone.filter(|_| format == ImportFormat::Vcard);
    let id = Uuid::now_v7();
    let shown_name: String = name.chars().filter(|c| !c.is_control()).take(MAX_FILE_NAME_CHARS).collect();
    let actor = actor_name(view.operator());
    let new = NewUpload {
        id,
        actor: actor.as_deref(),
        file_name: &shown_name,
        media_type: format.media_type(),
        time_zone: time_zone.map(Zone::name),
    };
    if !console.api.store.create_upload(console.api.clock.now(), new).await? {
        let error = format!(
            "{MAX_UPLOADS} uploads of other tokens are being checked or wait to be imported: try again later. They are kept for an hour."
        );
        return Err(Refusal::File(StatusCode::SERVICE_UNAVAILABLE, error));
    }
    let options = ImportOptions { time_zone, dry_run: true, ..ImportOptions::new(format) };
    Ok(StoredFile { id, chunks: 0, options })
}

/// Stores the file in chunks.
async fn write(
    console: &Console,
    mut file: StoredFile,
    field: &mut Field<'_>,
) -> Result<StoredFile, Refusal> {
    let store = &console.api.store;
    let (mut buffer, mut bytes) = (Vec::with_capacity(CHUNK_BYTES), 0);
    while let Some(part) = field.chunk().await? {
        bytes += part.len();
        if bytes > MAX_FILE_BYTES {
            store.drop_upload(file.id).await?;
            let error = format!(
                "The file has over {} MB: split it, or import it on the command line with `bday user import`.",
                MAX_FILE_BYTES >> 20
            );
            return Err(Refusal::File(StatusCode::PAYLOAD_TOO_LARGE, error));
        }
        let mut part = &part[..];
        while !part.is_empty() {
            let (now, later) = part.split_at(part.len().min(CHUNK_BYTES - buffer.len()));
            buffer.extend_from_slice(now);
            part = later;
            if buffer.len() == CHUNK_BYTES {
                store.add_upload_chunk(file.id, file.chunks, &buffer).await?;
                file.chunks += 1;
                buffer.clear();
            }
        }
    }
    if !buffer.is_empty() {
        store.add_upload_chunk(file.id, file.chunks, &buffer).await?;
        file.chunks += 1;
    }
    Ok(file)
}

/// Runs the dry run, and stores its report. Returns the id of the upload.
async fn check(console: &Console, permit: &ImportPermit, stored: StoredFile) -> Result<Uuid, Refusal> {
    let StoredFile { id, chunks, options } = stored;
    let store = &console.api.store;
    let input = file::open(store, id, chunks);
    let report = match permit.run(&console.api, options, input).await {
        Ok(report) => report,
        Err(error) => {
            store.drop_upload(id).await?;
            return Err(match error {
                ImportError::Header(error) => {
                    Refusal::File(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
                }
                error => Refusal::Problem(error.into()),
            });
        }
    };
    let report = serde_json::to_string(&report).unwrap_or_default();
    store.save_dry_run(id, chunks, &report).await?;
    Ok(id)
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Problem(error.into())
    }
}

impl From<MultipartError> for Refusal {
    fn from(error: MultipartError) -> Self {
        if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return Self::File(error.status(), "The file is much too large.".to_owned());
        }
        Self::Problem(ConsoleProblem::bad_request(format!("The upload broke off: {}.", error.body_text())))
    }
}
