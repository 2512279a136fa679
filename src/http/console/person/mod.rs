//! `/people/{id}`: why a person was, will be, or was not greeted; addresses, history, edit, delete.

mod contacts;
mod delete;
mod edit;
mod explained;

use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use uuid::Uuid;

use super::Console;
use super::layout::{Layout, Section, View};
use super::person_text::{full_name, kind_in_words, person_path};
use super::problem::{ConsoleProblem, Page};
use super::time::Moment;
use super::url::with_query;
use crate::http::api::fields::parse_id;
use crate::model::{Contact, ContactStatus, User};
use crate::people::explain;
use crate::store::UserRef;
use explained::{EventRow, NextRow, ThisYearView, events};

#[derive(Template)]
#[template(path = "person.html", config = "src/http/console/askama.toml")]
struct PersonPage {
    layout: Layout,
    id: Uuid,
    path: String,
    name: String,
    now: Moment,
    user: User,
    this_year: Vec<ThisYearView>,
    next: Vec<NextRow>,
    contacts: Vec<ContactRow>,
    events: Vec<EventRow>,
    /// Other kinds than the birthday, with their dates.
    dates: Vec<(String, String)>,
    kinds: Vec<String>,
}

#[derive(Template)]
#[template(path = "person_deleted.html", config = "src/http/console/askama.toml")]
struct DeletedPersonPage {
    layout: Layout,
    id: Uuid,
    deleted_at: Option<Moment>,
    this_year: Vec<ThisYearView>,
    events: Vec<EventRow>,
}

struct ContactRow {
    contact: Contact,
    since: Option<Moment>,
    action: String,
}

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/people/{id}", get(show).post(edit::save))
        .route("/people/{id}/edit", get(edit::show))
        .route("/people/{id}/delete", post(delete::delete))
        .route("/people/{id}/contacts/{channel}", post(contacts::choose))
}

async fn show(
    State(console): State<Console>,
    view: View,
    Path(id): Path<String>,
) -> Result<Response, ConsoleProblem> {
    let id = read_id(&id)?;
    let (api, now) = (&console.api, console.api.clock.now());
    let history = api.store.user_history(UserRef::Id(id)).await?.ok_or_else(not_found)?;
    let explanation = explain::explain(history, &api.explain_settings, now);
    let zone = explanation.user.as_ref().map(|user| user.time_zone);
    let moment = |at| zone.map_or_else(|| Moment::utc(at), |zone| Moment::in_zone(at, zone));
    let this_year = explanation.this_year.iter().map(|this| ThisYearView::of(this, moment)).collect();
    let events = events(&explanation, moment);
    let Some(user) = explanation.user else {
        let deleted_at = explanation.deleted_at.map(Moment::utc);
        let layout = view.layout("Deleted person", Section::People);
        return Ok(Page(DeletedPersonPage { layout, id, deleted_at, this_year, events }).into_response());
    };
    let contacts = api.store.contacts(id).await?;
    let user = user.with_configured_kinds(&api.schedule);
    let name = full_name(&user);
    Ok(Page(PersonPage {
        layout: view.layout(&*name, Section::People),
        id,
        path: person_path(id),
        name,
        now: moment(now),
        this_year,
        next: explanation.next.iter().map(|next| NextRow::of(next, now, moment)).collect(),
        contacts: contacts.into_iter().map(|contact| ContactRow::of(id, contact)).collect(),
        events,
        dates: user.occasions.iter().map(|(kind, date)| (kind_in_words(kind), date.to_string())).collect(),
        kinds: api.schedule.kinds.keys().cloned().collect(),
        user,
    })
    .into_response())
}

fn not_found() -> ConsoleProblem {
    ConsoleProblem::not_found(
        "There was never a person with this id, or the person was deleted and all records have expired.",
    )
}

/// Returns the id of a person in a path.
fn read_id(id: &str) -> Result<Uuid, ConsoleProblem> {
    parse_id(id).map_err(|_| not_found())
}

impl PersonPage {
    fn preview_path(&self) -> String {
        with_query("/message", &[("user", &self.id.to_string())])
    }

    fn events_path(&self) -> String {
        with_query("/events", &[("user", &self.id.to_string())])
    }

    fn or_configured(value: Option<&impl ToString>) -> String {
        value.map_or_else(|| "as configured".to_owned(), ToString::to_string)
    }

    fn send_at(&self) -> String {
        Self::or_configured(self.user.send_at.as_ref())
    }

    fn leap_day(&self) -> String {
        Self::or_configured(self.user.leap_day.as_ref())
    }

    fn locale(&self) -> String {
        Self::or_configured(self.user.locale.as_ref())
    }

    fn created_at(&self) -> Moment {
        Moment::in_zone(self.user.created_at, self.user.time_zone)
    }

    fn updated_at(&self) -> Moment {
        Moment::in_zone(self.user.updated_at, self.user.time_zone)
    }

    fn version(&self) -> String {
        self.user.version().to_string()
    }

    fn has_kinds(&self) -> bool {
        self.kinds.len() > 1
    }
}

impl ContactRow {
    fn of(user: Uuid, contact: Contact) -> Self {
        Self {
            since: contact.since.map(Moment::utc),
            action: format!("{}/contacts/{}", person_path(user), contact.channel),
            contact,
        }
    }

    fn status(&self) -> String {
        self.contact.status.as_str().replace('_', " ")
    }

    fn class(&self) -> &'static str {
        match self.contact.status {
            ContactStatus::Active => "good",
            ContactStatus::OptedOut => "warn",
            ContactStatus::Bounced | ContactStatus::Complained => "bad",
        }
    }

    fn opted_out_kinds(&self) -> String {
        let kinds = self.contact.opted_out_kinds.iter().map(|kind| kind_in_words(kind));
        kinds.collect::<Vec<_>>().join(", ")
    }

    fn can_opt_out(&self) -> bool {
        self.contact.status != ContactStatus::OptedOut
    }

    fn can_opt_in(&self) -> bool {
        !self.contact.is_active()
    }
}
