//! What is to be redriven: the selected events, or all that match the filter.

use uuid::Uuid;

use super::query::{FailureQuery, command, given};
use crate::calendar::format_count;
use crate::http::api::dead_letters::{MAX_EVENTS, MAX_MESSAGES, TIME_LIMIT};
use crate::http::api::fields::parse_id;
use crate::http::console::command::CommandLine;
use crate::http::console::fields::Fields;
use crate::http::console::filters::{FilterField, Filters};
use crate::operations::dead_letters::RedriveOptions;
use crate::store::DeadFilter;

/// Many times the events of a page.
const MAX_SELECTED: usize = 500;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Selection {
    filter: DeadFilter,
    pub(super) force: bool,
    /// The fields of the form that make the same selection again.
    pub(super) hidden: Vec<(String, String)>,
    /// As a noun.
    pub(super) text: String,
}

impl Selection {
    /// # Errors
    /// Returns what is wrong with the fields, as a sentence.
    pub(super) fn read(form: &Fields) -> Result<Self, String> {
        let force = form.get("force").is_some();
        let selection = if form.text("which") == "all" { Self::all(form)? } else { Self::selected(form)? };
        Ok(Self { force, ..selection })
    }

    fn selected(form: &Fields) -> Result<Self, String> {
        let ids: Result<Vec<Uuid>, _> = form.all("id").map(parse_id).collect();
        let ids = ids.map_err(|error| format!("Nothing was changed: {error}."))?;
        if ids.is_empty() {
            return Err("No event is selected: select events, or use all that match.".to_owned());
        }
        if ids.len() > MAX_SELECTED {
            return Err(format!("{} events are selected: at most {MAX_SELECTED} are allowed.", ids.len()));
        }
        let text = format_count(ids.len() as u64, "selected event", "selected events");
        let hidden = ids.iter().map(|id| ("id".to_owned(), id.to_string())).collect();
        Ok(Self { filter: DeadFilter { ids, ..DeadFilter::default() }, hidden, text, force: false })
    }

    fn all(form: &Fields) -> Result<Self, String> {
        let mut filters = Filters::default();
        let query = FailureQuery::read(form, &mut filters);
        let errors = filters.fields.iter().filter_map(|field| field.error.as_ref());
        if let Some(error) = errors.chain(&filters.problems).next() {
            return Err(format!("Nothing was changed: {error}."));
        }
        let conditions: Vec<String> =
            filters.fields.iter().filter(|field| !field.text.is_empty()).map(condition).collect();
        let text = if conditions.is_empty() {
            "all failures".to_owned()
        } else {
            format!("all failures with {}", conditions.join(", "))
        };
        let hidden = [("which", "all")].into_iter().chain(given(&filters));
        let hidden = hidden.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Self { filter: query.filter, hidden, text, force: false })
    }

    /// Returns the redrive of at most `limit` events, so that no commit handles more events than its check counted.
    pub(super) fn options(&self, limit: Option<u64>, dry_run: bool) -> RedriveOptions {
        RedriveOptions {
            filter: self.filter.clone(),
            limit: Some(limit.map_or(MAX_EVENTS, |limit| limit.min(MAX_EVENTS))),
            force: self.force,
            dry_run,
            max_per_second: 0,
            time_limit: Some(TIME_LIMIT),
            max_messages: Some(MAX_MESSAGES),
        }
    }

    /// Whether it is one event, whose message alone is searched in the dead-letter queue.
    pub(super) fn is_single(&self) -> bool {
        self.filter.ids.len() == 1
    }

    pub(super) fn command(&self) -> CommandLine {
        command(&self.filter, self.force)
    }
}

fn condition(field: &FilterField) -> String {
    format!("{} {}", field.label.to_lowercase(), field.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(form: &str) -> Result<Selection, String> {
        Selection::read(&Fields::parse(form.as_bytes()))
    }

    #[test]
    fn no_commit_redrives_more_events_than_announced_or_than_one_request_may() {
        let all = read("which=all").expect("a selection");
        let limit = |announced| all.options(announced, false).limit;
        assert_eq!(limit(Some(3)), Some(3));
        assert_eq!(limit(Some(MAX_EVENTS + 1)), Some(MAX_EVENTS));
        assert_eq!(limit(None), Some(MAX_EVENTS));
        let options = all.options(None, false);
        assert_eq!((options.time_limit, options.max_messages), (Some(TIME_LIMIT), Some(MAX_MESSAGES)));
    }

    #[test]
    fn more_than_500_selected_events_are_refused() {
        let form = |count: usize| format!("id={}&", Uuid::nil()).repeat(count);
        assert!(read(&form(MAX_SELECTED)).is_ok());
        let refused = read(&form(MAX_SELECTED + 1)).expect_err("too many");
        assert_eq!(refused, "501 events are selected: at most 500 are allowed.");
    }
}
