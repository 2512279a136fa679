//! `/`: the state of the system, and today's greetings.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use chrono::{DateTime, DurationRound as _, NaiveDate, TimeDelta, Utc};
use uuid::Uuid;

use super::Console;
use super::charts::strip::{self, Hour};
use super::charts::{Counts, Svg};
use super::fields::Form;
use super::layout::{Layout, Notice, Section, View};
use super::number::number;
use super::problem::{ConsoleProblem, Page};
use super::time::Moment;
use crate::calendar::format_duration;
use crate::model::EventState;
use crate::store::{DayStatistics, Pause, UserFilter, parse_pause_reason};

/// Reasons and channels that are listed.
const MAX_LISTED: usize = 8;

#[derive(Template)]
#[template(path = "today.html", config = "src/http/console/askama.toml")]
struct TodayPage {
    layout: Layout,
    problems: Vec<String>,
    pause: Option<Pause>,
    now: Moment,
    date: NaiveDate,
    /// Where it is past 09:00 now.
    nine: String,
    counts: Counts,
    lateness: Option<[String; 3]>,
    oldest_pending: Option<String>,
    due_pending: i64,
    hours: Vec<Hour>,
    strip: Svg,
    failures: Vec<(String, u64)>,
    channels: Vec<(String, Counts)>,
    has_users: bool,
}

impl TodayPage {
    fn paused_since(&self) -> Option<Moment> {
        self.pause.as_ref().map(|pause| Moment::utc(pause.since))
    }
}

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/", get(show)).route("/pause", post(pause)).route("/resume", post(resume))
}

async fn show(State(console): State<Console>, view: View) -> Result<Response, ConsoleProblem> {
    let now = console.api.clock.now();
    let date = now.date_naive();
    let day = console.api.statistics.today().await?;
    let pause = console.api.store.pause().await?;
    let counts: Counts = day.groups.iter().collect();
    // Without any greeting today, there may be no users yet.
    let has_users = counts.total() > 0 || console.has_users().await?;
    let hours = strip::hours(&day);
    let page = TodayPage {
        layout: view.layout("Today", Section::Today),
        problems: console.health.problems(),
        pause,
        now: Moment::utc(now),
        date,
        nine: describe_nine(now),
        counts,
        lateness: day.lateness.map(|late| [late.p50_ms, late.p95_ms, late.p99_ms].map(milliseconds)),
        oldest_pending: day.oldest_pending_due_at.map(|at| format_duration(now - at)),
        due_pending: day.due_pending,
        strip: strip::draw(&hours, date, now),
        hours,
        failures: failures(&day),
        channels: channels(&day),
        has_users,
    };
    Ok(Page(page).into_response())
}

impl Console {
    async fn has_users(&self) -> Result<bool, ConsoleProblem> {
        let page = self.api.store.list_users(&UserFilter::default(), Uuid::nil(), 1).await?;
        Ok(!page.users.is_empty() || page.next.is_some())
    }
}

fn milliseconds(ms: i64) -> String {
    format_duration(TimeDelta::milliseconds(ms))
}

/// Says where it is past 09:00, or where it is 09:00 next.
fn describe_nine(now: DateTime<Utc>) -> String {
    const STEP: TimeDelta = TimeDelta::minutes(15);
    let places = strip::places_at(now, 9);
    if !places.is_empty() {
        return format!("It is past 09:00 in {}", list(&places));
    }
    let quarters = std::iter::successors(now.duration_trunc(STEP).ok(), |at| Some(*at + STEP));
    let mut next = quarters.skip(1).take(96).map(|at| (at, strip::places_at(at, 9)));
    let next = next.find(|(_, places)| !places.is_empty());
    next.map_or_else(String::new, |(at, places)| {
        format!("It is 09:00 in {} in {}", list(&places), format_duration(at - now))
    })
}

/// Formats names as `Berlin, Lagos and Nairobi`.
fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Returns the reasons of dead events, the most frequent first.
fn failures(day: &DayStatistics) -> Vec<(String, u64)> {
    let mut by_reason: BTreeMap<&str, u64> = BTreeMap::new();
    for group in day.groups.iter().filter(|group| group.state == EventState::Dead) {
        *by_reason.entry(group.reason.as_deref().unwrap_or("unknown")).or_default() +=
            group.count.unsigned_abs();
    }
    let mut reasons: Vec<_> =
        by_reason.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect();
    reasons.sort_by_key(|(_, count)| Reverse(*count));
    reasons.truncate(MAX_LISTED);
    reasons
}

/// Returns the events of each channel that has attempts.
fn channels(day: &DayStatistics) -> Vec<(String, Counts)> {
    let mut by_channel: BTreeMap<&str, Counts> = BTreeMap::new();
    for group in &day.groups {
        if let Some(channel) = &group.channel {
            *by_channel.entry(channel).or_default() += Counts::from(group);
        }
    }
    by_channel.into_iter().map(|(channel, counts)| (channel.to_owned(), counts)).collect()
}

/// As `bday pause`.
async fn pause(State(console): State<Console>, Form(form): Form) -> Result<Response, ConsoleProblem> {
    let back = form.back("/");
    let reason = match parse_pause_reason(form.text("reason")) {
        Ok(reason) => reason,
        Err(problem) => return Ok(Notice::failed(format!("The reason {problem}.")).on(&back)),
    };
    let is_new = console.api.store.set_pause(console.api.clock.now(), &reason).await?;
    let notice = if is_new {
        Notice::done("Sending is paused.")
    } else {
        Notice::failed("Sending was paused before; that pause keeps its time and reason.")
    };
    Ok(notice.on(&back))
}

/// As `bday resume`.
async fn resume(State(console): State<Console>, Form(form): Form) -> Result<Response, ConsoleProblem> {
    let ended = console.api.store.end_pause().await?;
    let notice =
        if ended { Notice::done("Sending is resumed.") } else { Notice::failed("Sending was not paused.") };
    Ok(notice.on(&form.back("/")))
}
