//! bday sends every person a greeting on their birthday at 09:00 in their own time zone.
//!
//! ```text
//!            every minute, at second 0
//! clock ──> plan ──> claim ──> enqueue ──> deliver ──> record
//!           users    due       Queue       Channel     outcome, then ack
//!           near     events
//!           their    SKIP
//!           day      LOCKED
//! ```
//!
//! The rooms, in the order in which data flows: [`calendar`] (pure), [`model`], [`store`] (all SQL), [`scheduler`] (plan,
//! claim, enqueue, sweep), [`queue`], [`worker`] (receive, lease, deliver, record, ack), [`channel`]. Stages know `model`,
//! `store`, [`clock`] and their own seam, never each other; [`app`] wires them, [`lifecycle`] starts and stops them.
//!
//! Guaranteed: at most one greeting per user, kind and local year, by a constraint; no due event is lost, each ends
//! delivered, dead, cancelled or skipped, with a reason; without a crash or a lost answer in the middle of a request, a
//! receiver accepts each event once. Not guaranteed: that a receiver never sees a repeat. Where a crash comes between its
//! acceptance and our record, the repeat carries the same `webhook-id`.

pub mod app;
pub mod calendar;
pub mod channel;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dead_letters;
pub mod demo;
pub mod doctor;
pub mod embedded;
pub mod explain;
pub mod export;
pub mod forecast;
pub mod health;
pub mod http;
pub mod import;
pub mod inbox;
pub mod lifecycle;
pub mod login;
pub mod model;
pub mod queue;
pub mod scheduler;
pub mod simulate;
pub mod skew;
pub mod source;
pub mod store;
pub mod supervisor;
pub mod telemetry;
pub mod tzguard;
pub mod worker;
