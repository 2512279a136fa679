//! The console, in a browser and by its forms.

mod calendar;
mod day;
mod event;
mod events;
mod failing;
mod failures;
mod import;
mod keyboard;
mod message;
mod people;
mod person;
mod pictures;
mod proxy;
mod shell;
mod sign_in;
mod today;
mod tokens;
