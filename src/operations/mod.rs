//! Operations on a running system: check the deployment, redrive dead events, and count events.

pub mod dead_letters;
pub mod doctor;
pub mod statistics;
