//! `/people`: search, add, export.

mod add;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use chrono::{DateTime, Utc};

use super::Console;
use super::fields::{Fields, Query};
use super::layout::{Layout, Section, View};
use super::person_text::{age_or_years, listed_name, person_path, zone_names};
use super::problem::{ConsoleProblem, Page};
use super::url::with_query;
use crate::calendar::Zone;
use crate::http::api::export;
use crate::http::api::fields::{ShortText, parse_id};
use crate::http::api::page::UserCursorText;
use crate::model::{Schedule, User};
use crate::people::export::ExportFormat;
use crate::store::{SearchCursor, Store, StoreError, UserFilter, UserRef};

const PATH: &str = "/people";
const PAGE_SIZE: u32 = 50;
/// To the next 29 February, also around 2100, which is no leap year.
const YEARS_AHEAD: u32 = 9;

#[derive(Template)]
#[template(path = "people.html", config = "src/http/console/askama.toml")]
struct PeoplePage {
    layout: Layout,
    search: String,
    zone: String,
    search_error: Option<String>,
    zone_error: Option<String>,
    cursor_error: Option<&'static str>,
    people: Vec<PersonRow>,
    first: String,
    next: Option<String>,
    is_later_page: bool,
}

struct PersonRow {
    path: String,
    name: String,
    external_id: Option<String>,
    birth_date: String,
    zone: &'static str,
    next: Option<NextGreeting>,
    addresses: Vec<&'static str>,
}

struct NextGreeting {
    date: String,
    detail: String,
}

/// What to list.
#[derive(Debug, Default)]
struct Listed {
    search: Option<ShortText>,
    zone: Option<Zone>,
    after: SearchCursor,
}

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/people", get(show).post(add::create))
        .route("/people/new", get(add::show))
        .route("/people/export", get(export_file))
}

impl PeoplePage {
    fn new(layout: Layout, query: &Fields) -> Self {
        let (search, zone) = (query.text("search").to_owned(), query.text("zone").to_owned());
        Self {
            layout,
            first: with_query(PATH, &[("search", &search), ("zone", &zone)]),
            search,
            zone,
            search_error: None,
            zone_error: None,
            cursor_error: None,
            people: Vec::new(),
            next: None,
            is_later_page: query.get("cursor").is_some(),
        }
    }

    fn is_filtered(&self) -> bool {
        !self.search.is_empty() || !self.zone.is_empty()
    }

    fn has_error(&self) -> bool {
        self.search_error.is_some() || self.zone_error.is_some() || self.cursor_error.is_some()
    }

    /// Whether there are no users at all.
    fn is_new(&self) -> bool {
        self.people.is_empty() && !self.is_filtered() && !self.is_later_page && self.next.is_none()
    }

    fn zones(&self) -> impl Iterator<Item = &'static str> + use<> {
        zone_names()
    }

    /// Reads the filters, and notes their errors.
    fn read(&mut self, query: &Fields) -> Listed {
        let mut listed = Listed::default();
        match query.get("search").map(str::parse).transpose() {
            Ok(search) => listed.search = search,
            Err(problem) => self.search_error = Some(format!("The text {problem}.")),
        }
        match query.get("zone").map(Zone::parse).transpose() {
            Ok(zone) => listed.zone = zone,
            Err(error) => self.zone_error = Some(error.to_string()),
        }
        let cursor = query.get("cursor").map(|text| UserCursorText::try_from(text.to_owned()));
        let is_search = listed.search.is_some();
        let checked = cursor.map(|cursor| cursor.and_then(|cursor| cursor.check(is_search).map(|()| cursor)));
        match checked.transpose() {
            Ok(cursor) => listed.after = cursor.map(|UserCursorText(cursor)| cursor).unwrap_or_default(),
            Err(_) if self.search_error.is_some() => {}
            Err(_) => {
                self.cursor_error =
                    Some("The link to this page of the list is invalid: begin with the first page.");
            }
        }
        listed
    }
}

async fn show(
    State(console): State<Console>,
    view: View,
    Query(query): Query,
) -> Result<Response, ConsoleProblem> {
    let mut page = PeoplePage::new(view.layout("People", Section::People), &query);
    let listed = page.read(&query);
    if page.has_error() {
        return Ok((StatusCode::BAD_REQUEST, Page(page)).into_response());
    }
    let (users, next) = listed.users(&console.api.store).await?;
    let (schedule, now) = (&console.api.schedule, console.api.clock.now());
    page.people = users.iter().map(|user| PersonRow::of(user, schedule, now)).collect();
    page.next = next.map(|cursor| {
        let cursor = UserCursorText(cursor).to_string();
        with_query(PATH, &[("search", &page.search), ("zone", &page.zone), ("cursor", &cursor)])
    });
    Ok(Page(page).into_response())
}

