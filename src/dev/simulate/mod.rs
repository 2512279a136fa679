//! Years of the whole pipeline in minutes: the real stages on a real database, under a clock that is set.
//!
//! ```text
//!  cast ──turns──> drive ──users──> store <── scheduler ──> memory queue ──> workers ──> receiver
//!  (seed)            └──────────────────────> ledger <─────────── "is this owed, now?" ────┘
//! ```
//!
//! [`cast`] draws people and what happens to them: late joins, moves (across the date line, on the day), corrected
//! dates, deletions, returns. [`drive`] sets the clock from one minute in which something happens to the next, writes
//! users as the API does, and runs the scheduler and the workers as a daemon does, now and then two of each at once, and
//! with absences of hours or days. [`ledger`] knows by the [`rules`] alone, and by [`oracle`]'s clocks on walls, who must
//! be greeted when; [`receiver`] asks it about each greeting, and fails now and then. At the end the rows are compared
//! with the ledger, too.
//!
//! A run is repeatable by its seed, but for the jitter of retries and the ids.
//!
//! Not simulated: the wire (that is the tests' and the benchmark's matter), crashes (the fault suite's), and the
//! seconds between two ticks in which nothing happens.

mod cast;
mod compare;
mod drive;
mod ledger;
mod oracle;
mod receiver;
mod report;
mod rules;

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};

use crate::config::{self, Config};
use crate::model::LateJoin;
pub use drive::run;
pub use report::{SimulationReport, Year};

/// What to simulate.
#[derive(Debug, Clone)]
pub struct SimulationOptions {
    /// How many people.
    pub users: u32,
    /// The first day, UTC; its year is simulated as a whole, or what is left of it.
    pub from: NaiveDate,
    /// How many years.
    pub years: u32,
    /// Everything is drawn from this.
    pub seed: u64,
    /// What becomes of dates that are learned on the day.
    pub late_join: LateJoin,
}

/// Told now and then: the simulated instant.
pub type Progress<'a> = &'a (dyn Fn(DateTime<Utc>) + Send + Sync);

/// The configuration of the simulated daemon: the defaults, a second kind, and texts that tell what is sent.
fn configuration(options: &SimulationOptions, database_url: &str) -> anyhow::Result<Config> {
    let late_join = match options.late_join {
        LateJoin::Send => "send",
        LateJoin::Skip => "skip",
    };
    let mut variables = HashMap::from([
        ("BDAY__DATABASE__URL".to_owned(), database_url.to_owned()),
        ("BDAY__QUEUE__KIND".to_owned(), "postgres".to_owned()),
        ("BDAY__WEBHOOK__URL".to_owned(), "http://127.0.0.1:9/".to_owned()),
        ("BDAY__PLAN__LATE_JOIN".to_owned(), late_join.to_owned()),
    ]);
    for (kind, send_at) in cast::KINDS.iter().zip(cast::SEND_AT) {
        let prefix = format!("BDAY__KINDS__{}__", kind.to_uppercase());
        variables.insert(format!("{prefix}MESSAGE"), receiver::TEMPLATE.to_owned());
        variables.insert(format!("{prefix}SEND_AT"), send_at.to_owned());
    }
    Ok(config::load(None, variables)?)
}
