//! Users and their occasions. Whoever is written is planned in the same transaction.

mod columns;
mod create;
mod edit;
mod facts;
mod identify;
mod occasions;
mod read;
mod rows;
mod search;
mod write;

use uuid::Uuid;

pub use create::{Before, Created, Idempotency};
pub use edit::{Deleted, Edited};
pub use facts::Facts;
pub use read::{UserFilter, UserPage};
pub(super) use rows::OccasionRow;
pub use search::{SearchCursor, SearchPage};

/// By what a user that is written is known to be the same as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserKey {
    /// Its `external_id`: one that is there is updated.
    External,
    /// This id: one that is there stays as it is.
    Id(Uuid),
    /// This id, as an export gives it: one that is there is updated. Else its `external_id`, if it has one; else it is new
    /// under this id. An external id is never taken away, nor is one put in the place of another.
    Own(Uuid),
}

/// What became of a user that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It was not there before.
    Created,
    /// It was there, and something of it changed.
    Updated,
    /// It was there, just like this.
    Unchanged,
    /// Not written: its id belongs to somebody with another external id, or its external id to somebody else. Only by
    /// [`UserKey::Own`].
    Clash,
    /// Not written: it is somebody who came before in the same call, by whatever name, so it takes another call. The first
    /// never is.
    Later,
}

/// A user as somebody names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserRef<'a> {
    /// By bday's own id.
    Id(Uuid),
    /// By the owner's.
    External(&'a str),
}

impl UserRef<'_> {
    fn columns(&self) -> (Option<Uuid>, Option<&str>) {
        match self {
            Self::Id(id) => (Some(*id), None),
            Self::External(id) => (None, Some(id)),
        }
    }
}
