//! bday sends every person a greeting on their birthday at 09:00 in their own time zone.
//!
//! The flow of an event is drawn in [`pipeline`], a stage a file: plan, claim, send, receive, lease, deliver, record, sweep. Around
//! it: [`calendar`] (pure), [`model`], [`store`] (all SQL); stages know `model`, `store`, [`clock`] and their own seams
//! ([`pipeline::queue`], [`pipeline::channel`]); [`config`] builds them, [`runtime`] starts and stops them.
//!
//! Guaranteed: at most one greeting per user, kind and local year, by a constraint; no due event is lost, each ends delivered, dead,
//! cancelled or skipped, with a reason; without a crash or a lost response in the middle of a request, a receiver accepts each event
//! once. Not guaranteed: that a receiver never sees a repeat. Where a crash comes between its acceptance and our record, the repeat
//! carries the same `webhook-id`.

pub mod calendar;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dev;
pub mod http;
pub mod model;
pub mod operations;
pub mod people;
pub mod pipeline;
pub mod runtime;
pub mod store;
