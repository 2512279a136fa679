//! `/people/new`, and its form.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use uuid::Uuid;

use crate::calendar::latest_today;
use crate::http::access::AuditTarget;
use crate::http::api::users::retry_on_contention;
use crate::http::console::Console;
use crate::http::console::fields::{Fields, Form};
use crate::http::console::layout::{Layout, Notice, Section, View};
use crate::http::console::person_text::person_path;
use crate::http::console::problem::{ConsoleProblem, Page};
use crate::http::console::user_form::{UserForm, read, rejected, taken};
use crate::model::FieldError;
use crate::store::{CurrentUser, SaveOutcome, UserRef};

#[derive(Template)]
#[template(path = "person_new.html", config = "src/http/console/askama.toml")]
struct NewPersonPage {
    layout: Layout,
    form: UserForm,
}

impl NewPersonPage {
    fn new(view: &View, form: UserForm) -> Self {
        Self { layout: view.layout("Add a person", Section::People), form }
    }
}

pub(super) async fn show(State(console): State<Console>, view: View) -> Response {
    Page(NewPersonPage::new(&view, UserForm::empty(&console.api.schedule))).into_response()
}

/// As `POST /v1/users`.
pub(super) async fn create(
    State(console): State<Console>,
    view: View,
    Form(fields): Form,
) -> Result<Response, ConsoleProblem> {
    let errors = match save(&console, &fields).await? {
        Ok(id) => {
            let response = Notice::done("The person is added.").on(&person_path(id));
            return Ok((Extension(AuditTarget(id)), response).into_response());
        }
        Err(errors) => errors,
    };
    let form = UserForm::sent(&fields, &console.api.schedule).with_errors(&errors);
    Ok((StatusCode::UNPROCESSABLE_ENTITY, Page(NewPersonPage::new(&view, form))).into_response())
}

/// Creates the user, and returns the id, or every invalid field.
async fn save(console: &Console, fields: &Fields) -> Result<Result<Uuid, Vec<FieldError>>, ConsoleProblem> {
    let (api, now) = (&console.api, console.api.clock.now());
    let new = match read(fields, &api.schedule, latest_today(now)).validate() {
        Ok(new) => new,
        Err(errors) => return Ok(Err(errors)),
    };
    let existing = new.external_id.as_deref().map(UserRef::External);
    let edit = |current: Option<CurrentUser>| match current {
        None => Ok(new.clone()),
        Some(_) => Err(()),
    };
    let save = || api.store.save_user(&api.schedule, now, existing, None, edit);
    match retry_on_contention(save).await {
        Ok(SaveOutcome::Saved(_, user)) => Ok(Ok(user.id)),
        // Without an idempotency key, no request is a repeated one.
        Ok(SaveOutcome::Refused(()) | SaveOutcome::Repeated(_)) => Ok(Err(vec![taken()])),
        Err(error) => rejected(error).map(Err),
    }
}
