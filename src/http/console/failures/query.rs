//! Which failures: a filter in the query of a URL, in the fields of a form, and in the options of a command.

use crate::http::api::page::TimeCursorText;
use crate::http::console::command::CommandLine;
use crate::http::console::events::{CURSOR, INSTANT_EXAMPLE};
use crate::http::console::fields::Fields;
use crate::http::console::filters::{FilterField, Filters, parse_name};
use crate::model::{ChannelName, OrNone, Reason, parse_instant};
use crate::store::{DeadFilter, TimeCursor};

/// Selects events without a channel, or without a status.
const NONE: &str = "none";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FailureQuery {
    pub(super) filter: DeadFilter,
    pub(super) cursor: Option<TimeCursor>,
}

impl FailureQuery {
    pub(super) fn read(given: &Fields, filters: &mut Filters) -> Self {
        let reasons = Reason::ALL.into_iter().map(Reason::as_str);
        let reason = filters.read(given, FilterField::choice("reason", "Reason", reasons), str::parse);
        let channels = ChannelName::ALL.into_iter().map(ChannelName::as_str).chain([NONE]);
        let channel = FilterField::choice("channel", "Channel", channels);
        let channel = filters.read(given, channel, str::parse::<OrNone<ChannelName>>);
        let status = FilterField::text("status", "Last status", "503, or none");
        let status = filters.read(given, status, str::parse::<OrNone<i16>>);
        let kind = filters.read(given, FilterField::text("kind", "Kind", "birthday"), parse_name);
        let since = FilterField::text("since", "Died at or after", INSTANT_EXAMPLE);
        let since = filters.read(given, since, parse_instant);
        let until = FilterField::text("until", "Died before", INSTANT_EXAMPLE);
        let until = filters.read(given, until, parse_instant);
        let cursor = given.get(CURSOR).map(|text| TimeCursorText::try_from(text.to_owned()));
        let cursor = cursor.and_then(|cursor| filters.check("Page", cursor));
        let filter = DeadFilter {
            reasons: reason.into_iter().collect(),
            channels: channel.into_iter().map(|OrNone(channel)| channel).collect(),
            statuses: status.into_iter().map(|OrNone(status)| status).collect(),
            kinds: kind.into_iter().collect(),
            since,
            until,
            ..DeadFilter::default()
        };
        Self { filter, cursor: cursor.map(|TimeCursorText(cursor)| cursor) }
    }
}

/// Returns the fields with a value, by name.
pub(super) fn given(filters: &Filters) -> impl Iterator<Item = (&str, &str)> {
    let used = filters.fields.iter().filter(|field| !field.text.is_empty());
    used.map(|field| (field.name, field.text.as_str()))
}

/// Returns the command that redrives the events of `filter`.
pub(super) fn command(filter: &DeadFilter, force: bool) -> CommandLine {
    let mut command = CommandLine::new("bday dlq redrive");
    for reason in &filter.reasons {
        command = command.option("--reason", Some(reason));
    }
    for channel in &filter.channels {
        command = command.option("--channel", Some(channel.map_or(NONE, ChannelName::as_str)));
    }
    for status in &filter.statuses {
        let status = status.map_or_else(|| NONE.to_owned(), |status| status.to_string());
        command = command.option("--status", Some(status));
    }
    for kind in &filter.kinds {
        command = command.option("--kind", Some(kind));
    }
    command = command
        .option("--since", filter.since.map(|at| at.to_rfc3339()))
        .option("--until", filter.until.map(|at| at.to_rfc3339()));
    if !filter.ids.is_empty() {
        command = filter.ids.iter().fold(command.word("--event"), CommandLine::word);
    }
    command.flag("--force", force)
}

/// Returns the values of the fields `channel` and `status` for a group.
pub(super) fn or_none(value: Option<impl ToString>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> (FailureQuery, Filters) {
        let mut filters = Filters::default();
        (FailureQuery::read(&Fields::parse(query.as_bytes()), &mut filters), filters)
    }

    #[test]
    fn a_filter_is_kept_in_the_form_and_in_the_command() {
        let (query, filters) = read("reason=status&channel=mail&status=503&kind=birthday&since=2026-11-24");
        assert!(filters.is_valid());
        let fields: Vec<_> = given(&filters).map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(fields.join("&"), "reason=status&channel=mail&status=503&kind=birthday&since=2026-11-24");
        assert_eq!(
            command(&query.filter, true).to_string(),
            "bday dlq redrive --reason status --channel mail --status 503 --kind birthday --since \
             2026-11-24T00:00:00+00:00 --force"
        );
    }

    #[test]
    fn events_without_channel_or_status_are_selected_by_none() {
        let (query, filters) = read("channel=none&status=none");
        assert!(filters.is_valid());
        assert_eq!((query.filter.channels, query.filter.statuses), (vec![None], vec![None]));
        assert_eq!((or_none(None::<i16>), or_none(Some(503))), ("none".to_owned(), "503".to_owned()));
    }

    #[test]
    fn invalid_fields_are_named() {
        let (_, filters) = read("reason=lost&channel=fax&status=99&kind=a%00&since=soon&until=2026-11-24");
        let wrong = filters.fields.iter().filter(|field| field.error.is_some());
        let wrong: Vec<_> = wrong.map(|field| field.name).collect();
        assert_eq!(wrong, ["reason", "channel", "status", "kind", "since"]);
    }
}
