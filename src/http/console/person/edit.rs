//! `/people/{id}/edit`, and its form. A person who was changed since the form was shown is not overwritten.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use uuid::Uuid;

use super::{not_found, read_id};
use crate::calendar::latest_today;
use crate::http::api::users::retry_on_contention;
use crate::http::console::Console;
use crate::http::console::fields::{Fields, Form};
use crate::http::console::layout::{Layout, Notice, Section, View};
use crate::http::console::person_text::{full_name, person_path};
use crate::http::console::problem::{ConsoleProblem, Page};
use crate::http::console::user_form::{UserForm, read, rejected};
use crate::model::{FieldError, NewUser, User, Version};
use crate::store::{CurrentUser, SaveOutcome, UserChange, UserRef};

#[derive(Template)]
#[template(path = "person_edit.html", config = "src/http/console/askama.toml")]
struct EditPage {
    layout: Layout,
    id: Uuid,
    path: String,
    name: String,
    version: String,
    is_conflict: bool,
    form: UserForm,
}

impl EditPage {
    fn new(view: &View, id: Uuid, name: &str, form: UserForm) -> Self {
        Self {
            layout: view.layout(format!("Edit {name}"), Section::People),
            id,
            path: person_path(id),
            name: name.to_owned(),
            version: String::new(),
            is_conflict: false,
            form,
        }
    }
}

/// Why a form was not saved.
enum Refusal {
    NoSuchUser,
    Invalid(Vec<FieldError>),
    /// The user at present, if it can be read.
    Changed(Version, Option<Box<User>>),
}

pub(super) async fn show(
    State(console): State<Console>,
    view: View,
    Path(id): Path<String>,
) -> Result<Response, ConsoleProblem> {
    let id = read_id(&id)?;
    let user = console.api.store.user(UserRef::Id(id)).await?.ok_or_else(not_found)?;
    let form = UserForm::of_user(&user, &console.api.schedule);
    let page = EditPage::new(&view, id, &full_name(&user), form);
    Ok(Page(EditPage { version: user.version().to_string(), ..page }).into_response())
}

/// As `PUT /v1/users/{id}` with `If-Match`.
pub(super) async fn save(
    State(console): State<Console>,
    view: View,
    Path(id): Path<String>,
    Form(fields): Form,
) -> Result<Response, ConsoleProblem> {
    let id = read_id(&id)?;
    let refusal = match write(&console, id, &fields).await? {
        Ok(UserChange::Unchanged) => return Ok(Notice::done("Nothing was changed.").on(&person_path(id))),
        Ok(_) => return Ok(Notice::done("The changes are saved.").on(&person_path(id))),
        Err(refusal) => refusal,
    };
    let form = UserForm::sent(&fields, &console.api.schedule);
    let name = format!("{} {}", fields.text("firstName"), fields.text("lastName"));
    let page = |form| EditPage::new(&view, id, name.trim(), form);
    let (status, page) = match refusal {
        Refusal::NoSuchUser => return Err(not_found()),
        Refusal::Invalid(errors) => {
            let page = page(form.with_errors(&errors));
            let version = fields.text("version").to_owned();
            (StatusCode::UNPROCESSABLE_ENTITY, EditPage { version, ..page })
        }
        Refusal::Changed(version, user) => {
            let page = page(match user {
                Some(user) => form.with_saved(&user),
                None => form,
            });
            (StatusCode::CONFLICT, EditPage { version: version.to_string(), is_conflict: true, ..page })
        }
    };
    Ok((status, Page(page)).into_response())
}

async fn write(
    console: &Console,
    id: Uuid,
    fields: &Fields,
) -> Result<Result<UserChange, Refusal>, ConsoleProblem> {
    let (api, now) = (&console.api, console.api.clock.now());
    let Some(expected) = Version::parse(fields.text("version")) else {
        let detail = "The form lacks the version of the person: open the page of the person and edit again.";
        return Err(ConsoleProblem::bad_request(detail));
    };
    let new = match read(fields, &api.schedule, latest_today(now)).validate() {
        Ok(new) => new,
        Err(errors) => return Ok(Err(Refusal::Invalid(errors))),
    };
    let edit = |current: Option<CurrentUser>| -> Result<NewUser, Refusal> {
        let CurrentUser { version, user } = current.ok_or(Refusal::NoSuchUser)?;
        if version == expected {
            Ok(new.clone())
        } else {
            Err(Refusal::Changed(version, user.ok().map(Box::new)))
        }
    };
    let save = || api.store.save_user(&api.schedule, now, Some(UserRef::Id(id)), None, edit);
    match retry_on_contention(save).await {
        Ok(SaveOutcome::Saved(change, _)) => Ok(Ok(change)),
        Ok(SaveOutcome::Refused(refusal)) => Ok(Err(refusal)),
        // Without an idempotency key, no request is a repeated one.
        Ok(SaveOutcome::Repeated(_)) => Ok(Err(Refusal::NoSuchUser)),
        Err(error) => Ok(Err(Refusal::Invalid(rejected(error)?))),
    }
}
