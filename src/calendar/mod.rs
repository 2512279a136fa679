//! Computes the UTC instant at which a greeting is due from a date, a send time and a zone: [`occurrence()`] has the rules.
//!
//! Pure: no I/O and no clock. The zone data is compiled into the binary, so all processes of one version agree.

mod amendments;
mod annual_date;
mod format;
mod occurrence;
mod send_at;
mod suggestions;
pub(crate) mod text;
mod wall_clock;
mod zone;

pub use annual_date::{AnnualDate, LeapDay};
pub use format::{format_count, format_duration, format_instant};
pub use occurrence::{Occurrence, Rule, occurrence, occurrences_from, utc_offset};
pub use send_at::SendAt;
pub use text::InvalidText;
pub use zone::{Zone, latest_today};
