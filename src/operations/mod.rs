//! What is done with a running system: examine it, and send dead events again.

pub mod dead_letters;
pub mod doctor;
