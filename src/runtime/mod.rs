//! A running process: its parts wired, started, watched and stopped.

pub mod lifecycle;
mod sampler;
mod serve;
pub mod supervisor;
pub mod telemetry;

pub use serve::{Role, Started, serve, start};
