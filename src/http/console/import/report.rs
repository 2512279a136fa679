//! Reports of imports, as they are stored with an upload.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::http::console::number::number;

/// Bad rows that a page lists.
const MAX_LISTED: usize = 50;
const MAX_REASON_CHARS: usize = 400;

/// What [`ImportReport`](crate::people::import::ImportReport) has as JSON.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Report {
    pub(super) created: u64,
    pub(super) updated: u64,
    pub(super) unchanged: u64,
    pub(super) failed: u64,
    errors: Vec<BadRow>,
    pub(super) columns: Columns,
    pub(super) rows: Vec<FirstRow>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct BadRow {
    pub(super) line: u64,
    reason: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Columns {
    pub(super) recognised: Vec<String>,
    pub(super) ignored: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FirstRow {
    pub(super) line: u64,
    pub(super) change: String,
    first_name: String,
    last_name: String,
    pub(super) birth_date: String,
    pub(super) time_zone: String,
    send_at: Option<String>,
    leap_day: Option<String>,
    external_id: Option<String>,
    locale: Option<String>,
    email: Option<String>,
    phone: Option<String>,
    slack_user_id: Option<String>,
    occasions: BTreeMap<String, String>,
}

impl Report {
    /// An upload whose report another version wrote is shown without it.
    pub(super) fn parse(json: &str) -> Self {
        serde_json::from_str(json).unwrap_or_else(|error| {
            tracing::warn!(%error, "unreadable report of an import");
            Self::default()
        })
    }

    /// Rows that an import writes.
    pub(super) fn changes(&self) -> u64 {
        self.created + self.updated
    }

    pub(super) fn people_to_import(&self) -> String {
        let noun = if self.changes() == 1 { "person" } else { "people" };
        format!("{} {noun}", number(self.changes()))
    }

    /// Returns each figure with its name.
    pub(super) fn figures(&self) -> [(&'static str, String); 3] {
        let figures = [("New", self.created), ("Changed", self.updated), ("The same", self.unchanged)];
        figures.map(|(name, count)| (name, number(count)))
    }

    pub(super) fn bad_row_count(&self) -> String {
        number(self.failed)
    }

    pub(super) fn bad_rows(&self) -> &[BadRow] {
        &self.errors[..self.errors.len().min(MAX_LISTED)]
    }

    pub(super) fn unlisted(&self) -> Option<String> {
        let count = self.failed.saturating_sub(self.bad_rows().len() as u64);
        (count > 0).then(|| number(count))
    }
}

impl BadRow {
    pub(super) fn reason(&self) -> String {
        match self.reason.char_indices().nth(MAX_REASON_CHARS) {
            Some((end, _)) => format!("{}…", &self.reason[..end]),
            None => self.reason.clone(),
        }
    }
}

impl FirstRow {
    pub(super) fn name(&self) -> String {
        let name = format!("{} {}", self.first_name, self.last_name);
        name.trim_end().chars().take(60).collect()
    }

    /// Returns the other fields that are set.
    pub(super) fn more(&self) -> String {
        let fields = [
            &self.external_id,
            &self.email,
            &self.phone,
            &self.slack_user_id,
            &self.send_at,
            &self.leap_day,
            &self.locale,
        ];
        let dates = self.occasions.iter().map(|(kind, date)| format!("{kind} {date}"));
        fields.into_iter().flatten().cloned().chain(dates).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn class(&self) -> &'static str {
        match &*self.change {
            "created" => "good",
            "updated" => "info",
            _ => "",
        }
    }

    pub(super) fn change_in_words(&self) -> &str {
        match &*self.change {
            "created" => "new",
            "updated" => "changed",
            _ => "the same",
        }
    }
}
