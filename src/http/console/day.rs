//! `/days/{date}`: the greetings of one local date.

use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use chrono::{DurationRound as _, NaiveDate, TimeDelta};

use super::Console;
use super::charts::strip::{self, Hour};
use super::charts::{Counts, Svg};
use super::command::CommandLine;
use super::events::{self, EventRow};
use super::layout::{Layout, Section, View};
use super::number::number;
use super::problem::{ConsoleProblem, Page};
use super::time::Moment;
use crate::calendar::{SendAt, format_duration};
use crate::model::{BIRTHDAY, parse_date};
use crate::store::{DayStatistics, EventFilter, EventGroup, EventOrder};

const FIRST_EVENTS: u32 = 25;
/// The filter of the events in each part of the counts, in their order.
const STATES: [&str; 5] = [
    "state=delivered",
    "state=delivered",
    "state=dead",
    "state=skipped&state=cancelled",
    "state=pending&state=queued&state=delivering",
];

#[derive(Template)]
#[template(path = "day.html", config = "src/http/console/askama.toml")]
struct DayPage {
    layout: Layout,
    date: NaiveDate,
    counted: Moment,
    counts: Counts,
    /// The hours, each with the offsets of the zones where it is then the default send time.
    hours: Vec<(Hour, String)>,
    strip: Svg,
    send_at: SendAt,
    lateness: Option<[String; 3]>,
    rows: Vec<EventRow>,
    has_more: bool,
    command: CommandLine,
}

impl DayPage {
    fn previous(&self) -> Option<NaiveDate> {
        self.date.pred_opt().filter(has_page)
    }

    fn next(&self) -> Option<NaiveDate> {
        self.date.succ_opt().filter(has_page)
    }

    /// Returns the name, the filter and the number of each part.
    fn figures(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        self.counts.parts().into_iter().zip(STATES).map(|((_, name, count), states)| (name, states, count))
    }
}

fn has_page(date: &NaiveDate) -> bool {
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
    let date = parse_date(&date).map_err(|error| ConsoleProblem::not_found(error.to_string()))?;
    let day = console.api.statistics.day(date).await?;
    let filter = EventFilter { local_date: Some(date), ..EventFilter::default() };
    let store = &console.api.store;
    let mut events = store.list_events(&filter, EventOrder::Ascending, None, FIRST_EVENTS + 1).await?;
    let has_more = events.len() > FIRST_EVENTS as usize;
    events.truncate(FIRST_EVENTS as usize);
    let rows = events::rows(store, events).await?;
    Ok(Page(console.day_page(&view, &day, rows, has_more)).into_response())
}

impl Console {
    fn day_page(&self, view: &View, day: &DayStatistics, rows: Vec<EventRow>, has_more: bool) -> DayPage {
        let date = day.date;
        let send_at = self.api.schedule.kinds.get(BIRTHDAY).copied().unwrap_or_default();
        let hours = strip::hours(day);
        DayPage {
            layout: view.layout(date.format("%A, %-d %B %Y").to_string(), Section::Calendar),
            date,
            counted: Moment::utc(day.counted_at),
            counts: day.groups.iter().collect(),
            strip: strip::draw(&hours, date, self.api.clock.now()),
            hours: hours.into_iter().map(|hour| (hour, offsets(date, send_at, &day.groups, hour))).collect(),
            send_at,
            lateness: day.lateness.map(|late| {
                [late.p50_ms, late.p95_ms, late.p99_ms].map(|ms| format_duration(TimeDelta::milliseconds(ms)))
            }),
            rows,
            has_more,
            command: CommandLine::new("bday event list --ascending").option("--date", Some(date)),
        }
    }
}

/// Returns the offsets from UTC at which it is `send_at` of `date` when the groups of the hour are due.
fn offsets(date: NaiveDate, send_at: SendAt, groups: &[EventGroup], hour: Hour) -> String {
    let local = date.and_time(send_at.time());
    let is_in_hour = |group: &&EventGroup| group.due_at.duration_trunc(TimeDelta::hours(1)) == Ok(hour.start);
    let groups = groups.iter().filter(is_in_hour);
    let mut offsets: Vec<i64> =
        groups.map(|group| (local - group.due_at.naive_utc()).num_minutes()).collect();
    offsets.dedup();
    // No zone has another offset: there, people have their own send times.
    offsets.retain(|offset| (-12 * 60..=14 * 60).contains(offset));
    let texts: Vec<String> = offsets.into_iter().map(offset_text).collect();
    texts.join(", ")
}

fn offset_text(minutes: i64) -> String {
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventState;

    #[test]
    fn an_hour_has_the_offsets_at_which_its_events_are_due_at_the_send_time() {
        let group = |due_at: &str| EventGroup {
            due_at: due_at.parse().expect("an instant"),
            state: EventState::Delivered,
            reason: None,
            channel: None,
            late: false,
            count: 1,
        };
        let groups = ["2026-05-02T03:15:00Z", "2026-05-02T03:30:00Z", "2026-05-02T03:30:00Z"].map(group);
        let date = "2026-05-02".parse().expect("a date");
        let at = |start: &str| {
            let hour = Hour { start: start.parse().expect("an instant"), counts: Counts::default() };
            offsets(date, SendAt::default(), &groups, hour)
        };
        assert_eq!(at("2026-05-02T03:00:00Z"), "+05:45, +05:30");
        assert_eq!(at("2026-05-02T04:00:00Z"), "");
        assert_eq!([offset_text(-570), offset_text(0)], ["-09:30", "+00:00"]);
    }
}
