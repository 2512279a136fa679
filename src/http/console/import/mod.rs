//! `/import`: upload a file, see what an import of it would do, and import it.
//!
//! ```text
//! POST /import ──> chunks in the database ──> dry run ──> GET /import/{id} ──> POST /import/{id} ──> result
//!                  any process reads them                 and its bad rows     the same file
//! ```

mod checked;
mod commit;
mod file;
mod report;
mod upload;

use askama::Template;
use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use uuid::Uuid;

use super::Console;
use super::layout::{Layout, Section, View};
use super::person_text::zone_names;
use super::problem::{ConsoleProblem, Page};
use crate::http::access::Operator;
use crate::http::api::fields::parse_id;
use crate::http::api::import::TooManyImports;
use crate::people::import::{ImportError, ImportFormat};
use crate::store::Upload;

/// Longest file.
const MAX_FILE_BYTES: usize = 50 << 20;
/// The rest of a longer file is read and dropped, up to this size: browsers show the answer to a request only when they have sent it.
pub(super) const MAX_BODY_BYTES: usize = 4 * MAX_FILE_BYTES;

#[derive(Template)]
#[template(path = "import.html", config = "src/http/console/askama.toml")]
struct ImportPage {
    layout: Layout,
    zone: String,
    format: String,
    file_error: Option<String>,
    format_error: Option<String>,
    zone_error: Option<String>,
}

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/import", get(show))
        .route("/import/{id}", get(checked::show))
        .route("/import/{id}/rejected", get(checked::rejected))
        .route("/import/{id}/discard", post(commit::discard))
}

/// Requests that take as long as the file requires.
pub(super) fn long_routes() -> Router<Console> {
    Router::new().route("/import", post(upload::upload)).route("/import/{id}", post(commit::commit))
}

impl ImportPage {
    fn new(view: &View) -> Self {
        Self {
            layout: view.layout("Import", Section::Import),
            zone: String::new(),
            format: String::new(),
            file_error: None,
            format_error: None,
            zone_error: None,
        }
    }

    fn zones(&self) -> impl Iterator<Item = &'static str> + use<> {
        zone_names()
    }

    /// Returns the formats with their names.
    fn formats(&self) -> [(&'static str, &'static str); 4] {
        [("", "by the name of the file"), ("csv", "CSV"), ("ndjson", "NDJSON"), ("vcard", "vCard")]
    }

    fn is_format(&self, format: &str) -> bool {
        self.format == format
    }
}

async fn show(view: View) -> Response {
    Page(ImportPage::new(&view)).into_response()
}

fn path(id: Uuid) -> String {
    format!("/import/{id}")
}

/// Returns the upload of this operator in the path of a request.
async fn find(console: &Console, view: &View, id: &str) -> Result<Upload, ConsoleProblem> {
    let (store, now) = (&console.api.store, console.api.clock.now());
    let found = match parse_id(id) {
        Ok(id) => store.upload(id, actor_name(view.operator()).as_deref(), now).await?,
        Err(_) => None,
    };
    found.ok_or_else(|| {
        let detail = "This upload does not exist any more, or another token sent it: upload the file again. An upload is kept for an hour, \
                      and the last three of each token are.";
        ConsoleProblem::not_found(detail)
    })
}

/// Returns the name under which the operator's uploads are kept.
fn actor_name(operator: &Operator) -> Option<String> {
    operator.actor().map(|actor| actor.name)
}

/// Returns the end of the names of files of this format.
fn extension(format: ImportFormat) -> &'static str {
    match format {
        ImportFormat::Csv => "csv",
        ImportFormat::Ndjson => "ndjson",
        ImportFormat::Vcard => "vcf",
    }
}

impl From<TooManyImports> for ConsoleProblem {
    fn from(error: TooManyImports) -> Self {
        Self::unavailable(format!("{error}."))
    }
}

impl From<ImportError> for ConsoleProblem {
    fn from(error: ImportError) -> Self {
        let text = error.to_string();
        match error {
            ImportError::Header(_) => Self::bad_request(text),
            ImportError::Read { .. } => Self::unavailable(format!(
                "The uploaded file cannot be read to its end ({text}): upload it again."
            )),
            ImportError::Store { source, .. } => {
                let mut problem = Self::from(source);
                problem.detail = format!("{} Of the file: {text}.", problem.detail);
                problem
            }
        }
    }
}
