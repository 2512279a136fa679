//! The query of the page: which person, kind, channel and locale.

use crate::calendar::InvalidText;
use crate::http::api::fields::{ShortText, parse_id};
use crate::http::console::Console;
use crate::http::console::command::CommandLine;
use crate::http::console::fields::Fields;
use crate::http::console::person_text::listed_name;
use crate::http::console::url::with_query;
use crate::model::{ChannelName, FieldError, User};
use crate::people::preview::PreviewRequest;
use crate::store::{SearchCursor, StoreError, UserRef};

const MAX_MATCHES: u32 = 10;

/// The fields as they were sent. Empty: the default.
#[derive(Debug, Clone, Default)]
pub(super) struct Choice {
    pub(super) user: String,
    kind: String,
    pub(super) channel: String,
    pub(super) locale: String,
}

/// The people whom the text of a search may mean.
pub(super) enum Found {
    One(Box<User>),
    Several(Vec<User>),
    None,
}

/// A person to choose.
pub(super) struct PersonLink {
    pub(super) path: String,
    pub(super) name: String,
    pub(super) detail: String,
}

impl Choice {
    pub(super) fn of(query: &Fields) -> Self {
        let text = |name| query.text(name).to_owned();
        Self { user: text("user"), kind: text("kind"), channel: text("channel"), locale: text("locale") }
    }

    pub(super) fn kind(&self) -> Option<&str> {
        Some(self.kind.as_str()).filter(|kind| !kind.is_empty())
    }

    pub(super) fn request(&self) -> Result<PreviewRequest, FieldError> {
        let channel: Option<ChannelName> = match &*self.channel {
            "" => None,
            name => Some(
                name.parse().map_err(|error: InvalidText| FieldError::new("channel", error.to_string()))?,
            ),
        };
        let locale = Some(self.locale.clone()).filter(|locale| !locale.is_empty());
        Ok(PreviewRequest { kind: self.kind().map(str::to_owned), channel, locale })
    }

    /// Returns the path of a page about `who` with the same kind, channel and locale.
    pub(super) fn path(&self, page: &str, who: (&str, &str), channel: &str) -> String {
        with_query(page, &[who, ("kind", &self.kind), ("channel", channel), ("locale", &self.locale)])
    }

    /// Returns `command` with the options that mean the same.
    pub(super) fn command(&self, command: CommandLine) -> CommandLine {
        let given = |value: &str| Some(value.to_owned()).filter(|value| !value.is_empty());
        let command = command.option("--kind", given(&self.kind)).option("--channel", given(&self.channel));
        command.option("--locale", given(&self.locale))
    }
}

/// Finds a person by id, then by external id, then by the beginning of a name.
pub(super) async fn find(console: &Console, text: &str) -> Result<Found, StoreError> {
    let store = &console.api.store;
    let Ok(ShortText(text)) = text.parse() else { return Ok(Found::None) };
    if let Ok(id) = parse_id(&text)
        && let Some(user) = store.user(UserRef::Id(id)).await?
    {
        return Ok(Found::One(Box::new(user)));
    }
    if let Some(user) = store.user(UserRef::External(&text)).await? {
        return Ok(Found::One(Box::new(user)));
    }
    let page = store.search_users(&text, None, SearchCursor::default(), MAX_MATCHES).await?;
    let mut users = page.users;
    Ok(match users.len() {
        0 => Found::None,
        1 => users.pop().map_or(Found::None, |user| Found::One(Box::new(user))),
        _ => Found::Several(users),
    })
}

impl PersonLink {
    pub(super) fn of(user: &User, choice: &Choice) -> Self {
        let id = user.id.to_string();
        let external_id = user.external_id.as_deref().map(|id| format!(", {id}")).unwrap_or_default();
        Self {
            path: choice.path("/message", ("user", &id), &choice.channel),
            name: listed_name(user),
            detail: format!("{}, {}{external_id}", user.birth_date, user.time_zone),
        }
    }
}
