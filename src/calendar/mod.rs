//! From a date, a send time and a zone to the UTC instant at which a greeting is due: [`occurrence()`] has the rules.
//!
//! Pure: no I/O and no clock. The zone data is compiled into the binary ([`Zone::tzdb_version`]), never the machine's:
//! two processes of one version cannot disagree.

mod amendments;
mod annual_date;
mod nearest;
mod occurrence;
mod send_at;
pub(crate) mod text;
mod wall_clock;
mod zone;

pub use annual_date::{AnnualDate, LeapDay};
pub use occurrence::{Occurrence, Rule, occurrence, occurrences_from, utc_offset};
pub use send_at::SendAt;
pub use text::InvalidText;
pub use zone::Zone;
