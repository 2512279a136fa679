//! Users and their dates. A user is planned in the transaction that writes it.
//!
//! Every write, of one user or of a batch, takes the same path: look up the ids, begin and lock the rows ([`known`]), and only
//! then read and write them ([`upsert`]). A lookup that the lock contradicts is [`StoreError::Overtaken`], and is repeated by
//! the caller.
//!
//! [`StoreError::Overtaken`]: super::StoreError::Overtaken

mod delete;
mod facts;
mod idempotency;
mod known;
mod read;
mod rows;
mod save;
mod search;
mod upsert;
mod write;

use uuid::Uuid;

pub use delete::Deleted;
pub use facts::Facts;
pub use idempotency::{Before, Idempotency, Repeated};
pub use read::{UserFilter, UserPage};
pub(super) use rows::OccasionRow;
pub use save::{ApiRequest, Current, Edited, Saved};
pub use search::{SearchCursor, SearchPage};

/// How a user in a batch is identified.
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

/// What a batch did with a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It did not exist before.
    Created,
    /// It existed, and changed.
    Updated,
    /// It existed, with the same fields.
    Unchanged,
    /// Not written: the id belongs to a user with another external id, or the external id to another user. Only for
    /// [`UserKey::Own`].
    Clash,
    /// Not written: an earlier entry of the batch is the same user. Write it again in another batch; the first entry of a
    /// batch never gets this.
    Later,
}

/// A user by one of its two names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserRef<'a> {
    /// By bday's own id.
    Id(Uuid),
    /// By the owner's.
    External(&'a str),
}
