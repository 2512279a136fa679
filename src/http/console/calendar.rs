//! `/calendar`: a year of days, past and ahead.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use chrono::{Datelike as _, NaiveDate};

use super::Console;
use super::charts::heat_map::{self, Day};
use super::charts::{Counts, Svg};
use super::fields::{Form, Query};
use super::guard::Remote;
use super::layout::{Layout, Notice, Section, View};
use super::number::number;
use super::problem::{ConsoleProblem, Page};
use super::time::Moment;
use crate::model::{Scope, parse_token_name};
use crate::operations::tokens::{self, CreateTokenError, TokenRequest};
use crate::store::OutcomeCounts;

/// The years that can be opened, from this one.
const YEARS: i32 = 5;
const BUSIEST: usize = 5;

#[derive(Template)]
#[template(path = "calendar.html", config = "src/http/console/askama.toml")]
struct CalendarPage {
    layout: Layout,
    year: i32,
    today: NaiveDate,
    previous: Option<i32>,
    next: Option<i32>,
    map: Svg,
    months: Vec<Month>,
    busiest: Vec<(Moment, i64)>,
    is_complete: bool,
    feed: Option<String>,
}

struct Month {
    name: String,
    counts: Counts,
    /// The day with the most greetings.
    busiest: Option<(NaiveDate, u64)>,
}

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/calendar", get(show))
        .route("/days", get(open_day))
        .route("/calendar/subscribe", post(subscribe))
}

async fn show(
    State(console): State<Console>,
    view: View,
    Query(query): Query,
) -> Result<Response, ConsoleProblem> {
    page(&console, &view, query.get("year"), None).await
}

async fn page(
    console: &Console,
    view: &View,
    year: Option<&str>,
    feed: Option<String>,
) -> Result<Response, ConsoleProblem> {
    let now = console.api.clock.now();
    let today = now.date_naive();
    let years = today.year() - YEARS..=today.year() + 1;
    let year = match year {
        None => today.year(),
        Some(text) => text.parse().ok().filter(|year| years.contains(year)).ok_or_else(|| {
            let (first, last) = (years.start(), years.end());
            ConsoleProblem::bad_request(format!("Invalid year {text:?}: use a year from {first} to {last}."))
        })?,
    };
    let days = days(console, year).await?;
    let busiest = console.api.statistics.busiest_minutes().await?;
    let page = CalendarPage {
        layout: view.layout("Calendar", Section::Calendar),
        year,
        today,
        previous: Some(year - 1).filter(|year| years.contains(year)),
        next: Some(year + 1).filter(|year| years.contains(year)),
        map: heat_map::draw(&days, today),
        months: months(&days),
        busiest: busiest.iter().take(BUSIEST).map(|minute| (Moment::utc(minute.at), minute.due)).collect(),
        is_complete: days.iter().all(|day| day.counts.is_some()),
        feed,
    };
    Ok(Page(page).into_response())
}

async fn days(console: &Console, year: i32) -> Result<Vec<Day>, ConsoleProblem> {
    let first = NaiveDate::from_ymd_opt(year, 1, 1);
    let last = NaiveDate::from_ymd_opt(year, 12, 31);
    let Some((first, last)) = first.zip(last) else {
        return Ok(Vec::new());
    };
    let days = console.api.statistics.days(first, last).await?;
    Ok(days.iter().map(|day| Day { date: day.date, counts: day.counts.map(counts) }).collect())
}

fn counts(of_day: OutcomeCounts) -> Counts {
    let count = i64::unsigned_abs;
    Counts {
        sent: count(of_day.sent),
        late: 0,
        failed: count(of_day.failed),
        skipped: count(of_day.skipped) + count(of_day.cancelled),
        due: count(of_day.due),
    }
}

fn months(days: &[Day]) -> Vec<Month> {
    let of_month = |month: u32| days.iter().filter(move |day| day.date.month() == month);
    let month = |month: u32| {
        let mut counts = Counts::default();
        of_month(month).filter_map(|day| day.counts).for_each(|day| counts += day);
        let busiest = of_month(month).filter_map(|day| Some((day.date, day.counts?.total())));
        let busiest = busiest
            .filter(|(_, total)| *total > 0)
            .max_by_key(|(date, total)| (*total, std::cmp::Reverse(*date)));
        let name = of_month(month).next().map(|day| day.date.format("%B").to_string()).unwrap_or_default();
        Month { name, counts, busiest }
    };
    (1..=12).map(month).filter(|month| !month.name.is_empty()).collect()
}

/// The form that opens a date.
async fn open_day(Query(query): Query) -> Result<Redirect, ConsoleProblem> {
    let text = query.text("date");
    let date: NaiveDate = text.parse().map_err(|_| {
        ConsoleProblem::bad_request(format!(
            "Invalid date {text:?}: write it as YYYY-MM-DD, such as 2026-12-10."
        ))
    })?;
    Ok(Redirect::to(&format!("/days/{date}")))
}

/// Creates a token for the calendar feed, and shows the address that has it.
async fn subscribe(
    State(console): State<Console>,
    view: View,
    Remote(remote): Remote,
    headers: HeaderMap,
    Form(form): Form,
) -> Result<Response, ConsoleProblem> {
    let back = form.back("/calendar");
    let name = match parse_token_name(form.text("name")) {
        Ok(name) => name,
        Err(error) => return Ok(Notice::failed(format!("Invalid name: {error}")).on(&back)),
    };
    let request = TokenRequest { name, scope: Scope::Calendar, expires_at: None, hash: None };
    let secret = match tokens::create(&console.api.store, console.api.clock.now(), request).await {
        Ok(created) => created.secret,
        Err(CreateTokenError::Store(error)) => return Err(error.into()),
        Err(error) => return Ok(Notice::failed(error.to_string()).on(&back)),
    };
    let base = console.base_url(&headers, remote);
    let feed = secret.map(|token| format!("{base}/calendar.ics?token={}", token.expose()));
    page(&console, &view, None, feed).await
}
