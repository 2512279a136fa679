//! A running process: builds, starts, observes and stops its tasks.

pub mod lifecycle;
mod sampler;
mod serve;
mod systemd;
pub mod telemetry;

pub use serve::{Role, Started, serve, start};
