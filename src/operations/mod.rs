//! Operations on a running system: check the deployment, redrive dead events, create tokens.

pub mod dead_letters;
pub mod doctor;
pub mod tokens;
