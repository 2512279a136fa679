//! What the page shows of an event.

use reqwest::Url;

use crate::calendar::format_duration;
use crate::http::console::tags::Tag;
use crate::http::console::time::Moment;
use crate::model::{Attempt, AttemptOutcome, Feedback, TraceId};
use crate::people::preview::{Preview, PreviewedMessage};

#[derive(Debug)]
pub(super) struct AttemptRow {
    pub(super) number: i16,
    pub(super) started: Option<Moment>,
    pub(super) finished: Option<Moment>,
    pub(super) took: Option<String>,
    /// None: unknown to this version.
    pub(super) outcome: Option<Tag>,
    pub(super) channel: String,
    pub(super) status: Option<i16>,
    pub(super) reason: String,
    pub(super) error: Option<String>,
    pub(super) response: Option<String>,
    pub(super) provider_id: Option<String>,
    pub(super) trace: Option<TraceView>,
}

/// The trace of an attempt.
#[derive(Debug)]
pub(super) struct TraceView {
    pub(super) id: TraceId,
    /// By `traces.link`.
    pub(super) link: Option<Url>,
}

impl AttemptRow {
    pub(super) fn has_details(&self) -> bool {
        self.error.is_some() || self.response.is_some() || self.provider_id.is_some() || self.trace.is_some()
    }
}

impl AttemptRow {
    pub(super) fn new(attempt: Attempt, link: impl Fn(TraceId) -> Option<Url>) -> Self {
        let took = attempt.started_at.zip(attempt.finished_at).map(|(started, finished)| finished - started);
        Self {
            number: attempt.number,
            started: attempt.started_at.map(Moment::utc),
            finished: attempt.finished_at.map(Moment::utc),
            took: took.map(format_duration),
            outcome: attempt.outcome.parse::<AttemptOutcome>().ok().map(Tag::from),
            channel: attempt.channel.unwrap_or_default(),
            status: attempt.status,
            reason: attempt.reason.unwrap_or_default(),
            error: attempt.error,
            response: attempt.response,
            provider_id: attempt.provider_id,
            trace: attempt.trace_id.map(|id| TraceView { id, link: link(id) }),
        }
    }
}

#[derive(Debug)]
pub(super) struct FeedbackRow {
    pub(super) tag: Tag,
    pub(super) channel: &'static str,
    pub(super) at: Moment,
    pub(super) detail: String,
}

impl From<Feedback> for FeedbackRow {
    fn from(feedback: Feedback) -> Self {
        Self {
            tag: feedback.feedback_type.into(),
            channel: feedback.channel.as_str(),
            at: Moment::utc(feedback.at),
            detail: feedback.detail.unwrap_or_default(),
        }
    }
}

/// The message as it would be sent now, or the reason why it is missing.
#[derive(Debug)]
pub(super) struct MessageView {
    pub(super) messages: Vec<PreviewedMessage>,
    pub(super) problem: Option<String>,
}

impl MessageView {
    pub(super) fn without(problem: impl Into<String>) -> Self {
        Self { messages: Vec::new(), problem: Some(problem.into()) }
    }
}

impl From<Preview> for MessageView {
    fn from(preview: Preview) -> Self {
        let is_unreachable = preview.reached_by.is_none() && preview.messages.len() != 1;
        let problem = is_unreachable
            .then(|| "No channel reaches the person now: these are the messages of all.".to_owned());
        Self { messages: preview.messages, problem }
    }
}

/// Returns `text` with a capital letter at the beginning and a full stop at the end.
pub(super) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    let stop = if text.ends_with('.') { "" } else { "." };
    format!("{}{}{stop}", first.map(String::from).unwrap_or_default(), chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_begins_with_a_capital_letter_and_ends_with_a_full_stop() {
        let sentences = ["due in 2 h", "Österreich.", "", "the date: 09:00"].map(sentence);
        assert_eq!(sentences, ["Due in 2 h.", "Österreich.", ".", "The date: 09:00."]);
    }
}
