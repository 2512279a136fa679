//! Finds and renders the templates for a greeting.

use std::collections::BTreeMap;

use chrono::Datelike as _;

use super::compile::{KindTemplates, MessageTemplates, compile};
use super::fields::TemplateTables;
use super::locale::and_shorter;
use super::template::{Template, TemplateError, TemplateValues};
use super::text::subject_of;
use super::{ContentTemplate, Message};
use crate::model::{ChannelName, Lease};

/// The templates of all kinds.
#[derive(Debug, Clone)]
pub struct Messages(BTreeMap<String, KindTemplates>);

impl Messages {
    /// Compiles the templates of each kind: its name, its message, and its tables.
    ///
    /// # Errors
    /// One for each invalid template.
    pub(crate) fn compile<'a>(
        kinds: impl Iterator<Item = (&'a str, &'a str, &'a TemplateTables)>,
    ) -> Result<Self, Vec<TemplateError>> {
        let (mut compiled, mut errors) = (BTreeMap::new(), Vec::new());
        for (kind, message, tables) in kinds {
            match compile(kind, message, tables) {
                Ok(templates) => drop(compiled.insert(kind.to_owned(), templates)),
                Err(mut wrong) => errors.append(&mut wrong),
            }
        }
        if errors.is_empty() { Ok(Self(compiled)) } else { Err(errors) }
    }

    pub(crate) fn kinds(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn kinds_with_years(&self) -> impl Iterator<Item = &str> {
        self.kinds_with(|template| template.uses_years)
    }

    /// Returns the kinds of which a text has a gap if the year is unknown.
    pub(crate) fn kinds_printing_unknown_years(&self) -> impl Iterator<Item = &str> {
        self.kinds_with(|template| template.prints_unknown_years)
    }

    fn kinds_with(&self, condition: fn(&Template) -> bool) -> impl Iterator<Item = &str> {
        let any = move |templates: &KindTemplates| {
            let all = templates
                .values()
                .flat_map(|channel| std::iter::once(&channel.default).chain(channel.locales.values()));
            all.flat_map(MessageTemplates::all).any(&condition)
        };
        self.0.iter().filter(move |(_, templates)| any(templates)).map(|(kind, _)| kind.as_str())
    }

    /// Returns the templates for a user with this locale, none for an unknown kind.
    pub(crate) fn templates(
        &self,
        kind: &str,
        channel: ChannelName,
        locale: Option<&str>,
    ) -> Option<&MessageTemplates> {
        let templates = self.0.get(kind)?.get(&channel)?;
        let Some(locale) = locale.filter(|_| !templates.locales.is_empty()) else {
            return Some(&templates.default);
        };
        let tag = locale.to_ascii_lowercase();
        Some(and_shorter(&tag).find_map(|tag| templates.locales.get(tag)).unwrap_or(&templates.default))
    }

    /// `unsubscribe_url` is empty if there is no link. The error contains no name.
    pub(crate) fn render(&self, lease: &Lease, unsubscribe_url: &str) -> Result<Message, String> {
        let locale = lease.locale.as_deref();
        let templates = self
            .templates(&lease.kind, lease.channel, locale)
            .ok_or_else(|| format!("kinds.{0} is not configured: add kinds.{0}.message", lease.kind))?;
        templates.render(&TemplateValues {
            first_name: &lease.first_name,
            last_name: &lease.last_name,
            kind: &lease.kind,
            local_date: &lease.local_date.to_string(),
            years: lease.since_year.map(|year| lease.local_date.year() - i32::from(year)),
            locale: locale.unwrap_or_default(),
            unsubscribe_url,
        })
    }
}

impl MessageTemplates {
    fn all(&self) -> impl Iterator<Item = &Template> {
        let variables = self.content.iter().flat_map(|content| content.variables.values());
        self.subject.iter().chain([&self.text]).chain(&self.html).chain(variables).map(|template| &**template)
    }

    /// Returns the keys of the templates.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.all().map(Template::key)
    }

    /// Renders the message. The error names the template, and contains no value.
    pub(crate) fn render(&self, values: &TemplateValues<'_>) -> Result<Message, String> {
        let text = self.text.render(values)?;
        let subject = match &self.subject {
            Some(template) => Some(template.render(values)?),
            None if self.channel == ChannelName::Mail => Some(subject_of(&text)),
            None => None,
        };
        let html = self.html.as_ref().map(|template| template.render(values)).transpose()?;
        let content = self.content.as_ref().map(|content| {
            let variables = content.variables.iter();
            let variables = variables.map(|(name, template)| Ok((name.clone(), template.render(values)?)));
            Ok::<_, String>(ContentTemplate {
                sid: content.sid.clone(),
                variables: variables.collect::<Result<_, String>>()?,
            })
        });
        Ok(Message { subject, text, html, content: content.transpose()? })
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, NaiveDate};
    use uuid::Uuid;

    use super::super::{Locale, TemplateFields};
    use super::*;

