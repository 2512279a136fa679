//! Users and their dates. A user is planned in the transaction that writes it.

mod calendar;
mod columns;
mod compare;
mod delete;
mod history;
mod idempotency_keys;
pub(super) mod occasions;
mod read;
mod save;
mod search;
mod write;

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

pub use calendar::{CalendarDate, DateCount, DateName};
pub use delete::DeleteOutcome;
pub use history::UserHistory;
pub use idempotency_keys::{Idempotency, RepeatedRequest};
pub use read::{UserFilter, UserPage};
pub use save::{ApiRequest, BatchOutcome, CurrentUser, SaveOutcome};
pub use search::{SearchCursor, SearchPage};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserRef<'a> {
    Id(Uuid),
    External(&'a str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UserChange {
    Created,
    Updated,
    Unchanged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserKey {
    /// By `external_id`; an existing user is updated.
    ExternalId,
    /// By this id; an existing user stays as it is.
    NewId(Uuid),
    /// By this id of an export; an existing user is updated. Otherwise by `external_id`; without one, the user is created under
    /// this id. An external id is never removed or replaced.
    ExportedId(Uuid),
}
