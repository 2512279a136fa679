//! The form that deletes a person.

use axum::extract::{Path, State};
use axum::response::Response;

use super::{not_found, read_id};
use crate::http::api::users::retry_on_contention;
use crate::http::console::Console;
use crate::http::console::fields::Form;
use crate::http::console::layout::Notice;
use crate::http::console::person_text::person_path;
use crate::http::console::problem::ConsoleProblem;
use crate::model::Version;
use crate::store::{DeleteOutcome, UserRef};

/// As `DELETE /v1/users/{id}` with `If-Match`.
pub(super) async fn delete(
    State(console): State<Console>,
    Path(id): Path<String>,
    Form(fields): Form,
) -> Result<Response, ConsoleProblem> {
    let id = read_id(&id)?;
    // Another version matches none.
    let versions: Vec<Version> = Version::parse(fields.text("version")).into_iter().collect();
    let (store, now) = (&console.api.store, console.api.clock.now());
    let delete = || store.delete_user(now, UserRef::Id(id), Some(&versions), None);
    Ok(match retry_on_contention(delete).await? {
        DeleteOutcome::Deleted(_) => {
            Notice::done("The person is deleted, and their unsent greetings are cancelled.").on("/people")
        }
        DeleteOutcome::VersionMismatch => {
            let text = "Not deleted: the person was changed after you opened the page. Check the changes, then delete again.";
            Notice::failed(text).on(&person_path(id))
        }
        DeleteOutcome::NotFound => return Err(not_found()),
    })
}
