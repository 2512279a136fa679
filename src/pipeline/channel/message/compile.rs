//! Compiles the templates of a kind, and resolves them for each channel and locale.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::fields::{TemplateFields, TemplateTables};
use super::locale::{Locale, and_shorter};
use super::template::{Form, Template, TemplateError};
use crate::model::ChannelName;

/// What one channel sends to users of one locale.
#[derive(Debug, Clone)]
pub(crate) struct MessageTemplates {
    pub(super) channel: ChannelName,
    /// Without it, the subject of a mail is the first line of its text.
    pub(super) subject: Option<Arc<Template>>,
    pub(super) text: Arc<Template>,
    pub(super) html: Option<Arc<Template>>,
    pub(super) content: Option<ContentTemplates>,
}

#[derive(Debug, Clone)]
pub(super) struct ContentTemplates {
    pub(super) sid: String,
    pub(super) variables: BTreeMap<String, Arc<Template>>,
}

/// The templates of one channel.
#[derive(Debug, Clone)]
pub(super) struct ChannelTemplates {
    pub(super) default: MessageTemplates,
    /// By the tag of the locale.
    pub(super) locales: BTreeMap<String, MessageTemplates>,
}

pub(super) type KindTemplates = BTreeMap<ChannelName, ChannelTemplates>;

/// One table, compiled.
#[derive(Debug, Default)]
struct Compiled {
    subject: Option<Arc<Template>>,
    text: Option<Arc<Template>>,
    html: Option<Arc<Template>>,
    content_sid: Option<String>,
    variables: BTreeMap<String, Arc<Template>>,
}

type CompiledTables = BTreeMap<(ChannelName, Option<Locale>), Compiled>;

/// Compiles the templates of `kind` for all channels: an event may have the channel of an earlier configuration.
pub(super) fn compile(
    kind: &str,
    message: &str,
    tables: &TemplateTables,
) -> Result<KindTemplates, Vec<TemplateError>> {
    let mut errors = Vec::new();
    let message = keep(Template::new(format!("kinds.{kind}.message"), message, Form::Text), &mut errors);
    let mut compiled = CompiledTables::new();
    for ((channel, locale), fields) in tables {
        let key = table_key(kind, *channel, locale.as_ref());
        compiled.insert((*channel, locale.clone()), compile_table(&key, *channel, fields, &mut errors));
    }
    errors.extend(tables.keys().filter_map(|table| incomplete(kind, table, &compiled)));
    match message {
        Some(message) if errors.is_empty() => Ok(resolve_all(&Arc::new(message), &compiled)),
        _ => Err(errors),
    }
}

fn table_key(kind: &str, channel: ChannelName, locale: Option<&Locale>) -> String {
    let locale = locale.map_or_else(String::new, |locale| format!(".{locale}"));
    format!("kinds.{kind}.{channel}{locale}")
}

fn keep<T>(result: Result<T, TemplateError>, errors: &mut Vec<TemplateError>) -> Option<T> {
    result.map_err(|error| errors.push(error)).ok()
}

fn compile_table(
    key: &str,
    channel: ChannelName,
    fields: &TemplateFields,
    errors: &mut Vec<TemplateError>,
) -> Compiled {
    let mut template = |field: &str, source: &str, form| {
        keep(Template::new(format!("{key}.{field}"), source, form), errors).map(Arc::new)
    };
    let text_form = if channel == ChannelName::Mail { Form::MailText } else { Form::Text };
    let mut compiled = Compiled {
        subject: fields.subject.as_deref().and_then(|source| template("subject", source, Form::Line)),
        text: fields.text.as_deref().and_then(|source| template("text", source, text_form)),
        html: fields.html.as_deref().and_then(|source| template("html", source, Form::Html)),
        ..Compiled::default()
    };
    for (name, source) in &fields.variables {
        if let Some(variable) = template(&format!("variables.{name}"), source, Form::Line) {
            compiled.variables.insert(name.clone(), variable);
        }
    }
    if let Some(sid) = &fields.content_sid {
        if is_content_sid(sid) {
            compiled.content_sid = Some(sid.clone());
        } else {
            errors.push(TemplateError {
                key: format!("{key}.content_sid"),
                problem: format!(
                    "invalid id {sid:?}: expected HX and 32 hexadecimal digits, as Twilio shows it"
                ),
            });
        }
    }
    compiled
}

fn is_content_sid(sid: &str) -> bool {
    let digits = sid.strip_prefix("HX").unwrap_or_default();
    digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// Returns the error of a table whose fields need another one.
fn incomplete(
    kind: &str,
    (channel, locale): &(ChannelName, Option<Locale>),
    tables: &CompiledTables,
) -> Option<TemplateError> {
    let key = table_key(kind, *channel, locale.as_ref());
    let table = &tables[&(*channel, locale.clone())];
    let chain = chain(*channel, locale.as_ref(), tables);
    // The two parts of a mail would be in two languages.
    if locale.is_some()
        && chain.iter().any(|table| table.html.is_some())
        && table.text.is_some() != table.html.is_some()
    {
        let (set, missing) = if table.text.is_some() { ("text", "html") } else { ("html", "text") };
        let problem = format!("it has {set}, and {missing} is that of another locale: add {key}.{missing}");
        return Some(TemplateError { key, problem });
    }
    if !table.variables.is_empty() && chain.iter().all(|table| table.content_sid.is_none()) {
        let problem = format!("they are of a content template: add {key}.content_sid");
        return Some(TemplateError { key: format!("{key}.variables"), problem });
    }
    None
}

/// Returns the tables in which the fields for `locale` are looked up, in this order.
fn chain<'a>(channel: ChannelName, locale: Option<&Locale>, tables: &'a CompiledTables) -> Vec<&'a Compiled> {
    let tags = locale.into_iter().flat_map(|locale| and_shorter(locale.as_str())).map(Some).chain([None]);
    let find = |tag: Option<&str>| {
        let mut all = tables.iter();
        all.find(|((of, locale), _)| *of == channel && locale.as_ref().map(Locale::as_str) == tag)
    };
    tags.filter_map(find).map(|(_, table)| table).collect()
}

fn resolve_all(message: &Arc<Template>, tables: &CompiledTables) -> KindTemplates {
    let resolve = |channel, locale| resolve(channel, message, &chain(channel, locale, tables));
    let of_channel = |channel| {
        let locales: BTreeSet<&Locale> = tables
            .keys()
            .filter(|(of, _)| *of == channel)
            .filter_map(|(_, locale)| locale.as_ref())
            .collect();
        ChannelTemplates {
            default: resolve(channel, None),
            locales: locales
                .into_iter()
                .map(|locale| (locale.as_str().to_owned(), resolve(channel, Some(locale))))
                .collect(),
        }
    };
    ChannelName::ALL.into_iter().map(|channel| (channel, of_channel(channel))).collect()
}

fn resolve(channel: ChannelName, message: &Arc<Template>, chain: &[&Compiled]) -> MessageTemplates {
    let variables = chain.iter().map(|table| &table.variables).find(|variables| !variables.is_empty());
    let sid = chain.iter().find_map(|table| table.content_sid.clone());
    MessageTemplates {
        channel,
        subject: chain.iter().find_map(|table| table.subject.clone()),
        text: chain.iter().find_map(|table| table.text.clone()).unwrap_or_else(|| Arc::clone(message)),
        html: chain.iter().find_map(|table| table.html.clone()),
        content: sid.map(|sid| ContentTemplates { sid, variables: variables.cloned().unwrap_or_default() }),
    }
}
