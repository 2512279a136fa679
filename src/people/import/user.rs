use uuid::Uuid;

use crate::model::{FieldError, NewUser};

/// Errors that are reported for one line.
const MAX_ERRORS: usize = 20;

/// A user on a line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImportedUser {
    pub(super) id: Option<Uuid>,
    pub(super) user: NewUser,
}

impl ImportedUser {
    /// Returns the user, or the errors of both.
    pub(super) fn new(
        id: Result<Option<Uuid>, FieldError>,
        user: Result<NewUser, Vec<FieldError>>,
    ) -> Result<Self, Vec<FieldError>> {
        match (id, user) {
            (Ok(id), Ok(user)) => Ok(Self { id, user }),
            (Ok(_), Err(errors)) => Err(errors),
            (Err(error), user) => Err(std::iter::once(error).chain(user.err().unwrap_or_default()).collect()),
        }
    }
}

/// Formats the errors of a line.
pub(super) fn format_errors(errors: &[FieldError]) -> String {
    let mut texts: Vec<String> = errors.iter().take(MAX_ERRORS).map(ToString::to_string).collect();
    let more = errors.len() - texts.len();
    if more > 0 {
        texts.push(format!("and {more} more"));
    }
    texts.join("; ")
}
