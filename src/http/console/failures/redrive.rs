//! The redrive in two steps: a dry run whose page has the button that commits.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};

use super::selection::Selection;
use crate::calendar::format_count;
use crate::http::console::Console;
use crate::http::console::command::CommandLine;
use crate::http::console::fields::{Fields, Form};
use crate::http::console::layout::{Layout, Notice, Section, View};
use crate::http::console::problem::{ConsoleProblem, Page};
use crate::operations::dead_letters::RedriveReport;
use crate::store::chain;

#[derive(Template)]
#[template(path = "failures_redrive.html", config = "src/http/console/askama.toml")]
struct CheckPage {
    layout: Layout,
    selection: Selection,
    report: RedriveReport,
    back: String,
    is_paused: bool,
    command: CommandLine,
}

impl CheckPage {
    fn summary(&self) -> String {
        let RedriveReport { redriven, skipped, cancelled, .. } = self.report;
        format!("{redriven} would be sent, {skipped} skipped: day over, {cancelled} cancelled: user deleted.")
    }

    /// The text of the button that commits.
    fn button(&self) -> String {
        let RedriveReport { redriven, skipped, cancelled, .. } = self.report;
        match (redriven, skipped, cancelled) {
            (0, skipped, 0) => format!("Skip {}", format_count(skipped, "event", "events")),
            (0, 0, cancelled) => format!("Cancel {}", format_count(cancelled, "event", "events")),
            (0, skipped, cancelled) => {
                format!("Skip {skipped} and cancel {}", format_count(cancelled, "event", "events"))
            }
            _ => format!("Redrive {}", format_count(redriven, "event", "events")),
        }
    }
}

/// `step=check` shows what would be done, `step=commit` does it.
pub(super) async fn redrive(
    State(console): State<Console>,
    view: View,
    Form(form): Form,
) -> Result<Response, ConsoleProblem> {
    let back = form.back("/failures");
    let selection = match Selection::read(&form) {
        Ok(selection) => selection,
        Err(text) => return Ok(Notice::failed(text).on(&back)),
    };
    if form.text("step") == "commit" {
        commit(&console, &selection, &form, &back).await
    } else {
        check(&console, &view, selection, back).await
    }
}

async fn check(
    console: &Console,
    view: &View,
    selection: Selection,
    back: String,
) -> Result<Response, ConsoleProblem> {
    let (report, result) = console.api.dead_letters.redrive(&selection.options(None, true), |_| {}).await;
    result?;
    if report.handled() == 0 {
        let text = "None of these events is dead any more: another operator or process was faster.";
        return Ok(Notice::failed(text).on(&back));
    }
    let page = CheckPage {
        layout: view.layout("Redrive failures", Section::Failures),
        is_paused: console.api.store.pause().await?.is_some(),
        command: selection.command(),
        selection,
        report,
        back,
    };
    Ok(Page(page).into_response())
}

async fn commit(
    console: &Console,
    selection: &Selection,
    form: &Fields,
    back: &str,
) -> Result<Response, ConsoleProblem> {
    let announced = form.get("announced").map(str::parse).transpose();
    let announced: Option<u64> = announced
        .map_err(|_| ConsoleProblem::bad_request("invalid field announced: send the form of the check"))?;
    let options = selection.options(announced, false);
    let (report, result) = console.api.dead_letters.redrive(&options, |_| {}).await;
    console.api.statistics.invalidate();
    let mut text = summary(&report, announced);
    if let Err(error) = result {
        if report.handled() == 0 {
            return Err(error.into());
        }
        tracing::warn!(error = chain(&error), "redrive failed");
        text.push_str(" Then an error ended the redrive: repeat it for the rest.");
        return Ok(Notice::failed(text).on(back));
    }
    if !report.messages_complete && !report.more && !selection.is_single() {
        text.push_str(
            " The dead-letter queue was not read to its end: run bday dlq redrive to delete the messages left.",
        );
    }
    if report.redriven > 0 && console.api.store.pause().await?.is_some() {
        text.push_str(" Sending is paused: they are sent after it is resumed.");
    }
    let is_complete = report.redriven > 0 && announced.is_none_or(|announced| report.handled() >= announced);
    let notice = if is_complete { Notice::done(text) } else { Notice::failed(text) };
    Ok(notice.on(back))
}

/// Returns what was done, and how it differs from what was announced.
fn summary(report: &RedriveReport, announced: Option<u64>) -> String {
    let RedriveReport { redriven, skipped, cancelled, .. } = *report;
    let handled = report.handled();
    let missing = announced.unwrap_or(handled).saturating_sub(handled);
    let mut text = if handled == 0 {
        "Nothing was redriven.".to_owned()
    } else {
        let redriven = format_count(redriven, "event is redriven", "events are redriven");
        format!("{redriven}, {skipped} skipped: day over, {cancelled} cancelled: user deleted.")
    };
    if missing > 0 && !report.more {
        let of = announced.unwrap_or_default();
        let were = format_count(missing, "was", "were");
        let faster = "no longer dead: another operator or process was faster.";
        text = format!("{text} Of the {of} announced, {were} {faster}");
    }
    if report.more {
        text.push_str(" More events match: repeat the redrive for them.");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_what_differs_from_the_announcement() {
        let report = RedriveReport { redriven: 3, skipped: 1, ..RedriveReport::default() };
        let all = "3 events are redriven, 1 skipped: day over, 0 cancelled: user deleted.";
        assert_eq!(summary(&report, Some(4)), all);
        let faster = "Of the 6 announced, 2 were no longer dead: another operator or process was faster.";
        assert_eq!(summary(&report, Some(6)), format!("{all} {faster}"));
        let more = RedriveReport { more: true, ..report };
        assert_eq!(summary(&more, Some(4)), format!("{all} More events match: repeat the redrive for them."));
        let none = "Nothing was redriven. Of the 1 announced, 1 was no longer dead: another operator or process was faster.";
        assert_eq!(summary(&RedriveReport::default(), Some(1)), none);
    }
}
