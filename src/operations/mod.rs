//! Operations on a running system: check the deployment, and redrive dead events.

pub mod dead_letters;
pub mod doctor;
