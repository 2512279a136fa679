use uuid::Uuid;

use crate::model::{FieldError, NewUser};

const MAX_ERRORS: usize = 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImportedUser {
    pub(super) id: Option<Uuid>,
    pub(super) user: NewUser,
}

impl ImportedUser {
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

pub(super) fn format_errors(errors: &[FieldError]) -> String {
    let mut texts: Vec<String> = errors.iter().take(MAX_ERRORS).map(ToString::to_string).collect();
    let more = errors.len() - texts.len();
    if more > 0 {
        texts.push(format!("and {more} more"));
    }
    texts.join("; ")
}
