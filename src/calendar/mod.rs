//! The calendar: from a date, a send time and a zone to the UTC instant at which a greeting is due.
//!
//! Pure: no I/O and no clock, so every answer can be checked against a second source.
//!
//! | case | rule | in |
//! | --- | --- | --- |
//! | 29 February in a common year | [`LeapDay`]: the 28th, 1 March, or not at all | [`occurrence()`] |
//! | send time inside a gap | as far after the gap's start as the clock says | [`occurrence()`] |
//! | send time inside an overlap | the first of the two | [`occurrence()`] |
//! | a local date that does not exist | the next day that exists, once | [`occurrence()`] |
//! | zone names | every IANA name, aliases too; others are refused with the nearest ones | [`Zone::parse`] |
//!
//! The zone data is the one compiled into the binary ([`Zone::tzdb_version`]), never the machine's: two
//! processes of one version cannot disagree.

mod amendments;
mod annual_date;
mod leap_day;
mod nearest;
mod occurrence;
mod send_at;
mod text;
mod wall_clock;
mod words;
mod zone;

pub use annual_date::{AnnualDate, InvalidDate};
pub use leap_day::{LeapDay, UnknownLeapDay};
pub use occurrence::{Occurrence, Rule, UtcOffset, occurrence, occurrences_from};
pub use send_at::{InvalidSendAt, SendAt};
pub use zone::{UnknownZone, Zone};