    fn lease(channel: ChannelName, locale: Option<&str>) -> Lease {
        Lease {
            event_id: Uuid::nil(),
            user_id: Uuid::nil(),
            attempt: 1,
            attempts_since_redrive: 1,
            kind: "birthday".to_owned(),
            due_at: DateTime::UNIX_EPOCH,
            late_from: DateTime::UNIX_EPOCH,
            local_date: NaiveDate::from_ymd_opt(2026, 12, 10).expect("a date"),
            since_year: Some(1815),
            first_name: "Ada".to_owned(),
            last_name: "Lovelace".to_owned(),
            locale: locale.map(str::to_owned),
            channel,
            address: None,
            address_hash: None,
        }
    }

    /// Each table is a channel, a locale or nothing, and its fields.
    fn messages(tables: &[(ChannelName, &str, TemplateFields)]) -> Messages {
        let locale = |tag: &str| (!tag.is_empty()).then(|| tag.parse::<Locale>().expect("a locale"));
        let tables: TemplateTables =
            tables.iter().map(|(channel, tag, fields)| ((*channel, locale(tag)), fields.clone())).collect();
        let kinds = std::iter::once(("birthday", "Hey, {{ full_name }}", &tables));
        Messages::compile(kinds).expect("the templates are valid")
    }

    fn fields(subject: Option<&str>, text: Option<&str>) -> TemplateFields {
        let owned = |field: Option<&str>| field.map(str::to_owned);
        TemplateFields { subject: owned(subject), text: owned(text), ..TemplateFields::default() }
    }

    #[test]
    fn each_field_is_looked_up_from_the_locale_to_the_kind() {
        use ChannelName::{Mail, Sms, Webhook};
        let messages = messages(&[
            (Mail, "", fields(Some("S"), None)),
            (Mail, "de", fields(Some("S de"), Some("T de"))),
            (Mail, "de-at", fields(None, Some("T de-at {{ locale }}"))),
            (Sms, "", fields(None, Some("T sms"))),
        ]);
        for (channel, locale, subject, text) in [
            (Mail, None, Some("S"), "Hey, Ada Lovelace"),
            (Mail, Some("fr"), Some("S"), "Hey, Ada Lovelace"),
            (Mail, Some("DE"), Some("S de"), "T de"),
            (Mail, Some("de-CH-1996"), Some("S de"), "T de"),
            (Mail, Some("de-AT"), Some("S de"), "T de-at de-AT"),
            (Mail, Some("deu"), Some("S"), "Hey, Ada Lovelace"),
            (Sms, Some("de"), None, "T sms"),
            (Webhook, Some("de"), None, "Hey, Ada Lovelace"),
        ] {
            let message = messages.render(&lease(channel, locale), "").expect("it renders");
            assert_eq!((message.subject.as_deref(), &*message.text), (subject, text), "{channel} {locale:?}");
            assert_eq!((message.html, message.content), (None, None));
        }
    }

    #[test]
    fn a_mail_without_a_subject_has_the_first_line_of_its_text() {
        let text = "{{ first_name }}, happy birthday!\nAnd many more.";
        let messages = messages(&[(ChannelName::Mail, "", fields(None, Some(text)))]);
        let message = messages.render(&lease(ChannelName::Mail, None), "").expect("it renders");
        assert_eq!(message.subject.as_deref(), Some("Ada, happy birthday!"));
    }

    #[test]
    fn only_a_mail_has_the_link_to_unsubscribe() {
        use ChannelName::{Mail, Sms};
        let messages = messages(&[(Mail, "", fields(None, Some("[{{ unsubscribe_url }}]")))]);
        let text = |channel, url| messages.render(&lease(channel, None), url).expect("it renders").text;
        assert_eq!(text(Mail, ""), "[]");
        assert_eq!(text(Mail, "https://example.org/u"), "[https://example.org/u]");
        assert_eq!(text(Sms, "https://example.org/u"), "Hey, Ada Lovelace");
    }

    #[test]
    fn a_content_template_of_a_locale_uses_the_variables_of_the_channel() {
        use ChannelName::Whatsapp;
        let sid = |digit: &str| Some(format!("HX{}", digit.repeat(32)));
        let variables = [("1".to_owned(), "{{ first_name }}\n{{ years }}".replace('\n', " "))];
        let all = TemplateFields {
            content_sid: sid("a"),
            variables: variables.into(),
            ..TemplateFields::default()
        };
        let german = TemplateFields { content_sid: sid("b"), ..TemplateFields::default() };
        let messages = messages(&[(Whatsapp, "", all), (Whatsapp, "de", german)]);
        for (locale, digit) in [(None, "a"), (Some("de"), "b")] {
            let content = messages.render(&lease(Whatsapp, locale), "").expect("it renders").content;
            let content = content.expect("a content template");
            assert_eq!(Some(content.sid), sid(digit));
            assert_eq!(content.variables["1"], "Ada 211");
        }
        assert_eq!(messages.kinds_with_years().collect::<Vec<_>>(), ["birthday"]);
    }
}
