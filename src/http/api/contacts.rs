//! `/v1/users/{id}/contacts/{channel}`: whether a user wants greetings by a channel.

use axum::Extension;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Api;
use super::fields::{self, parse_id};
use super::problem::Problem;
use super::request::{Json, NoParameters, Query};
use super::users::retry_on_contention;
use crate::calendar::InvalidText;
use crate::http::access::AuditedWrite;
use crate::model::{ChannelName, Contact, FieldError};
use crate::store::{ApiWrite, ContactChoice};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ContactStatusInput {
    Active,
    OptedOut,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ContactInput)]
pub(super) struct ContactBody {
    /// `opted_out`: send nothing by this channel. `active`: send again, also after a bounce or a complaint.
    #[serde(default)]
    #[schema(value_type = ContactStatusInput, required = true)]
    status: Option<ContactStatusInput>,
    /// Only for this kind. The default is all kinds.
    #[serde(default, deserialize_with = "fields::text")]
    #[schema(value_type = Option<String>, format = "kind", example = "birthday")]
    kind: Option<String>,
}

/// The user's id and the channel in a path.
#[derive(Debug, Clone, Copy)]
pub(super) struct UserChannel(Uuid, ChannelName);

impl<S: Send + Sync> FromRequestParts<S> for UserChannel {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((id, channel)) = path.map_err(|_| Problem::bad_request("the path is not UTF-8"))?;
        let id = parse_id(&id).map_err(|problem| FieldError::new("id", problem));
        let channel =
            channel.parse().map_err(|error: InvalidText| FieldError::new("channel", error.to_string()));
        match (id, channel) {
            (Ok(id), Ok(channel)) => Ok(Self(id, channel)),
            (id, channel) => {
                let errors = [id.err(), channel.err()].into_iter().flatten().collect();
                Err(Problem::invalid_parameters(errors))
            }
        }
    }
}

/// Opt a user in to or out of a channel
///
/// An opt-out belongs to the addresses that the user has for this channel: it remains when the user is deleted, and applies to everyone
/// with the same address. Opting in also ends the suppression after a bounce or a complaint; without a kind, it ends the opt-outs of
/// single kinds, too. The request may be repeated.
#[utoipa::path(
    put, path = "/v1/users/{id}/contacts/{channel}", tag = "users", operation_id = "putContact",
    params(
        ("id" = Uuid, Path, description = "The user's id"),
        ("channel" = ChannelName, Path, description = "The channel. The webhook needs no contact")
    ),
    request_body(content = ContactBody, content_type = "application/json"),
    responses(
        (status = 200, description = "The contact", body = Contact),
        (status = 404, description = "No such user, or the user has no address for this channel"),
        (status = 422, description = "Invalid fields")
    )
)]
pub(super) async fn put(
    State(api): State<Api>,
    Extension(write): Extension<ApiWrite>,
    UserChannel(id, channel): UserChannel,
    _: Query<NoParameters>,
    Json(body): Json<ContactBody>,
) -> Result<Response, Problem> {
    let status = body.status.ok_or_else(|| FieldError::new("status", "is missing"));
    let kind = body.kind.as_deref();
    let kind = api.schedule.check_kind(kind).map_err(|error| FieldError::new("kind", error.to_string()));
    let (status, kind) = match (status, kind) {
        (Ok(status), Ok(kind)) => (status, kind),
        (status, kind) => {
            let errors = [status.err(), kind.err()].into_iter().flatten().collect();
            return Err(Problem::invalid_fields(errors));
        }
    };
    let choice = ContactChoice { channel, kind, is_opted_out: status == ContactStatusInput::OptedOut };
    let now = api.clock.now();
    let contact = retry_on_contention(|| api.store.choose_contact(id, choice, now, Some(&write))).await?;
    let contact = contact.ok_or_else(|| {
        Problem::not_found(format!("the user does not exist or has no address for the channel {channel}"))
    })?;
    Ok((Extension(AuditedWrite(id)), Json(contact)).into_response())
}
