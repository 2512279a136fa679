//! `/people/new`, and its form. The form has an idempotency key, so that a double click adds one person.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use uuid::Uuid;

use crate::calendar::latest_today;
use crate::http::access::AuditedWrite;
use crate::http::api::users::retry_on_contention;
use crate::http::console::Console;
use crate::http::console::fields::{Fields, Form};
use crate::http::console::layout::{Layout, Notice, Section, View};
use crate::http::console::person_text::person_path;
use crate::http::console::problem::{ConsoleProblem, Page};
use crate::http::console::user_form::{UserForm, read, rejected, taken};
use crate::model::FieldError;
use crate::store::{ApiRequest, ApiWrite, CurrentUser, Idempotency, RepeatedRequest, SaveOutcome, UserRef};

/// The field with the idempotency key.
const KEY: &str = "key";

#[derive(Template)]
#[template(path = "person_new.html", config = "src/http/console/askama.toml")]
struct NewPersonPage {
    layout: Layout,
    form: UserForm,
    /// The idempotency key.
    key: Uuid,
}

impl NewPersonPage {
    fn new(view: &View, form: UserForm) -> Self {
        Self { layout: view.layout("Add a person", Section::People), form, key: Uuid::now_v7() }
    }
}

pub(super) async fn show(State(console): State<Console>, view: View) -> Response {
    Page(NewPersonPage::new(&view, UserForm::empty(&console.api.schedule))).into_response()
}

/// Why a form did not add a person.
enum Refusal {
    Invalid(Vec<FieldError>),
    /// The form was sent before; the reason why it is not repeated.
    SentBefore(&'static str),
}

/// As `POST /v1/users` with `Idempotency-Key`.
pub(super) async fn create(
    State(console): State<Console>,
    view: View,
    Extension(write): Extension<ApiWrite>,
    Form(fields): Form,
) -> Result<Response, ConsoleProblem> {
    let refusal = match save(&console, &write, &fields).await? {
        Ok(id) => {
            let response = Notice::done("The person is added.").on(&person_path(id));
            return Ok((Extension(AuditedWrite(id)), response).into_response());
        }
        Err(refusal) => refusal,
    };
    let form = UserForm::sent(&fields, &console.api.schedule);
    let page = match refusal {
        Refusal::Invalid(errors) => NewPersonPage::new(&view, form.with_errors(&errors)),
        Refusal::SentBefore(reason) => {
            let mut page = NewPersonPage::new(&view, form);
            page.layout.notice = Some(Notice::failed(reason));
            page
        }
    };
    Ok((StatusCode::UNPROCESSABLE_ENTITY, Page(page)).into_response())
}

/// Creates the user, and returns the id.
async fn save(
    console: &Console,
    write: &ApiWrite,
    fields: &Fields,
) -> Result<Result<Uuid, Refusal>, ConsoleProblem> {
    let (api, now) = (&console.api, console.api.clock.now());
    let new = match read(fields, &api.schedule, latest_today(now)).validate() {
        Ok(new) => new,
        Err(errors) => return Ok(Err(Refusal::Invalid(errors))),
    };
    let existing = new.external_id.as_deref().map(UserRef::External);
    let values = fields.without(KEY);
    let idempotency = fields.get(KEY).map(|key| Idempotency { key, request: values.as_bytes() });
    let request = ApiRequest { write, idempotency };
    let edit = |current: Option<CurrentUser>| match current {
        None => Ok(new.clone()),
        Some(_) => Err(()),
    };
    let save = || api.store.save_user(&api.schedule, now, existing, Some(&request), edit);
    let refusal = match retry_on_contention(save).await {
        Ok(SaveOutcome::Saved(_, user)) => return Ok(Ok(user.id)),
        Ok(SaveOutcome::Repeated(RepeatedRequest::Answered { id, .. })) => return Ok(Ok(id)),
        Ok(SaveOutcome::Repeated(RepeatedRequest::KeyTaken)) => Refusal::SentBefore(
            "This form has added a person with other values before. Send it again to add another person.",
        ),
        Ok(SaveOutcome::Repeated(RepeatedRequest::UserDeleted)) => Refusal::SentBefore(
            "The person that this form added was deleted. Send it again to add the person again.",
        ),
        Ok(SaveOutcome::Refused(())) => Refusal::Invalid(vec![taken()]),
        Err(error) => Refusal::Invalid(rejected(error)?),
    };
    Ok(Err(refusal))
}
