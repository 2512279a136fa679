//! `/days/{date}`: the greetings of one local date.

mod chart;
mod hours;

use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use chrono::NaiveDate;

use super::Console;
use super::command::CommandLine;
use super::events::{self, EventRow};
use super::layout::{Layout, Section, View};
use super::problem::{ConsoleProblem, Page};
use super::time::Moment;
use crate::calendar::{SendAt, format_duration};
use crate::model::{BIRTHDAY, parse_date};
use crate::store::{DayStatistics, EventFilter, EventOrder};
use chart::HoursChart;
use hours::{Counts, HourRow, OUTCOMES, Outcome};

const FIRST_EVENTS: u32 = 25;

#[derive(Template)]
#[template(path = "day.html", config = "src/http/console/askama.toml")]
struct DayPage {
    layout: Layout,
    date: NaiveDate,
    counted: Moment,
    totals: Counts,
    hours: Vec<HourRow>,
    send_at: SendAt,
    /// The lateness of 50 %, 95 % and 99 % of those sent.
    lateness: Option<[String; 3]>,
    rows: Vec<EventRow>,
    has_more: bool,
    command: CommandLine,
}

impl DayPage {
    fn chart(&self) -> HoursChart<'_> {
        HoursChart { date: self.date, hours: &self.hours }
    }

    fn outcomes(&self) -> [Outcome; OUTCOMES.len()] {
        OUTCOMES
    }

    fn previous(&self) -> Option<NaiveDate> {
        self.date.pred_opt().filter(is_shown)
    }

    fn next(&self) -> Option<NaiveDate> {
        self.date.succ_opt().filter(is_shown)
    }
}

fn is_shown(date: &NaiveDate) -> bool {
    parse_date(&date.to_string()).is_ok()
}

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/days/{date}", get(show))
}

async fn show(
    State(console): State<Console>,
    view: View,
    Path(date): Path<String>,
) -> Result<Response, ConsoleProblem> {
    let date = match parse_date(&date) {
        Ok(date) => date,
        Err(error) => {
            let layout = view.layout("", Section::Calendar);
            return Ok(ConsoleProblem::not_found(error.to_string()).page(layout));
        }
    };
    let statistics = console.api.statistics.day(date).await?;
    let filter = EventFilter { local_date: Some(date), ..EventFilter::default() };
    let store = &console.api.store;
    let mut events = store.list_events(&filter, EventOrder::Ascending, None, FIRST_EVENTS + 1).await?;
    let has_more = events.len() > FIRST_EVENTS as usize;
    events.truncate(FIRST_EVENTS as usize);
    let rows = events::rows(store, events).await?;
    let send_at = console.api.schedule.kinds.get(BIRTHDAY).copied().unwrap_or_default();
    Ok(Page(page(view, date, &statistics, send_at, rows, has_more)).into_response())
}

fn page(
    view: View,
    date: NaiveDate,
    statistics: &DayStatistics,
    send_at: SendAt,
    rows: Vec<EventRow>,
    has_more: bool,
) -> DayPage {
    let lateness = statistics.lateness.map(|lateness| {
        [lateness.p50_ms, lateness.p95_ms, lateness.p99_ms]
            .map(|ms| format_duration(chrono::TimeDelta::milliseconds(ms)))
    });
    DayPage {
        layout: view.layout(date.format("%A, %-d %B %Y").to_string(), Section::Calendar),
        counted: Moment::utc(statistics.counted_at),
        totals: statistics.groups.iter().collect(),
        hours: hours::hours(date, send_at, &statistics.groups),
        command: CommandLine::new("bday event list --ascending").option("--date", Some(date)),
        date,
        send_at,
        lateness,
        rows,
        has_more,
    }
}
