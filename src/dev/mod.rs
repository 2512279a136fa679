//! Tools for a developer's machine: a private PostgreSQL, an inbox, the demo, the simulation.

pub mod demo;
pub mod inbox;
pub mod postgres;
pub mod simulate;
