//! Operations on a running system: check the deployment, redrive dead events, count events, create tokens.

pub mod dead_letters;
pub mod doctor;
pub mod statistics;
pub mod tokens;
