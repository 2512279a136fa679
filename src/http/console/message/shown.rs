//! Previews for the page.

use super::choice::Choice;
use crate::http::console::command::CommandLine;
use crate::http::console::person_text::{capitalised, full_name, kind_with_years, person_path};
use crate::model::{ChannelName, User};
use crate::people::preview::{Preview, PreviewedMessage, SamplePreview};

pub(super) struct ShownPreview {
    pub(super) title: String,
    /// The path of the person's page.
    pub(super) person: Option<String>,
    /// `birthday, 36 years, on 2026-12-10; locale de`
    pub(super) occasion: String,
    /// By which channel the person is reached now.
    pub(super) reached: String,
    pub(super) messages: Vec<ShownMessage>,
    pub(super) command: CommandLine,
}

pub(super) struct ShownMessage {
    pub(super) channel: ChannelName,
    pub(super) is_reached: bool,
    pub(super) templates: String,
    pub(super) subject: Option<String>,
    pub(super) text: Option<String>,
    /// The path of the HTML part.
    pub(super) html: Option<String>,
    pub(super) content_sid: Option<String>,
    pub(super) variables: Vec<(String, String)>,
    pub(super) error: Option<String>,
}

impl ShownPreview {
    pub(super) fn of_user(preview: Preview, user: &User, choice: &Choice) -> Self {
        let id = user.id.to_string();
        let reached = match preview.reached_by {
            Some(channel) => format!("Reached by {channel} now."),
            None => {
                "No channel of this kind reaches the person now: the greeting would be skipped.".to_owned()
            }
        };
        let command = choice.command(CommandLine::new("bday message preview").word(&id));
        let shown = Self::new(full_name(user), preview, ("user", &id), choice, command);
        Self { person: Some(person_path(user.id)), reached, ..shown }
    }

    pub(super) fn of_sample(number: usize, sample: SamplePreview, choice: &Choice) -> Self {
        let title = format!("A person {}", sample.sample);
        let command = choice.command(CommandLine::new("bday message preview --samples"));
        Self::new(title, sample.preview, ("sample", &number.to_string()), choice, command)
    }

    fn new(
        title: String,
        preview: Preview,
        who: (&str, &str),
        choice: &Choice,
        command: CommandLine,
    ) -> Self {
        let years = preview.years.and_then(|years| u32::try_from(years).ok());
        let locale = preview.locale.map(|locale| format!("; language {locale}")).unwrap_or_default();
        let reached_by = preview.reached_by;
        let message = |message: PreviewedMessage| ShownMessage {
            is_reached: reached_by == Some(message.channel),
            templates: message.templates.join(", "),
            html: message.html.map(|_| choice.path("/message/html", who, message.channel.as_str())),
            channel: message.channel,
            subject: message.subject,
            text: message.text,
            content_sid: message.content_sid,
            variables: message.variables.into_iter().collect(),
            error: message.error,
        };
        Self {
            title,
            person: None,
            occasion: format!(
                "{} on {}{locale}.",
                capitalised(&kind_with_years(&preview.kind, years)),
                preview.local_date
            ),
            reached: String::new(),
            messages: preview.messages.into_iter().map(message).collect(),
            command,
        }
    }
}
