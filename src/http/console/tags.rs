//! States and outcomes as coloured tags.

use std::fmt;

use askama::filters::HtmlSafe;

use crate::model::{AttemptOutcome, EventState, FeedbackType};

/// A fixed word as a coloured `<span>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    class: &'static str,
    word: &'static str,
}

impl From<EventState> for Tag {
    fn from(state: EventState) -> Self {
        let class = match state {
            EventState::Pending | EventState::Queued | EventState::Delivering => " info",
            EventState::Delivered => " good",
            EventState::Dead => " bad",
            EventState::Skipped => " warn",
            EventState::Cancelled => "",
        };
        Self { class, word: state.as_str() }
    }
}

impl From<AttemptOutcome> for Tag {
    fn from(outcome: AttemptOutcome) -> Self {
        let class = match outcome {
            AttemptOutcome::Delivered => " good",
            AttemptOutcome::Failed => " bad",
            AttemptOutcome::Unknown => " warn",
        };
        Self { class, word: outcome.as_str() }
    }
}

impl From<FeedbackType> for Tag {
    fn from(feedback: FeedbackType) -> Self {
        let class = match feedback {
            FeedbackType::Delivered => " good",
            FeedbackType::Delayed => " warn",
            _ => " bad",
        };
        Self { class, word: feedback.as_str() }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<span class=\"tag{}\">{}</span>", self.class, self.word)
    }
}

/// Fixed words only.
impl HtmlSafe for Tag {}
