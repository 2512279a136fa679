//! Users and their dates. A user is planned in the transaction that writes it.

mod delete;
mod facts;
mod idempotency;
mod read;
mod save;
mod search;
mod write;

use uuid::Uuid;

pub use delete::Deleted;
pub use facts::Facts;
pub use idempotency::{Idempotency, Repeated};
pub(super) use read::OccasionRow;
pub use read::{UserFilter, UserPage};
pub use save::{ApiRequest, Current, SaveOutcome, Saved};
pub use search::{SearchCursor, SearchPage};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserKey {
    /// By `external_id`: an existing user is updated.
    External,
    /// By this id: an existing user stays as it is.
    Id(Uuid),
    /// By this id, as an export gives it: an existing user is updated. Otherwise by `external_id`, if there is one; otherwise
    /// the user is created under this id. An external id is never removed or replaced.
    Own(Uuid),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserRef<'a> {
    Id(Uuid),
    External(&'a str),
}
