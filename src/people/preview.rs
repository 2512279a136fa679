//! Renders what would be sent to a user.
//!
//! Pure: renders the templates for a [`User`] on the next occurrence of a kind. Nothing is sent, and the link to unsubscribe is only
//! an example.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, Months, NaiveDate, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::calendar::{AnnualDate, InvalidText, Zone};
use crate::config::{Config, ConfigError, parts};
use crate::model::{BIRTHDAY, ChannelName, Event, FieldError, NewUser, Schedule, User};
use crate::pipeline::channel::mail::UNSUBSCRIBE_PATH;
use crate::pipeline::channel::{Locale, Message, MessageTemplates, Messages, TemplateValues};

/// Enough for the next 29 February around 2100, which is no leap year.
const YEARS_AHEAD: u32 = 9;
/// The id of a sample user. Ids of real users begin with the time of their creation.
const SAMPLE_USER: Uuid = Uuid::from_u128(0x0000_0000_0000_7000_8000_7e57_0000_0003);

/// What previews are rendered from.
#[derive(Debug, Clone)]
pub struct PreviewSettings {
    messages: Messages,
    schedule: Schedule,
    channels: BTreeMap<String, Vec<ChannelName>>,
    /// Empty without `http.public_url`, as in greetings.
    unsubscribe_url: String,
}

/// What to preview.
#[derive(Debug, Clone, Default)]
pub struct PreviewRequest {
    /// `birthday` if none is given.
    pub kind: Option<String>,
    /// Those of the kind if none is given.
    pub channel: Option<ChannelName>,
    /// That of the user if none is given.
    pub locale: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    pub user_id: Uuid,
    pub kind: String,
    /// The locale whose templates are used; null if it is unknown.
    #[schema(example = "de-AT")]
    pub locale: Option<String>,
    /// The date of the next greeting in the user's zone.
    pub local_date: NaiveDate,
    /// The age, or the years since the date, if its year is known.
    pub years: Option<i32>,
    /// The channel by which the user would be reached now; null: none.
    pub reached_by: Option<ChannelName>,
    /// One for each channel of the kind, in the order in which they are tried.
    pub messages: Vec<PreviewedMessage>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreviewedMessage {
    pub channel: ChannelName,
    /// The configuration keys of the templates in use.
    #[schema(example = json!(["kinds.birthday.mail.de.subject", "kinds.birthday.mail.de.text"]))]
    pub templates: Vec<String>,
    /// Only for mail.
    pub subject: Option<String>,
    /// Null if a content template replaces it.
    pub text: Option<String>,
    /// Only for mail.
    pub html: Option<String>,
    /// The id of the content template; only for `WhatsApp`.
    pub content_sid: Option<String>,
    /// The variables of the content template, by name.
    pub variables: BTreeMap<String, String>,
    /// The error of the template that fails for this user. Such a greeting is dead, with the reason `template`.
    pub error: Option<String>,
}

/// A preview for a user who does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SamplePreview {
    /// What is special about the user.
    pub sample: &'static str,
    #[serde(flatten)]
    pub preview: Preview,
}

impl PreviewSettings {
    /// # Errors
    /// A template is invalid.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let kinds = config.kinds.iter();
        let base = config.http.public_url.trim_end_matches('/');
        let unsubscribe_url =
            if base.is_empty() { String::new() } else { format!("{base}{UNSUBSCRIBE_PATH}example") };
        Ok(Self {
            messages: parts::messages(config)?,
            schedule: config.schedule(),
            channels: kinds.map(|(name, kind)| (name.clone(), kind.channels.clone())).collect(),
            unsubscribe_url,
        })
    }

    /// Returns the kind of a preview, and its channels.
    ///
    /// # Errors
    /// The kind is not configured.
    pub fn route(&self, request: &PreviewRequest) -> Result<(&str, &[ChannelName]), FieldError> {
        let kind = request.kind.as_deref().unwrap_or(BIRTHDAY);
        let (kind, channels) = self.channels.get_key_value(kind).ok_or_else(|| {
            let known: Vec<&str> = self.channels.keys().map(String::as_str).collect();
            FieldError::new("kind", format!("no kind {kind:?} is configured: use {}", known.join(" or ")))
        })?;
        Ok((kind, channels))
    }
}

/// Renders the next greeting of `user`. `reached_by` is the channel by which they are reached.
///
/// # Errors
/// A part of the request is invalid, or the user has no date of the kind.
pub fn preview(
    user: &User,
    reached_by: Option<ChannelName>,
    request: &PreviewRequest,
    settings: &PreviewSettings,
    now: DateTime<Utc>,
) -> Result<Preview, FieldError> {
    let (kind, _) = settings.route(request)?;
    let occurrence = next_occurrence(user, kind, settings, now).ok_or_else(|| no_date(kind))?;
    render(user, reached_by, request, settings, occurrence)
}