impl Listed {
    async fn users(self, store: &Store) -> Result<(Vec<User>, Option<SearchCursor>), StoreError> {
        let Self { search, zone, after } = self;
        let Some(ShortText(search)) = search else {
            let page = store.list_users(&UserFilter { time_zone: zone }, after.id, PAGE_SIZE).await?;
            let next = page.next.map(|id| SearchCursor { id, ..SearchCursor::default() });
            return Ok((page.users, next));
        };
        // The id of a greeting's request is more often at hand than the name.
        if let Ok(id) = parse_id(&search)
            && let Some(user) = store.user(UserRef::Id(id)).await?
        {
            return Ok((vec![user], None));
        }
        let page = store.search_users(&search, zone, after, PAGE_SIZE).await?;
        Ok((page.users, page.next))
    }
}

impl PersonRow {
    fn of(user: &User, schedule: &Schedule, now: DateTime<Utc>) -> Self {
        let addresses = [(&user.email, "email"), (&user.phone, "phone"), (&user.slack_user_id, "Slack")];
        let addresses = addresses.into_iter().filter(|(address, _)| address.is_some());
        Self {
            path: person_path(user.id),
            name: listed_name(user),
            external_id: user.external_id.clone(),
            birth_date: user.birth_date.to_string(),
            zone: user.time_zone.name(),
            next: NextGreeting::of(user, schedule, now),
            addresses: addresses.map(|(_, name)| name).collect(),
        }
    }
}

impl NextGreeting {
    fn of(user: &User, schedule: &Schedule, now: DateTime<Utc>) -> Option<Self> {
        let next = schedule.upcoming(user, now, YEARS_AHEAD).into_iter().next()?;
        let days = (next.local_date - user.time_zone.local_date(now)).num_days();
        let distance = match days {
            ..=0 => "today".to_owned(),
            1 => "tomorrow".to_owned(),
            days => format!("in {days} days"),
        };
        let years = age_or_years(&next.kind, next.years);
        let detail = [distance, years].into_iter().filter(|part| !part.is_empty());
        Some(Self { date: next.local_date.to_string(), detail: detail.collect::<Vec<_>>().join(", ") })
    }
}

/// As `bday user export`.
async fn export_file(
    State(console): State<Console>,
    Query(query): Query,
) -> Result<Response, ConsoleProblem> {
    let format = match query.text("format") {
        "csv" | "" => ExportFormat::Csv,
        "ndjson" => ExportFormat::Ndjson,
        other => {
            let detail = format!("Unknown format {other:?}: use csv or ndjson.");
            return Err(ConsoleProblem::bad_request(detail));
        }
    };
    Ok(export::file(&console.api, format).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NewUser;

    fn user(birth_date: &str, zone: &str) -> User {
        let user = NewUser {
            external_id: None,
            first_name: "Ada".to_owned(),
            last_name: String::new(),
            birth_date: birth_date.parse().expect("a date"),
            time_zone: zone.parse().expect("a zone"),
            send_at: None,
            leap_day: None,
            locale: None,
            addresses: std::collections::BTreeMap::new(),
            occasions: std::collections::BTreeMap::new(),
        };
        user.created(uuid::Uuid::nil(), DateTime::UNIX_EPOCH)
    }

    #[test]
    fn the_next_greeting_is_told_by_the_date_in_the_zone_of_the_person() {
        let schedule = Schedule::of_kinds(&["birthday"]);
        let now: DateTime<Utc> = "2026-11-24T12:00:00Z".parse().expect("an instant");
        for (birth_date, zone, date, detail) in [
            ("1990-11-24", "America/New_York", "2026-11-24", "today, turns 36"),
            ("1990-11-24", "UTC", "2027-11-24", "in 365 days, turns 37"),
            ("--11-25", "UTC", "2026-11-25", "tomorrow"),
            // It is the 25th in Kiritimati.
            ("2025-11-26", "Pacific/Kiritimati", "2026-11-26", "tomorrow, turns 1"),
        ] {
            let next = NextGreeting::of(&user(birth_date, zone), &schedule, now).expect("a greeting");
            assert_eq!((next.date.as_str(), next.detail.as_str()), (date, detail), "{birth_date} {zone}");
        }
    }
}
