//! `/v1/users/{id}/preview`

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::problem::Problem;
use super::request::{Id, Json, Query};
use super::users::no_such_user;
use super::{Api, fields};
use crate::model::{ChannelName, FieldError};
use crate::people::preview::{self, Preview, PreviewRequest};
use crate::store::UserRef;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PreviewQuery {
    /// Only this channel, whether or not the kind uses it (default: all channels of the kind)
    #[serde(deserialize_with = "fields::text")]
    channel: Option<ChannelName>,
    /// A language tag (default: the locale of the user)
    #[param(example = "de-AT")]
    locale: Option<String>,
    /// A kind of the configuration (default `birthday`)
    kind: Option<String>,
}

/// Preview the messages to a user
///
/// What would be sent on the next occasion, by each channel of the kind. Nothing is sent. The link to unsubscribe is an example.
#[utoipa::path(
    get, path = "/v1/users/{id}/preview", tag = "users", operation_id = "previewMessages",
    params(("id" = Uuid, Path, description = "The user's id"), PreviewQuery),
    responses(
        (status = 200, description = "The messages", body = Preview),
        (status = 404, description = "No such user")
    )
)]
pub(super) async fn preview(
    State(api): State<Api>,
    Id(id): Id,
    Query(PreviewQuery { channel, locale, kind }): Query<PreviewQuery>,
) -> Result<Json<Preview>, Problem> {
    let request = PreviewRequest { kind, channel, locale };
    let settings = &api.preview_settings;
    let invalid = |error: FieldError| Problem::invalid_parameters(vec![error]);
    let (kind, channels) = settings.route(&request).map_err(invalid)?;
    let user = api.store.user(UserRef::Id(id)).await?.ok_or_else(no_such_user)?;
    let reached_by = api.store.reach(user.id, kind, channels).await?;
    preview::preview(&user, reached_by, &request, settings, api.clock.now()).map(Json).map_err(invalid)
}
