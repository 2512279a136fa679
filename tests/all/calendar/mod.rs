//! The pure calendar: its rules by example and by property, all of it against a second source, and `bday when`.

mod calendar_oracle;
mod calendar_properties;
mod calendar_rules;
mod oracle;
mod values;
mod when;
