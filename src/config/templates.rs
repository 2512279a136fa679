//! The templates of the kinds: `kinds.KIND.CHANNEL.FIELD`, and `kinds.KIND.CHANNEL.LOCALE.FIELD` for a locale.

use std::collections::BTreeMap;

use config::{Value, ValueKind};

use super::{Config, KindConfig};
use crate::model::ChannelName;
use crate::pipeline::channel::{Locale, Messages, TemplateField, TemplateTables};

const KIND_FIELDS: [&str; 3] = ["message", "send_at", "channels"];

/// The key of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TemplateKey<'a> {
    kind: &'a str,
    channel: ChannelName,
    locale: Option<Locale>,
    field: TemplateField,
    /// Only for `variables`.
    variable: Option<&'a str>,
}

impl<'a> TemplateKey<'a> {
    pub(super) fn parse(key: &'a str) -> Option<Self> {
        let (kind, channel, rest) = split(key)?;
        let (locale, field, variable) = match rest[..] {
            [field] => (None, field, None),
            ["variables", name] => (None, "variables", Some(name)),
            [locale, field] => (Some(locale), field, None),
            [locale, "variables", name] => (Some(locale), "variables", Some(name)),
            _ => return None,
        };
        let field: TemplateField = field.parse().ok()?;
        let locale = locale.map(str::parse).transpose().ok()?;
        let is_name =
            |name: &str| !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
        let complete = (field == TemplateField::Variables) == variable.is_some_and(is_name);
        let known = TemplateField::of_channel(channel).contains(&field);
        (complete && known).then_some(Self { kind, channel, locale, field, variable })
    }
}

/// Splits `kinds.KIND.CHANNEL.REST`.
fn split(key: &str) -> Option<(&str, ChannelName, Vec<&str>)> {
    let mut parts = key.strip_prefix("kinds.")?.split('.');
    let (kind, channel) = (parts.next()?, parts.next()?.parse().ok()?);
    Some((kind, channel, parts.collect()))
}

/// Returns `key` with its locale in lower case, in which the layers are compared.
pub(super) fn canonical(key: &str) -> String {
    let Some((kind, channel, rest)) = split(key) else {
        return key.to_owned();
    };
    let rest = match rest[..] {
        [locale, ref fields @ ..] if !fields.is_empty() => match locale.parse::<Locale>() {
            Ok(locale) => format!("{locale}.{}", fields.join(".")),
            Err(_) => rest.join("."),
        },
        _ => rest.join("."),
    };
    format!("kinds.{kind}.{channel}.{rest}")
}

/// Returns the error of a key that would be known with a valid locale.
pub(super) fn invalid_locale(key: &str) -> Option<String> {
    let (kind, channel, rest) = split(key)?;
    let (locale, fields) = rest.split_first()?;
    TemplateKey::parse(&format!("kinds.{kind}.{channel}.en.{}", fields.join(".")))?;
    locale.parse::<Locale>().err().map(|error| error.to_string())
}

/// Returns the keys that an unknown key of a kind may mean.
pub(super) fn candidates(key: &str) -> Vec<String> {
    let Some(rest) = key.strip_prefix("kinds.") else {
        return Vec::new();
    };
    let parts: Vec<&str> = rest.split('.').collect();
    let (kind, locale) = (parts[0], parts.get(2).and_then(|part| part.parse::<Locale>().ok()));
    let mut keys: Vec<String> = KIND_FIELDS.iter().map(|field| format!("kinds.{kind}.{field}")).collect();
    for channel in ChannelName::ALL {
        for field in TemplateField::of_channel(channel) {
            keys.push(format!("kinds.{kind}.{channel}.{field}"));
            keys.extend(locale.iter().map(|locale| format!("kinds.{kind}.{channel}.{locale}.{field}")));
        }
    }
    keys
}

/// Takes the templates out of `values`, by kind.
pub(super) fn take(
    values: &mut BTreeMap<String, Value>,
) -> Result<BTreeMap<String, TemplateTables>, Vec<String>> {
    let (mut kinds, mut errors) = (BTreeMap::<String, TemplateTables>::new(), Vec::new());
    values.retain(|name, value| {
        let Some(key) = TemplateKey::parse(name) else {
            return true;
        };
        match &value.kind {
            ValueKind::String(text) => insert(kinds.entry(key.kind.to_owned()).or_default(), &key, text),
            _ => errors.push(format!("{name} is {value}: expected a text in quotes")),
        }
        false
    });
    if errors.is_empty() { Ok(kinds) } else { Err(errors) }
}

fn insert(tables: &mut TemplateTables, key: &TemplateKey<'_>, text: &str) {
    let fields = tables.entry((key.channel, key.locale.clone())).or_default();
    let field = match key.field {
        TemplateField::Subject => &mut fields.subject,
        TemplateField::Text => &mut fields.text,
        TemplateField::Html => &mut fields.html,
        TemplateField::ContentSid => &mut fields.content_sid,
        TemplateField::Variables => {
            let name = key.variable.unwrap_or_default().to_owned();
            fields.variables.insert(name, text.to_owned());
            return;
        }
    };
    *field = Some(text.to_owned());
}

impl Config {
    /// Compiles the templates of all kinds.
    ///
    /// # Errors
    /// One for each invalid template.
    pub(in crate::config) fn compile_messages(&self) -> Result<Messages, Vec<String>> {
        let kinds = self.kinds.iter();
        let sources = kinds.map(|(name, KindConfig { message, templates, .. })| {
            (name.as_str(), message.as_str(), templates)
        });
        Messages::compile(sources).map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_channel_and_a_field_of_it() {
        for key in [
            "kinds.birthday.mail.subject",
            "kinds.birthday.mail.de.html",
            "kinds.birthday.sms.pt-BR.text",
            "kinds.birthday.whatsapp.variables.1",
            "kinds.birthday.whatsapp.de.variables.first_name",
            "kinds.birthday.whatsapp.de.content_sid",
        ] {
            assert!(TemplateKey::parse(key).is_some(), "{key}");
        }
        for key in [
            "kinds.birthday.message",
            "kinds.birthday.mail",
            "kinds.birthday.mail.content_sid",
            "kinds.birthday.sms.subject",
            "kinds.birthday.mail.german.text",
            "kinds.birthday.mail.de.text.x",
            "kinds.birthday.whatsapp.variables",
            "kinds.birthday.whatsapp.variables.a-b",
            "kinds.birthday.mail.variables.1",
            "channels.mail.text",
        ] {
            assert_eq!(TemplateKey::parse(key), None, "{key}");
        }
    }

    #[test]
    fn only_the_locale_of_a_key_is_changed() {
        for (key, expected) in [
            ("kinds.birthday.mail.pt_BR.subject", "kinds.birthday.mail.pt-br.subject"),
            ("kinds.birthday.whatsapp.variables.NAME", "kinds.birthday.whatsapp.variables.NAME"),
            ("kinds.birthday.mail.Subject", "kinds.birthday.mail.Subject"),
            ("kinds.BIRTHDAY.message", "kinds.BIRTHDAY.message"),
            ("webhook.url", "webhook.url"),
        ] {
            assert_eq!(canonical(key), expected);
        }
    }
}
