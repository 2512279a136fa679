//! Which dead events: the options that `list`, `redrive` and `purge` have in common.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::model::{Reason, parse_instant};
use crate::store::DeadFilter;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Filter {
    /// Only dead for this reason: status, gone, connect, timeout, broken …; may come more than once
    #[arg(long, value_name = "REASON")]
    reason: Vec<Reason>,
    /// Only of this kind; may come more than once
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,
    /// Only what died at this instant or later: RFC 3339, or a date
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    since: Option<DateTime<Utc>>,
    /// Only what died before this instant
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    until: Option<DateTime<Utc>>,
    /// Only this event; may come more than once
    #[arg(long, value_name = "ID", num_args = 1.., value_parser = crate::cli::event::id)]
    event: Vec<Uuid>,
}

impl Filter {
    pub(super) fn events(&self) -> &[Uuid] {
        &self.event
    }

    pub(super) fn build(self) -> DeadFilter {
        DeadFilter {
            reasons: self.reason,
            kinds: self.kind,
            since: self.since,
            until: self.until,
            ids: self.event,
            day_over: false,
        }
    }
}
