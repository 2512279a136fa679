//! The templates as they are configured.

use std::collections::BTreeMap;

use super::locale::Locale;
use crate::calendar::text::named_enum;
use crate::model::ChannelName;

named_enum! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum TemplateField ("template field") {
        Subject = "subject",
        Text = "text",
        Html = "html",
        ContentSid = "content_sid",
        Variables = "variables",
    }
}

impl TemplateField {
    #[must_use]
    pub fn of_channel(channel: ChannelName) -> &'static [Self] {
        match channel {
            ChannelName::Mail => &[Self::Subject, Self::Text, Self::Html],
            ChannelName::Whatsapp => &[Self::Text, Self::ContentSid, Self::Variables],
            ChannelName::Webhook | ChannelName::Sms | ChannelName::Slack => &[Self::Text],
        }
    }
}

/// The templates of one table, such as `[kinds.birthday.mail.de]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TemplateFields {
    pub subject: Option<String>,
    pub text: Option<String>,
    pub html: Option<String>,
    /// The id of a content template of Twilio.
    pub content_sid: Option<String>,
    /// By the name of the variable.
    pub variables: BTreeMap<String, String>,
}

/// The tables of a kind; one without a locale is for all locales.
pub type TemplateTables = BTreeMap<(ChannelName, Option<Locale>), TemplateFields>;
