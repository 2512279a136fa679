//! bday sends every person a greeting on their birthday at 09:00 in their own time zone.

pub mod calendar;
pub mod cli;
pub mod clock;
pub mod embedded;
pub mod inbox;