/// Renders the greeting of an event from the current data of its `user`, by the channel of its attempts, otherwise by `reached_by`,
/// otherwise by all channels of its kind.
///
/// # Errors
/// The kind is not configured, or the user has no date of the kind.
pub fn preview_event(
    event: &Event,
    user: &User,
    reached_by: Option<ChannelName>,
    settings: &PreviewSettings,
) -> Result<Preview, FieldError> {
    let channel = event.channel.as_deref().and_then(|channel| channel.parse().ok()).or(reached_by);
    let request = PreviewRequest { kind: Some(event.kind.clone()), channel, locale: None };
    let (kind, _) = settings.route(&request)?;
    let mut dates = user.yearly_dates(|_| DateTime::UNIX_EPOCH);
    let occasion = dates.find(|occasion| occasion.kind == kind).ok_or_else(|| no_date(kind))?;
    let years = occasion.date.year().map(|year| event.local_date.year() - year);
    render(user, reached_by, &request, settings, (event.local_date, years))
}

fn no_date(kind: &str) -> FieldError {
    FieldError::new("kind", format!("the user has no date of the kind {kind:?}"))
}

fn render(
    user: &User,
    reached_by: Option<ChannelName>,
    request: &PreviewRequest,
    settings: &PreviewSettings,
    (local_date, years): (NaiveDate, Option<i32>),
) -> Result<Preview, FieldError> {
    let (kind, channels) = settings.route(request)?;
    if let Some(locale) = &request.locale {
        locale.parse::<Locale>().map_err(|error| FieldError::new("locale", error.to_string()))?;
    }
    let locale = request.locale.as_deref().or(user.locale.as_deref());
    let values = TemplateValues {
        first_name: &user.first_name,
        last_name: &user.last_name,
        kind,
        local_date: &local_date.to_string(),
        years,
        locale: locale.unwrap_or_default(),
        unsubscribe_url: &settings.unsubscribe_url,
    };
    let channels = request.channel.as_ref().map_or(channels, std::slice::from_ref);
    let templates = channels
        .iter()
        .filter_map(|channel| Some((*channel, settings.messages.templates(kind, *channel, locale)?)));
    Ok(Preview {
        user_id: user.id,
        kind: kind.to_owned(),
        locale: locale.map(str::to_owned),
        local_date,
        years,
        reached_by,
        messages: templates.map(|(channel, templates)| message(channel, templates, &values)).collect(),
    })
}

/// Returns the next local date, and the years by then.
fn next_occurrence(
    user: &User,
    kind: &str,
    settings: &PreviewSettings,
    now: DateTime<Utc>,
) -> Option<(NaiveDate, Option<i32>)> {
    let until = now.checked_add_months(Months::new(12 * YEARS_AHEAD))?;
    let ahead = settings.schedule.occurrences(user, now, until);
    let (occasion, occurrence) = ahead.into_iter().find(|(occasion, _)| occasion.kind == kind)?;
    let date = occurrence.local_date;
    Some((date, occasion.date.year().map(|year| date.year() - year)))
}

fn message(
    channel: ChannelName,
    templates: &MessageTemplates,
    values: &TemplateValues<'_>,
) -> PreviewedMessage {
    let (message, error) = match templates.render(values) {
        Ok(message) => (Some(message), None),
        Err(error) => (None, Some(error)),
    };
    let Message { subject, text, html, content } = message.unwrap_or_default();
    PreviewedMessage {
        channel,
        templates: templates.keys().map(str::to_owned).collect(),
        subject,
        text: (error.is_none() && content.is_none()).then_some(text),
        html,
        content_sid: content.as_ref().map(|content| content.sid.clone()),
        variables: content.map(|content| content.variables).unwrap_or_default(),
        error,
    }
}

/// Renders the greetings of sample users whose data are special.
///
/// # Errors
/// A part of the request is invalid.
pub fn sample_previews(
    request: &PreviewRequest,
    settings: &PreviewSettings,
    now: DateTime<Utc>,
) -> Result<Vec<SamplePreview>, FieldError> {
    let (kind, _) = settings.route(request)?;
    let long = ("Wolfeschlegelsteinhausenbergerdorff ".repeat(6), "x".repeat(200));
    let (long_first, long_last) = (&long.0[..200], long.1.as_str());
    let samples = [
        ("born on 29 February", "Ada", "Lovelace", "2000-02-29"),
        ("without a year", "Grace", "Hopper", "--12-09"),
        ("with one name", "Björk", "", "1965-11-21"),
        ("with a right-to-left name", "ליאור", "כהן", "1990-05-10"),
        ("with names of 200 characters", long_first, long_last, "1990-05-10"),
    ];
    let of = |(sample, first_name, last_name, date)| {
        let user = sample_user(first_name, last_name, date, kind, now)?;
        let preview = preview(&user, None, request, settings, now)?;
        Ok(SamplePreview { sample, preview })
    };
    samples.into_iter().map(of).collect()
}

fn sample_user(
    first_name: &str,
    last_name: &str,
    date: &str,
    kind: &str,
    now: DateTime<Utc>,
) -> Result<User, FieldError> {
    let date: AnnualDate =
        date.parse().map_err(|error: InvalidText| FieldError::new("date", error.to_string()))?;
    let other = (kind != BIRTHDAY).then(|| (kind.to_owned(), Some(date)));
    let user = NewUser {
        external_id: None,
        first_name: first_name.to_owned(),
        last_name: last_name.to_owned(),
        birth_date: date,
        time_zone: Zone::UTC,
        send_at: None,
        leap_day: None,
        locale: None,
        addresses: std::collections::BTreeMap::new(),
        occasions: other.into_iter().collect(),
    };
    Ok(user.created(SAMPLE_USER, now))
}
