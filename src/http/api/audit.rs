//! `/v1/audit`: as `bday token audit`.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::Api;
use super::fields;
use super::page::{self, Limit, Page, TimeCursorText};
use super::problem::Problem;
use super::request::{Json, Query};
use crate::store::{ApiWrite, ApiWriteFilter};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// With the token of this name
    #[serde(deserialize_with = "fields::token_name")]
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9._-]{1,60}$")]
    token: Option<String>,
    /// Of the user, event or token with this id
    #[serde(deserialize_with = "fields::id")]
    target_id: Option<Uuid>,
    /// With this method
    method: Option<WriteMethod>,
    /// At this instant or later: RFC 3339, or a date, which begins at 00:00 UTC
    #[serde(deserialize_with = "fields::instant")]
    #[param(value_type = Option<String>, format = "instant")]
    from: Option<DateTime<Utc>>,
    /// Before this instant
    #[serde(deserialize_with = "fields::instant")]
    #[param(value_type = Option<String>, format = "instant")]
    to: Option<DateTime<Utc>>,
    /// Maximum number of items (default 50)
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// `next` of the page before
    #[param(value_type = Option<String>, format = "time-cursor")]
    cursor: Option<TimeCursorText>,
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum WriteMethod {
    Post,
    Put,
    Patch,
    Delete,
}

impl WriteMethod {
    fn name(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// List the audit log
///
/// The requests that changed something, failed or were refused, the newest first, kept for `retention.audit_days`. A request must meet
/// all conditions. No names and no bodies are recorded.
#[utoipa::path(
    get, path = "/v1/audit", tag = "access", operation_id = "listAudit",
    params(AuditQuery),
    responses((status = 200, description = "A page of requests", body = Page<ApiWrite>))
)]
pub(super) async fn list(
    State(api): State<Api>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<Page<ApiWrite>>, Problem> {
    let filter = ApiWriteFilter {
        from: query.from,
        to: query.to,
        token: query.token,
        target_id: query.target_id,
        method: query.method.map(|method| method.name().to_owned()),
    };
    let limit = page::items(query.limit);
    let before = query.cursor.map(|TimeCursorText(cursor)| cursor);
    let writes = api.store.api_writes(&filter, before, limit + 1).await?;
    Ok(Json(Page::by_time(writes, limit, |write: &ApiWrite| write.into())))
}
