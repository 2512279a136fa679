//! Simulates years of the whole pipeline in minutes: the real stages on a real database, under a clock that is set.
//!
//! ```text
//! users ──changes──> simulator ──> store <── scheduler ──> queue ──> workers ──> receiver
//! (seed)                 └───────> checker <──────── "is this greeting expected now?" ┘
//! ```
//!
//! [`users`] generates users and their changes: late joins, moves (across the date line, on the day), corrected dates,
//! deletions, returns. [`timeline`] orders them, and adds outages of hours or days. [`simulator`] sets the clock to each
//! minute in which something happens, writes users as the API does, and runs one or two daemons. [`checker`] derives from
//! the [`rules`] and the [`reference_calendar`] alone which greeting is expected when. [`receiver`] checks each greeting
//! with it, and fails some. At the end the rows are compared with it.
//!
//! A run is repeatable by its seed, except for retry jitter and ids. Not simulated: the network, crashes, and seconds
//! between two ticks in which nothing happens.

mod checker;
mod compare;
mod config;
mod expected;
mod receiver;
mod reference_calendar;
mod report;
mod rules;
mod simulator;
mod timeline;
mod users;

use chrono::{DateTime, NaiveDate, Utc};

use crate::model::LateJoin;
pub use report::{SimulationReport, YearCounts};
pub use simulator::run;

#[derive(Debug, Clone)]
pub struct SimulationOptions {
    pub users: u32,
    /// The first day (UTC). Its year counts as one, even if it is not complete.
    pub from: NaiveDate,
    pub years: u32,
    pub seed: u64,
    pub late_join: LateJoin,
}

/// Receives the simulated instant, about once a simulated day.
pub type Progress<'a> = &'a (dyn Fn(DateTime<Utc>) + Send + Sync);
