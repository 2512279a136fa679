//! The calendar: from a date, a send time and a zone to the UTC instant at which a greeting is due.
//!
//! Pure: no I/O and no clock. Every rule is one of `docs/decisions.md`, "Time".
