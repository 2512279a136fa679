//! `/v1/users/import`

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use futures_util::TryStreamExt as _;
use serde::Deserialize;
use tokio_util::io::{StreamReader, SyncIoBridge};
use utoipa::IntoParams;

use super::Api;
use super::fields;
use super::problem::Problem;
use super::request::{Json, Query, content_type};
use crate::calendar::Zone;
use crate::model::FieldError;
use crate::people::import::{self, ImportError, ImportFormat, ImportOptions, ImportReport};

/// Concurrent imports. Each holds a thread of the blocking pool, which also resolves the host names of receivers.
pub(super) const MAX_IMPORTS: usize = 8;

const TYPES: &str = "text/csv, application/x-ndjson or text/vcard";

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ImportQuery {
    /// Only report what would be done (default false)
    #[serde(deserialize_with = "fields::flag")]
    #[param(value_type = Option<bool>)]
    dry_run: bool,
    /// The zone of vCards without `TZ`
    #[param(value_type = Option<String>, format = "time-zone")]
    time_zone: Option<Zone>,
}

/// Import users
///
/// A CSV file (columns `first_name,last_name,birth_date,time_zone`, and optionally `send_at`, `leap_day`, `external_id`, `id`,
/// `email`, `phone`, `slack_user_id`, `locale` and one for each other kind), NDJSON with one user per line as in `createUser`, and optionally `id`,
/// or vCards. The body is a stream of any length. Invalid lines are reported by number; all others are imported. An import may be
/// repeated: a user with an `id`, as in an export, is updated, or created with that id; a user with an external id is updated by it; a user
/// with neither is identified by the whole line.
///
/// A dry run compares the lines with the stored users, and writes nothing. Of a user that occurs twice in the file, lines far apart are
/// both compared with the stored user.
#[utoipa::path(
    post, path = "/v1/users/import", tag = "users", operation_id = "importUsers",
    params(ImportQuery),
    request_body(content((String = "text/csv"), (String = "application/x-ndjson"), (String = "text/vcard"))),
    responses(
        (status = 200, body = ImportReport, description = "The result"),
        (status = 415, description = "Neither CSV nor NDJSON nor vCard"),
        (status = 422, description = "The first line does not name the columns"),
        (status = 503, description = "This process already runs 8 imports, or the database is unavailable: `detail` names the first line that was not imported")
    )
)]
pub(super) async fn import(
    State(api): State<Api>,
    Query(query): Query<ImportQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ImportReport>, Problem> {
    let options = query.options(&content_type(&headers))?;
    let reader = StreamReader::new(body.into_data_stream().map_err(io::Error::other));
    let input = io::BufReader::with_capacity(64 * 1024, SyncIoBridge::new(reader));
    let permit = Arc::clone(&api.imports).try_acquire_owned();
    let permit = Arc::new(permit.map_err(|_| Problem::too_many_imports(MAX_IMPORTS))?);
    // The reading thread may outlive this request, so it holds the permit, too.
    let held = Arc::clone(&permit);
    let progress = move |_| {
        let _held = &held;
    };
    let imported = import::run(&api.store, &api.schedule, &api.clock, options, input, progress).await;
    drop(permit);
    match imported {
        Ok(report) => Ok(Json(report)),
        Err(ImportError::Header(error)) => Err(Problem::unusable_body(error.to_string())),
        Err(error @ ImportError::Read { .. }) => Err(Problem::bad_request(format!(
            "{error}: the body is incomplete; the lines before were imported: send it again"
        ))),
        Err(ref error @ ImportError::Store { ref source, .. }) => {
            Err(Problem::from(source).and(&error.to_string()))
        }
    }
}

impl ImportQuery {
    fn options(self, media_type: &str) -> Result<ImportOptions, Problem> {
        let Self { dry_run, time_zone } = self;
        let format = ImportFormat::of_media_type(media_type);
        let format = format.ok_or_else(|| Problem::unsupported_content_type(TYPES))?;
        if time_zone.is_some() && format != ImportFormat::Vcard {
            let problem = "is for vCards: in CSV and NDJSON, each line has its time zone";
            return Err(Problem::invalid_parameters(vec![FieldError::new("timeZone", problem)]));
        }
        Ok(ImportOptions { dry_run, time_zone, ..ImportOptions::new(format) })
    }
}
