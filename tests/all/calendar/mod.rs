//! The calendar: examples and properties of its rules, a comparison with a second implementation, and `bday when`.

mod calendar_oracle;
mod calendar_properties;
mod calendar_rules;
mod oracle;
mod values;
mod when;
