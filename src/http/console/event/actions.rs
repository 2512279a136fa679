//! Retry and cancel, as `bday event retry` and `bday event cancel`.

use axum::extract::{Path, State};
use axum::response::Response;
use uuid::Uuid;

use super::view::sentence;
use super::{no_such_event, read_id};
use crate::http::console::Console;
use crate::http::console::fields::{Fields, Form};
use crate::http::console::layout::Notice;
use crate::http::console::problem::ConsoleProblem;
use crate::model::EventState;
use crate::operations::dead_letters::RetryOutcome;
use crate::store::{CancelOutcome, RedriveOutcome};

pub(super) async fn retry(
    State(console): State<Console>,
    Path(id): Path<String>,
    Form(form): Form,
) -> Result<Response, ConsoleProblem> {
    let id = read_id(&id)?;
    let force = form.get("force").is_some();
    let outcome = console.api.dead_letters.retry(id, force).await?;
    console.api.statistics.invalidate();
    let notice = match outcome {
        RetryOutcome::Done(RedriveOutcome::Redriven) => {
            let is_paused = console.api.store.pause().await?.is_some();
            let when = if is_paused { "sent after sending is resumed" } else { "sent within seconds" };
            Notice::done(format!("The event is redriven: it is {when}."))
        }
        RetryOutcome::Done(RedriveOutcome::Skipped(_)) => Notice::failed(
            "The event is skipped: its local day is over. Retry it again to send it nevertheless.",
        ),
        RetryOutcome::Done(RedriveOutcome::Cancelled(_)) => {
            Notice::failed("The event is cancelled: its person or date is deleted.")
        }
        RetryOutcome::NotDead(EventState::Skipped) if !force => Notice::failed(
            "Nothing was changed: the event is skipped. Only with force it is sent nevertheless.",
        ),
        RetryOutcome::NotDead(state) => Notice::failed(format!(
            "Nothing was changed: the event is {state}. Another operator or process was faster."
        )),
        RetryOutcome::Unknown => return Err(no_such_event(id)),
    };
    Ok(notice.on(&back(&form, id)))
}

pub(super) async fn cancel(
    State(console): State<Console>,
    Path(id): Path<String>,
    Form(form): Form,
) -> Result<Response, ConsoleProblem> {
    let id = read_id(&id)?;
    let outcome = console.api.dead_letters.cancel(id).await?;
    console.api.statistics.invalidate();
    let notice = match outcome {
        CancelOutcome::Cancelled => Notice::done("The event is cancelled: it is never sent."),
        CancelOutcome::Refused(EventState::Cancelled) => {
            Notice::failed("Nothing was changed: the event was cancelled before.")
        }
        CancelOutcome::Refused(state) => {
            Notice::failed(format!("Nothing was changed: {}", sentence(&state.cancel_error())))
        }
        CancelOutcome::NotFound => return Err(no_such_event(id)),
    };
    Ok(notice.on(&back(&form, id)))
}

fn back(form: &Fields, id: Uuid) -> String {
    form.back(&format!("/events/{id}"))
}
