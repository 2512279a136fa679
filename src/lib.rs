//! bday greets every user on their birthday at 09:00 in their own time zone.
//!
//! ```text
//! clock ──> plan ──> claim ──> send ──> receive ──> lease ──> deliver ──> record
//!           users    due       outbox   packs of    queued    Channel     delivered,
//!           near     pending   to       event ids   to                    pending again with a next attempt,
//!           their    to queued queue                delivering            or dead
//!           day      + outbox
//! ```
//!
//! | room | what is in it |
//! | --- | --- |
//! | [`calendar`] | zones, gaps and overlaps, 29 February; pure |
//! | [`model`] | user, contact, occasion, event, attempt: their states and rules; pure |
//! | [`clock`] | the only source of time |
//! | [`store`] | all SQL |
//! | [`pipeline`] | the flow above, a stage a file |
//! | [`config`] | keys, values from other sources, and the parts built from them |
//! | [`people`] | import, export, explain, forecast, preview |
//! | [`operations`] | dead letters, doctor, statistics |
//! | [`http`] | API, health, metrics, callbacks of providers |
//! | [`runtime`] | start and shutdown of a process, logs, metrics |
//! | [`dev`] | demo, inbox, private PostgreSQL, simulation |
//! | [`cli`] | the commands |
//!
//! A room uses only rooms above it. A stage uses `model`, `store`, `clock` and its own interface: [`pipeline::queue`],
//! [`pipeline::channel`].
//!
//! Guaranteed: at most one greeting per user, kind and local year, by a unique constraint. Every due event ends delivered, dead,
//! cancelled or skipped, with a reason. A receiver accepts each event once, unless a crash or a lost response interrupts a
//! request.
//!
//! Not guaranteed: that a receiver never gets a repeat. After a crash between its 2xx and the record, the event is sent again
//! with the same `webhook-id`; by another channel, `on_unknown` decides.

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
