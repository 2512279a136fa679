//! The forms that opt a person in to or out of a channel.

use axum::extract::{Path, State};
use axum::response::Response;

use super::not_found;
use crate::http::api::fields::parse_id;
use crate::http::api::users::retry_on_contention;
use crate::http::console::Console;
use crate::http::console::fields::Form;
use crate::http::console::layout::Notice;
use crate::http::console::person_text::{kind_in_words, person_path};
use crate::http::console::problem::ConsoleProblem;
use crate::model::ChannelName;
use crate::store::ContactChoice;

/// As `PUT /v1/users/{id}/contacts/{channel}`.
pub(super) async fn choose(
    State(console): State<Console>,
    Path((id, channel)): Path<(String, String)>,
    Form(fields): Form,
) -> Result<Response, ConsoleProblem> {
    let (Ok(id), Ok(channel)) = (parse_id(&id), channel.parse::<ChannelName>()) else {
        return Err(not_found());
    };
    let api = &console.api;
    let kind = api.schedule.check_kind(fields.get("kind"));
    let kind = kind.map_err(|error| ConsoleProblem::bad_request(error.to_string()))?;
    let is_opted_out = match fields.text("status") {
        "opted_out" => true,
        "active" => false,
        other => {
            let detail = format!("Unknown status {other:?}: use active or opted_out.");
            return Err(ConsoleProblem::bad_request(detail));
        }
    };
    let choice = ContactChoice { channel, kind, is_opted_out };
    let choose = || api.store.choose_contact(id, choice, api.clock.now(), None);
    let notice = match retry_on_contention(choose).await? {
        Some(_) => {
            let done = if is_opted_out { "Opted out of" } else { "Opted in to" };
            let kind = kind.map(|kind| format!(", {} only", kind_in_words(kind))).unwrap_or_default();
            Notice::done(format!("{done} {channel}{kind}."))
        }
        None => Notice::failed(format!("The person has no address for {channel}.")),
    };
    Ok(notice.on(&fields.back(&person_path(id))))
}
