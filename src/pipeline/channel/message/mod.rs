//! The message of a greeting: templates for each kind, channel and locale.
//!
//! Each field (subject, text, HTML, variables) is looked up alone, first in `kinds.KIND.CHANNEL.LOCALE`, then under shorter forms of
//! the locale (`de` for `de-AT`), then in `kinds.KIND.CHANNEL`; a text without any of these is `kinds.KIND.message`. The look-ups are
//! made when the templates are compiled, so rendering a greeting finds its templates at once.

mod compile;
mod fields;
mod locale;
mod lookup;
mod template;
mod text;

use std::collections::BTreeMap;

pub(crate) use compile::MessageTemplates;
pub use fields::{TemplateField, TemplateFields, TemplateTables};
pub use locale::Locale;
pub use lookup::Messages;
pub use template::{Form, Template, TemplateError, TemplateValues};
pub(super) use text::subject_of;

/// A rendered greeting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Only for mail. One line.
    pub subject: Option<String>,
    pub text: String,
    /// Only for mail.
    pub html: Option<String>,
    /// Only for `WhatsApp`: replaces the text.
    pub content: Option<ContentTemplate>,
}

impl Message {
    #[must_use]
    pub fn of_text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

/// A message template that is stored at the provider, and the values of its variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentTemplate {
    pub sid: String,
    /// One line each.
    pub variables: BTreeMap<String, String>,
}
