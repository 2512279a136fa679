//! The groups of failures: same reason, channel and status of the last attempt.

use askama::Template;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use form_urlencoded::Serializer;
use uuid::Uuid;

use super::query::or_none;
use crate::calendar::{format_duration, format_instant};
use crate::http::console::Console;
use crate::http::console::layout::{Layout, Section, View};
use crate::http::console::number::number;
use crate::http::console::problem::{ConsoleProblem, Page};
use crate::store::{DeadFilter, FailureGroup, MAX_GROUPED};

const MAX_GROUPS: u32 = 100;

#[derive(Template)]
#[template(path = "failures.html", config = "src/http/console/askama.toml")]
struct GroupsPage {
    layout: Layout,
    groups: Vec<GroupRow>,
    total: i64,
    /// Whether there may be more failures or groups.
    is_truncated: bool,
}

impl GroupsPage {
    fn max_grouped(&self) -> i64 {
        MAX_GROUPED
    }
}

#[derive(Debug)]
struct GroupRow {
    path: String,
    reason: String,
    channel: String,
    status: String,
    count: i64,
    sample_id: Uuid,
    sample_error: String,
    oldest: Option<Age>,
    newest: Option<Age>,
}

#[derive(Debug)]
struct Age {
    at: String,
    age: String,
}

impl Age {
    fn new(at: DateTime<Utc>, now: DateTime<Utc>) -> Self {
        Self { at: format_instant(at), age: format_duration(now - at) }
    }
}

impl GroupRow {
    fn new(group: &FailureGroup, now: DateTime<Utc>) -> Self {
        let (channel, status) = (or_none(group.channel.as_deref()), or_none(group.status));
        let mut query = Serializer::new(String::new());
        let fields = [("reason", group.reason.as_str()), ("channel", &channel), ("status", &status)];
        Self {
            path: format!("/failures?{}", query.extend_pairs(fields).finish()),
            reason: group.reason.clone(),
            channel,
            status,
            count: group.count,
            sample_id: group.sample_event_id,
            sample_error: group.sample_error.clone().unwrap_or_else(|| "no error".to_owned()),
            oldest: group.oldest_at.map(|at| Age::new(at, now)),
            newest: group.newest_at.map(|at| Age::new(at, now)),
        }
    }
}

pub(super) async fn show(console: &Console, view: &View) -> Result<Response, ConsoleProblem> {
    let now = console.api.clock.now();
    let found = console.api.statistics.failures(&DeadFilter::default(), MAX_GROUPS).await?;
    let page = GroupsPage {
        layout: view.layout("Failures", Section::Failures),
        total: found.groups.iter().map(|group| group.count).sum(),
        groups: found.groups.iter().map(|group| GroupRow::new(group, now)).collect(),
        is_truncated: found.truncated,
    };
    Ok(Page(page).into_response())
}
